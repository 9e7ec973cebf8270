import type { Shape } from "../../offsets/field.ts";
import { differ, type Expectation, type Facts, holds } from "../../offsets/observation.ts";
import { type Candidates, type Relation, type Solution, settle, type Unknown } from "../../offsets/solver.ts";

/** One read of `width` bytes at one candidate place of one of the sockets. */
export interface ReadQuestion {
  /** Index of the socket. */
  readonly subject: number;
  readonly width: Shape["width"];
  /** Bytes from the start of the socket's struct. */
  readonly offset: number;
  /** Reads at this many bytes into the struct that the pointer at `offset` leads to; `width` is 4 then. */
  readonly behind?: number;
}

/** The bytes as they stand in memory; null when nothing could be read there. */
export type Reply = Uint8Array | null;

/** A search in progress: hands out one question at a time, and has a result when it is over. */
export type Search<Result> = Generator<ReadQuestion, Result, Reply>;

/** What is expected of one field in one socket. */
interface Sample {
  readonly subject: number;
  readonly expectation: Expectation;
}

const POINTER: Shape = { width: 8, align: 8 };

/** Every place of a field that was found, in bytes, ascending; where there is none, the reason. */
export interface FoundPlaces {
  readonly offsets: readonly number[];
  readonly reason?: string;
}

/**
 * Steps through the aligned offsets below `threshold` (in bytes) and asks each for the expected value, first in one
 * socket, then in all others: one event a candidate, and a few more for those that match. The first offset that holds
 * is no answer: copies may lie before the field as well as behind it.
 */
export function* searchField(
  { constant, shape }: Unknown,
  subjects: readonly Facts[],
  threshold: number,
): Search<FoundPlaces> {
  const samples = samplesOf(constant, subjects);
  const doubt = doubtOf(samples);
  if (doubt !== undefined) return { offsets: [], reason: doubt };
  const offsets: number[] = [];
  for (let offset = 0; offset < threshold; offset += shape.align) {
    const verdict = yield* judge(samples, { width: shape.width, offset });
    if (verdict === "holds") offsets.push(offset);
  }
  return offsets.length > 0 ? { offsets } : { offsets, reason: notBelow(threshold) };
}

/**
 * Finds the pointers that lead to a struct with the field `member`, and where it is in there. Such a pointer is the same
 * in sockets of which the same is expected, and another in others. It stays below `threshold`, and so does the field; where
 * none is there, the rest of the struct is searched, up to `farthest`.
 */
export function* searchBehind(
  { constant, shape }: Unknown,
  subjects: readonly Facts[],
  threshold: number,
  farthest: number,
): Search<{ readonly pointer: FoundPlaces; readonly member: FoundPlaces }> {
  const samples = samplesOf(constant, subjects);
  const doubt = doubtOf(samples);
  if (doubt !== undefined)
    return { pointer: { offsets: [], reason: doubt }, member: { offsets: [], reason: doubt } };
  const shared = new Set<number>();
  for (let offset = 0; offset < threshold; offset += POINTER.align)
    if (yield* isShared(samples, offset)) shared.add(offset);
  const reason = notBelow(shared.size === 0 ? threshold : Math.max(threshold, farthest));
  const [pointers, members] = [new Set<number>(), new Set<number>()];
  const ranges = [
    [0, threshold],
    [Math.ceil(threshold / shape.align) * shape.align, farthest],
  ] as const;
  for (const [start, end] of ranges) {
    if (pointers.size > 0) break;
    for (const offset of shared) {
      for (let behind = start; behind < end; behind += shape.align) {
        const verdict = yield* judge(samples, { width: shape.width, offset, behind });
        if (verdict === "unreadable") shared.delete(offset); // it leads to something smaller
        if (verdict === "unreadable") break;
        if (verdict === "differs") continue;
        pointers.add(offset);
        members.add(behind);
      }
    }
  }
  const foundOf = (offsets: ReadonlySet<number>): FoundPlaces =>
    offsets.size > 0 ? { offsets: [...offsets].sort((a, b) => a - b) } : { offsets: [], reason };
  return { pointer: foundOf(pointers), member: foundOf(members) };
}

/** Whether a pointer stands there that is the same in two sockets just where the same is expected of both. */
function* isShared(samples: readonly Sample[], offset: number): Search<boolean> {
  const pointers = new Map<string, string>();
  for (const { subject, expectation } of samples) {
    // Nothing but a pointer leads anywhere; its own bytes are read in two halves.
    if (pointers.size === 0 && (yield { subject, width: 4, offset, behind: 0 }) === null) return false;
    const halves = [yield { subject, width: 4, offset }, yield { subject, width: 4, offset: offset + 4 }];
    if (halves.includes(null)) return false;
    const [key, pointer] = [expectation.value.join(), halves.join()];
    if ((pointers.get(key) ?? pointer) !== pointer) return false;
    pointers.set(key, pointer);
  }
  return new Set(pointers.values()).size === pointers.size;
}

const notBelow = (threshold: number): string => `no offset below the threshold of ${threshold} bytes`;

function samplesOf(constant: string, subjects: readonly Facts[]): Sample[] {
  return subjects.flatMap((facts, subject) => {
    const expectation = facts.get(constant);
    return expectation === undefined ? [] : [{ subject, expectation }];
  });
}

/** Why the samples prove nothing, wherever their values stand; undefined when they do. */
function doubtOf(samples: readonly Sample[]): string | undefined {
  if (samples.length === 0) return "never observed";
  // A value that stands in one kind of socket only may stand in others by chance: zeroes, small integers, constants.
  if (!differ(samples.map(({ expectation }) => expectation)))
    return "all sockets have the same value, which proves nothing";
  return undefined;
}

/** Asks for one place in every socket, up to the first that does not hold what is expected there. */
function* judge(
  samples: readonly Sample[],
  place: Omit<ReadQuestion, "subject">,
): Search<"holds" | "differs" | "unreadable"> {
  for (const { subject, expectation } of samples) {
    const value = yield { subject, ...place };
    if (value === null) return "unreadable";
    if (!holds(value, 0, expectation)) return "differs";
  }
  return "holds";
}

/** What is left of the fields of one struct that were looked for, once what C says of them has told copies apart. */
export function settleFound(
  unknowns: readonly Unknown[],
  found: ReadonlyMap<string, FoundPlaces>,
  relations: readonly Relation[],
): Map<string, Solution> {
  const open = new Map<string, Solution>();
  const seen = unknowns.flatMap((unknown): Candidates[] => {
    const { offsets, reason } = found.get(unknown.constant) ?? {};
    if (reason !== undefined) open.set(unknown.constant, { is: "open", reason });
    // Each holds in all sockets, of which not all have the same value.
    return offsets?.length ? [{ unknown, seen: true, offsets, proven: new Set(offsets) }] : [];
  });
  return new Map([...open, ...settle(seen, relations)]);
}
