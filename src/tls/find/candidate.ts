import type { BigIntStats } from "node:fs";
import { identityOf } from "../../input/input.ts";
import { shownName } from "../../input/name.ts";
import { type Handle, handleAt, type Place } from "./locate.ts";

/** A candidate and how it was come by. */
export interface Candidate {
  readonly handle: Handle;
  /** For people. */
  readonly name: string;
  /** Where the file of this device and inode lies. */
  readonly place: (identity: string) => Place;
  readonly named?: string;
  /** Whether its name, or how it was found, says that it is a TLS library: then what is wrong with it is told. */
  readonly isSure: boolean;
  readonly isOthers?: boolean;
  /** Whether it lies in a tree that this machine does not run. */
  readonly isImage?: boolean;
}

/** The file at a real path. @param stat what it was when it was seen */
export function candidateAt(
  place: Place,
  stat: BigIntStats,
  { isSure, isImage }: { isSure: boolean; isImage: boolean },
): Candidate {
  const reach = () => handleAt(place.root, place.path);
  return {
    handle: { identity: identityOf(stat), size: Number(stat.size), reach },
    name: shownName(place.root.name(place.path)),
    isSure,
    isImage,
    place: () => place,
  };
}
