import type { Shape } from "./field.ts";
import { type Expectation, holds, isReadable, type Observation } from "./observation.ts";

/** A field to solve: its constant and how its value lies in memory. */
export interface Unknown {
  readonly constant: string;
  readonly shape: Shape;
}

/**
 * What C says of two members of one struct, whatever its layout.
 *
 * `adjacent`: `second` begins where `first` ends. `before`: `first` begins below `second`.
 * That members do not overlap needs no saying: it holds for all fields of a struct (none of them share a union).
 */
export interface Relation {
  readonly kind: "adjacent" | "before";
  readonly first: string;
  readonly second: string;
  /** The kernel or library declaration that proves it. */
  readonly because: string;
}

/** What the observations leave of one field. Offsets are bytes from the start of the struct, ascending. */
export type Solution =
  | { readonly is: "solved"; readonly offset: number }
  | { readonly is: "ambiguous"; readonly offsets: readonly number[] }
  | { readonly is: "open"; readonly reason: string };

/**
 * One value alone proves little: zeroed or constant memory holds it as well. A field is solved only by at least
 * this many different values at one and the same place.
 */
const DISTINCT_VALUES = 2;

/** Ambiguous solutions name at most this many survivors; beyond it nothing useful is known. */
const SURVIVORS_SHOWN = 64;

interface Candidates {
  readonly unknown: Unknown;
  /** Offsets that no observation refuted. */
  offsets: number[];
  /** Those of them that were seen to hold DISTINCT_VALUES different values. */
  readonly proven: ReadonlySet<number>;
  /** How many different values were ever expected of this field. */
  readonly values: number;
}

/**
 * Finds the offset of every field at once.
 *
 * An offset is a candidate while every observation that expects something of the field holds it there, or could
 * not read there. Relations between members then tell survivors apart. A field is solved when one candidate is
 * left and that one was seen to hold different values; in doubt it stays ambiguous or open.
 *
 * The true offset is never dropped as long as the expectations are true.
 */
export function solve(
  unknowns: readonly Unknown[],
  relations: readonly Relation[],
  observations: readonly Observation[],
): Map<string, Solution> {
  const all = new Map(unknowns.map((unknown) => [unknown.constant, scan(unknown, observations)]));
  const broken = relate(all, relations);
  return new Map([...all].map(([constant, one]) => [constant, conclude(one, broken.get(constant))]));
}

function scan(unknown: Unknown, observations: readonly Observation[]): Candidates {
  const { constant, shape } = unknown;
  const samples = observations.flatMap((observation) => {
    const expectation = observation.expected.get(constant);
    return expectation === undefined ? [] : [{ observation, expectation, value: keyOf(expectation.value) }];
  });
  const longest = Math.max(0, ...samples.map(({ observation }) => observation.bytes.length));
  // The sample with the fewest zero bytes comes first: it leaves the fewest offsets for the others to look at.
  const [first, ...others] = samples.toSorted((a, b) => nonZero(b) - nonZero(a));
  const offsets =
    first === undefined
      ? []
      : unrefuted(first, shape, longest).filter((at) => others.every((one) => !refutes(one, at)));
  const proven = offsets.filter((at) => {
    const read = samples.filter(({ observation }) => isReadable(observation, at, shape.width));
    return new Set(read.map(({ value }) => value)).size >= DISTINCT_VALUES;
  });
  return {
    unknown,
    offsets,
    proven: new Set(proven),
    values: new Set(samples.map(({ value }) => value)).size,
  };
}

/** An observation, and what it expects of the field in question. */
interface Sample {
  readonly observation: Observation;
  readonly expectation: Expectation;
}

const nonZero = ({ expectation }: Sample): number => expectation.value.filter((byte) => byte !== 0).length;

const refutes = ({ observation, expectation }: Sample, at: number): boolean =>
  isReadable(observation, at, expectation.value.length) && !holds(observation.bytes, at, expectation);

/** All aligned offsets below `longest` that one observation leaves, ascending. */
function unrefuted(sample: Sample, { width, align }: Shape, longest: number): number[] {
  const { bytes, readable } = sample.observation;
  const { value, mask } = sample.expectation;
  const known = knownRun(value, mask);
  const offsets: number[] = [];
  for (let at = 0; at + width <= longest; at += align) {
    // What was read is searched by the runtime's own search, which is many times faster than a loop here.
    const range = readable.find(({ start, end }) => start <= at && at + width <= Math.min(end, bytes.length));
    if (range === undefined) {
      offsets.push(at);
      continue;
    }
    const last = Math.min(range.end, bytes.length) - width;
    const memory = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const search = (from: number) => memory.indexOf(known.bytes, from + known.at) - known.at;
    for (let found = search(at); found >= at && found <= last; found = search(found + 1)) {
      if (found % align === 0 && holds(bytes, found, sample.expectation)) offsets.push(found);
    }
    at = Math.floor(last / align) * align;
  }
  return offsets;
}

/** The longest run of bytes of a value that are known in full, and where in the value it begins. */
function knownRun(value: Uint8Array, mask: Uint8Array | undefined): { at: number; bytes: Uint8Array } {
  let best = { at: 0, bytes: value.subarray(0, 0) };
  for (let at = 0; at < value.length; at++) {
    let end = at;
    while (end < value.length && (mask?.[end] ?? 0xff) === 0xff) end++;
    if (end - at > best.bytes.length) best = { at, bytes: value.subarray(at, end) };
  }
  return best;
}

const keyOf = (value: Uint8Array): string => value.join();

/** Narrows candidates by the relations until nothing changes; returns why for the fields that it contradicts. */
function relate(all: ReadonlyMap<string, Candidates>, relations: readonly Relation[]): Map<string, string> {
  const broken = new Map<string, string>();
  // A field that was never observed, or that nothing matched, says nothing about the others.
  const live = new Map([...all].filter(([, one]) => one.values > 0 && one.offsets.length > 0));
  const narrow = (
    one: Candidates,
    other: Candidates,
    fits: (at: number) => boolean,
    because: () => string,
  ) => {
    if (one.offsets.every(fits)) return false;
    const left = one.offsets.filter(fits);
    if (left.length > 0) one.offsets = left;
    else for (const { unknown } of [one, other]) broken.set(unknown.constant, because());
    return left.length > 0;
  };
  const step = (): boolean => {
    let changed = false;
    for (const { kind, first, second, because } of relations) {
      const [low, high] = [live.get(first), live.get(second)];
      if (low === undefined || high === undefined) continue;
      const { width } = low.unknown.shape;
      const isAdjacent = kind === "adjacent";
      const why = () =>
        `no place fits that ${first} is ${isAdjacent ? "right before" : "before"} ${second} (${because})`;
      const isLow = (at: number) =>
        isAdjacent ? high.offsets.includes(at + width) : at < (high.offsets.at(-1) ?? 0);
      const isHigh = (at: number) =>
        isAdjacent ? low.offsets.includes(at - width) : at > (low.offsets[0] ?? 0);
      changed = narrow(low, high, isLow, why) || changed;
      changed = narrow(high, low, isHigh, why) || changed;
    }
    for (const other of live.values()) {
      const [at] = other.offsets;
      if (other.offsets.length !== 1 || at === undefined) continue;
      const end = at + other.unknown.shape.width;
      for (const one of live.values()) {
        if (one === other) continue;
        const start = at - one.unknown.shape.width;
        const why = () =>
          `the only places left of ${one.unknown.constant} and ${other.unknown.constant} overlap`;
        changed = narrow(one, other, (mine) => mine <= start || mine >= end, why) || changed;
      }
    }
    return changed;
  };
  while (step());
  return broken;
}

function conclude(
  { unknown, offsets, proven, values }: Candidates,
  contradiction: string | undefined,
): Solution {
  if (values === 0) return { is: "open", reason: "never observed" };
  if (offsets.length === 0)
    return { is: "open", reason: "no place held the expected value in every observation" };
  if (contradiction !== undefined) return { is: "open", reason: contradiction };
  const [offset] = offsets;
  if (offsets.length === 1 && offset !== undefined) {
    if (proven.has(offset)) return { is: "solved", offset };
    return { is: "open", reason: `only one value was ever seen at ${offset}, which proves nothing` };
  }
  if (offsets.length > SURVIVORS_SHOWN) {
    return {
      is: "open",
      reason: `${offsets.length} places of ${unknown.shape.width} bytes could not be told apart`,
    };
  }
  return { is: "ambiguous", offsets };
}
