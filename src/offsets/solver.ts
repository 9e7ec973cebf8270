import type { Shape } from "./field.ts";
import { differ, type Expectation, holds, isReadable, type Observation } from "./observation.ts";

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

/** Offsets in bytes, one of which is the true one, if any is: none where the observations leave no proven place. */
export const placesOf = (solution: Solution | undefined): readonly number[] => {
  if (solution?.is === "solved") return [solution.offset];
  return solution?.is === "ambiguous" ? solution.offsets : [];
};

/** Ambiguous solutions name at most this many survivors; beyond it nothing useful is known. */
const SURVIVORS_SHOWN = 64;

/** What was seen of one field. Offsets are bytes from the start of the struct, ascending. */
export interface Candidates {
  readonly unknown: Unknown;
  /** Whether anything was ever expected of this field. */
  readonly seen: boolean;
  /** Offsets that no observation refuted. */
  readonly offsets: readonly number[];
  /** Offsets that were seen to hold values that differ: zeroed or constant memory holds a single value as well. */
  readonly proven: ReadonlySet<number>;
}

/**
 * Finds the offset of every field at once.
 *
 * An offset is a candidate while every observation that expects something of the field holds it there, or could
 * not read there. Relations between members then tell survivors apart. A field is solved when one candidate is
 * left and that one was seen to hold values that differ; in doubt it stays ambiguous or open. What is not proven of
 * one field says nothing of another.
 *
 * The true offset is never dropped as long as the expectations are true, wherever it is: of a field that lies beyond
 * what was observed no place holds differing values, unless by a copy that follows it.
 */
export function solve(
  unknowns: readonly Unknown[],
  relations: readonly Relation[],
  observations: readonly Observation[],
): Map<string, Solution> {
  return settle(scanAll(unknowns, observations), relations);
}

/** What the observations alone say of every field. */
export const scanAll = (unknowns: readonly Unknown[], observations: readonly Observation[]): Candidates[] =>
  unknowns.map((unknown) => scan(unknown, observations));

/** Tells the candidates of the fields of one struct apart by what C says of them, and what is left of each. */
export function settle(fields: readonly Candidates[], relations: readonly Relation[]): Map<string, Solution> {
  const { left, broken } = relate(new Map(fields.map((one) => [one.unknown.constant, one])), relations);
  return new Map([...left].map(([constant, one]) => [constant, conclude(one, broken.get(constant))]));
}

function scan(unknown: Unknown, observations: readonly Observation[]): Candidates {
  const { constant, shape } = unknown;
  const samples = observations.flatMap((observation): Sample[] => {
    const expectation = observation.expected.get(constant);
    return expectation === undefined ? [] : [{ observation, expectation }];
  });
  const longest = Math.max(0, ...samples.map(({ observation }) => observation.bytes.length));
  // An array may be longer than what is surely the field's, and is as long as what it is to hold.
  const width = Math.max(shape.width, ...samples.map(({ expectation }) => expectation.value.length));
  // The sample with the fewest zero bytes comes first: it leaves the fewest offsets for the others to look at.
  const first = fullest(samples);
  const offsets =
    first === undefined
      ? []
      : unrefuted(first, { ...shape, width }, longest).filter((at) =>
          samples.every((one) => one === first || !refutes(one, at)),
        );
  const proven = offsets.filter((at) =>
    differ(samples.filter((one) => isRead(one, at)).map(({ expectation }) => expectation)),
  );
  return { unknown, seen: samples.length > 0, offsets, proven: new Set(proven) };
}

/** An observation, and what it expects of the field in question. */
interface Sample {
  readonly observation: Observation;
  readonly expectation: Expectation;
}

/** The first of those with the most bytes that are not zero. */
function fullest(samples: readonly Sample[]): Sample | undefined {
  let [best, most]: [Sample | undefined, number] = [undefined, -1];
  for (const sample of samples) {
    const { value } = sample.expectation;
    let count = 0;
    for (let index = 0; index < value.length; index++) if (value[index] !== 0) count++;
    if (count > most) [best, most] = [sample, count];
  }
  return best;
}

/** Whether all that is compared was read there. */
const isRead = ({ observation, expectation }: Sample, at: number): boolean =>
  isReadable(observation, at, expectation.value.length);

const refutes = (sample: Sample, at: number): boolean =>
  isRead(sample, at) && !holds(sample.observation.bytes, at, sample.expectation);

/** All aligned offsets below `longest` that one observation leaves, ascending. */
function unrefuted(sample: Sample, { width, align }: Shape, longest: number): number[] {
  const { bytes, readable } = sample.observation;
  const { value, mask } = sample.expectation;
  const known = knownRun(value, mask);
  const { length } = value;
  const offsets: number[] = [];
  for (let at = 0; at + width <= longest; at += align) {
    // What was read is searched by the runtime's own search, which is many times faster than a loop here.
    const range = readable.find(
      ({ start, end }) => start <= at && at + length <= Math.min(end, bytes.length),
    );
    if (range === undefined) {
      offsets.push(at);
      continue;
    }
    const last = Math.min(range.end - length, bytes.length - length, longest - width);
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

/** Why the fields of these constants cannot both be where they were seen. */
interface Contradiction {
  readonly constants: readonly string[];
  readonly reason: string;
}

/**
 * Narrows candidates by the relations until nothing changes, and tells why for the fields that contradict each other:
 * one of the two is wrong and nothing tells which, so neither says anything of the others.
 */
function relate(
  scanned: ReadonlyMap<string, Candidates>,
  relations: readonly Relation[],
): { readonly left: ReadonlyMap<string, Candidates>; readonly broken: ReadonlyMap<string, string> } {
  const broken = new Map<string, string>();
  for (;;) {
    const left = new Map(scanned);
    const contradiction = narrowAll(left, relations, broken);
    if (contradiction === null) return { left, broken };
    for (const constant of contradiction.constants) broken.set(constant, contradiction.reason);
  }
}

/** Replaces fields in `all` by narrower ones, up to the first contradiction. */
function narrowAll(
  all: Map<string, Candidates>,
  relations: readonly Relation[],
  broken: ReadonlyMap<string, string>,
): Contradiction | null {
  /** Only a field with a proven place is surely in what was observed. */
  const isProven = ({ offsets, proven }: Candidates) => offsets.some((at) => proven.has(at));
  const live = (constant: string): Candidates | undefined => {
    const one = all.get(constant);
    return one === undefined || one.offsets.length === 0 || broken.has(constant) ? undefined : one;
  };
  // In an order of their own: of several contradictions the first one met decides, whoever asks for the fields.
  const known = rules([...all.keys()].sort(), relations);
  for (let changed = true; changed; ) {
    changed = false;
    for (const { subject, by, fits, because } of known) {
      const [one, other] = [live(subject), live(by)];
      if (one === undefined || other === undefined || !isProven(other)) continue;
      const offsets = one.offsets.filter((at) => fits(at, one, other));
      if (offsets.length === one.offsets.length) continue;
      if (offsets.length === 0)
        return { constants: isProven(one) ? [subject, by] : [subject], reason: because };
      all.set(subject, { ...one, offsets });
      changed = true;
    }
  }
  return null;
}

/** What a field, `by`, says of the places of another. */
interface Rule {
  readonly subject: string;
  readonly by: string;
  readonly fits: (at: number, subject: Candidates, by: Candidates) => boolean;
  /** Why no place is left of `subject` where none fits. */
  readonly because: string;
}

/** The relations, each in both directions, and that no member lies over another. */
function rules(constants: readonly string[], relations: readonly Relation[]): readonly Rule[] {
  const related = relations.flatMap(({ kind, first, second, because }): Rule[] => {
    const place = kind === "adjacent" ? "right before" : "before";
    const why = `no place fits that ${first} is ${place} ${second} (${because})`;
    const isLow: Rule["fits"] = (at, { unknown }, { offsets }) =>
      kind === "adjacent" ? offsets.includes(at + unknown.shape.width) : at < (offsets.at(-1) ?? 0);
    const isHigh: Rule["fits"] = (at, _, { unknown, offsets }) =>
      kind === "adjacent" ? offsets.includes(at - unknown.shape.width) : at > (offsets[0] ?? 0);
    return [
      { subject: first, by: second, fits: isLow, because: why },
      { subject: second, by: first, fits: isHigh, because: why },
    ];
  });
  const apart = constants.flatMap((by) =>
    constants
      .filter((subject) => subject !== by)
      .map((subject): Rule => {
        const because = `the only places left of ${subject} and ${by} overlap`;
        return { subject, by, fits: isApart, because };
      }),
  );
  return [...related, ...apart];
}

/** Whether a place leaves the other field alone. It is refuted only where that field has a single place left, and the two would overlap. */
const isApart: Rule["fits"] = (mine, one, { unknown, offsets: [at, ...others] }) =>
  at === undefined ||
  others.length > 0 ||
  mine + one.unknown.shape.width <= at ||
  mine >= at + unknown.shape.width;

function conclude(
  { unknown, seen, offsets, proven }: Candidates,
  contradiction: string | undefined,
): Solution {
  if (!seen) return { is: "open", reason: "never observed" };
  if (offsets.length === 0)
    return { is: "open", reason: "no place held the expected value in every observation" };
  if (contradiction !== undefined) return { is: "open", reason: contradiction };
  const [offset] = offsets;
  if (offset !== undefined && !offsets.some((at) => proven.has(at))) {
    const where = offsets.length === 1 ? `${offset}` : `${offsets.length} places`;
    return { is: "open", reason: `only one value was ever seen at ${where}, which proves nothing` };
  }
  if (offsets.length === 1 && offset !== undefined) return { is: "solved", offset };
  if (offsets.length > SURVIVORS_SHOWN) {
    return {
      is: "open",
      reason: `${offsets.length} places of ${unknown.shape.width} bytes could not be told apart`,
    };
  }
  return { is: "ambiguous", offsets };
}
