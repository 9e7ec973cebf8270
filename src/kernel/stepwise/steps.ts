import type { Shape } from "../../offsets/field.ts";
import { differ, type Expectation, type Facts, holds } from "../../offsets/observation.ts";
import type { Relation, Solution, Unknown } from "../../offsets/solver.ts";

/** One read of `width` bytes at one candidate place of one of the sockets. */
export interface Question {
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
export type Search<Result> = Generator<Question, Result, Reply>;

/** What is expected of one field in one socket. */
interface Sample {
  readonly subject: number;
  readonly expectation: Expectation;
}

const POINTER: Shape = { width: 8, align: 8 };

/**
 * Steps through the aligned offsets below `threshold` (in bytes) until one holds the expected value, first in one
 * socket, then in all others: one event a candidate, and a few more for those that match. A candidate that fails in
 * a later socket is passed over and the search goes on.
 *
 * The first offset that holds is the answer. So it must be a field of which the struct has no copy before it.
 */
export function* searchField(
  { constant, shape }: Unknown,
  subjects: readonly Facts[],
  threshold: number,
): Search<Solution> {
  const samples = samplesOf(constant, subjects);
  const doubt = doubtOf(samples);
  if (doubt !== undefined) return { is: "open", reason: doubt };
  for (let offset = 0; offset < threshold; offset += shape.align) {
    const verdict = yield* judge(samples, { width: shape.width, offset });
    if (verdict === "holds") return { is: "solved", offset };
  }
  return { is: "open", reason: notBelow(threshold) };
}

/**
 * Finds a pointer and, in the struct it leads to, the field `member`: for each aligned offset of the socket, each
 * offset behind it. Both stay below `threshold`.
 */
export function* searchBehind(
  { constant, shape }: Unknown,
  subjects: readonly Facts[],
  threshold: number,
): Search<{ readonly pointer: Solution; readonly member: Solution }> {
  const open = (reason: string) => ({
    pointer: { is: "open", reason } as const,
    member: { is: "open", reason } as const,
  });
  const samples = samplesOf(constant, subjects);
  const doubt = doubtOf(samples);
  if (doubt !== undefined) return open(doubt);
  for (let offset = 0; offset < threshold; offset += POINTER.align) {
    for (let behind = 0; behind < threshold; behind += shape.align) {
      const verdict = yield* judge(samples, { width: shape.width, offset, behind });
      if (verdict === "holds")
        return { pointer: { is: "solved", offset }, member: { is: "solved", offset: behind } };
      if (verdict === "unreadable") break; // no pointer, or one to something smaller
    }
  }
  return open(notBelow(threshold));
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
  place: Omit<Question, "subject">,
): Search<"holds" | "differs" | "unreadable"> {
  for (const { subject, expectation } of samples) {
    const value = yield { subject, ...place };
    if (value === null) return "unreadable";
    if (!holds(value, 0, expectation)) return "differs";
  }
  return "holds";
}

/**
 * Opens what C forbids: solved fields that contradict a relation between members, or that overlap. At least one of
 * the two must be wrong then, and nothing tells which.
 */
export function withoutContradictions(
  unknowns: readonly Unknown[],
  solutions: ReadonlyMap<string, Solution>,
  relations: readonly Relation[],
): Map<string, Solution> {
  const left = new Map(solutions);
  const widths = new Map(unknowns.map(({ constant, shape }) => [constant, shape.width]));
  const solved = [...solutions].flatMap(([constant, solution]) => {
    const width = widths.get(constant);
    if (solution.is !== "solved" || width === undefined) return [];
    return [{ constant, start: solution.offset, end: solution.offset + width }];
  });
  const open = (constants: readonly string[], reason: string): void => {
    for (const constant of constants) left.set(constant, { is: "open", reason });
  };
  for (const { kind, first, second, because } of relations) {
    const low = solved.find(({ constant }) => constant === first);
    const high = solved.find(({ constant }) => constant === second);
    if (low === undefined || high === undefined) continue;
    if (kind === "adjacent" ? high.start === low.end : low.start < high.start) continue;
    const place = kind === "adjacent" ? "right before" : "before";
    open([first, second], `${first} at ${low.start} is not ${place} ${second} at ${high.start} (${because})`);
  }
  for (const [index, one] of solved.entries()) {
    for (const other of solved.slice(index + 1)) {
      if (one.end <= other.start || other.end <= one.start) continue;
      const names = [one.constant, other.constant];
      open(names, `${names.join(" and ")} overlap at ${Math.max(one.start, other.start)}`);
    }
  }
  return left;
}
