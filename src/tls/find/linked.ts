import { Elf } from "../../elf/elf.ts";
import type { Reached, Root } from "../../host/root.ts";
import { folderOf, lastOf } from "../../input/name.ts";
import { holdsTls } from "./holds.ts";
import { openAt, openIn, type Place } from "./locate.ts";
import { namesakeOf, otherInside, otherLibrary } from "./other-libraries.ts";
import { findNeeded, libraryCalled, type SearchPath } from "./search-path.ts";

/** How many libraries that a program needs, directly or by others, are searched for the one with TLS. */
const mostNeeded = 512;
/** How many libraries that were not found a message names. */
const mostMissing = 5;

/** A file that was reached, and where it lies. */
export type ReachedPlace = Reached & { readonly place: Place };

/** What a file that the user named leads to. */
export interface Linked {
  /** The library's path inside the file's own root; null where there is none of a kind that is known here. */
  readonly found: string | null;
  /** TLS libraries of other kinds that were met before it, and the files they are. */
  readonly others: readonly { readonly what: string; readonly path: string }[];
  /** Names of libraries that are needed and were not found. */
  readonly missing: ReadonlySet<string>;
}

/** Why there is nothing to look at in a named file. */
export function withoutTls(path: string, missing: ReadonlySet<string>): string {
  const called = libraryCalled(lastOf(path));
  const inside =
    called === null
      ? "no TLS library is inside"
      : `a ${called.stem} by its name, but it defines no ${called.defines}`;
  if (missing.size === 0) return `${inside}, and none that it links was found`;
  const first = [...missing]
    .slice(0, mostMissing)
    .map((soname) =>
      namesakeOf(soname) === null ? soname : `${soname} (${namesakeOf(soname)}: not supported)`,
    );
  const others = missing.size > mostMissing ? ` and ${missing.size - mostMissing} more` : "";
  return `${inside}; it needs ${first.join(", ")}${others}, not found here`;
}

/** The first file with TLS inside among a file and all that it needs, in the linker's order. @throws InputError, SystemError */
export function linkedBy(named: ReachedPlace, shown: string, searchPath: SearchPath): Linked {
  const { root, container, path } = named.place;
  const others: { what: string; path: string }[] = [];
  const missing = new Set<string>();
  const seen = new Set([path]);
  // A set is walked in order of insertion, with what is added meanwhile.
  for (const each of seen) {
    try {
      using located = each === path ? openAt(named.fd, named.place, shown) : openIn(root, container, each);
      const { elf } = located;
      const { needed, soname: own, rpath, runpath } = elf.dynamic();
      if (namesakeOf(own) === null && holdsTls(elf)) return { found: each, others, missing };
      const what = otherLibrary(elf) ?? (each === path ? otherInside(elf) : null);
      if (what !== null) {
        others.push({ what, path: each });
        continue;
      }
      const from = { folder: folderOf(each), machine: elf.machine, rpath, runpath };
      for (const soname of needed.filter((one) => !one.includes("/"))) {
        const there = findNeeded(root, searchPath, soname, from).find(
          (candidate) => machineOf(root, candidate) === elf.machine,
        );
        if (there === undefined) missing.add(soname);
        else if (seen.size < mostNeeded) seen.add(there);
      }
    } catch (error) {
      if (each === path) throw error;
    }
  }
  return { found: null, others, missing };
}

/** Null where it is no library. */
function machineOf(root: Root, path: string): Elf["machine"] | null {
  try {
    using elf = Elf.of(root.open(path));
    return elf.machine;
  } catch {
    return null;
  }
}
