import { expect, test } from "bun:test";
import fc from "fast-check";
import { differ, type Expectation, type Observation, type Range } from "../../../src/offsets/observation.ts";
import { type Relation, type Solution, solve, type Unknown } from "../../../src/offsets/solver.ts";

/** Bytes of a whole window, and of the memory behind it in which truths may lie that no window shows. */
const WINDOW = 72;
const MEMORY = 160;
/** Bytes that a value may have beyond the width of its field. */
const MOST_EXTRA = 4;
const MOST_FIELDS = 5;
const MOST_OBSERVATIONS = 4;

// Few different bytes, so that what is looked for stands in many places by chance.
const byte = fc.constantFrom(0, 0, 1, 2);
const maskByte = fc.constantFrom(0xff, 0xff, 0, 0x02, 0xf1);
const list = <T>(one: fc.Arbitrary<T>, length: number) =>
  fc.array(one, { minLength: length, maxLength: length });

/** What one observation expects of a field: perhaps nothing, perhaps under a mask, perhaps more than its width. */
const said = fc.record({
  isKnown: fc.boolean(),
  value: list(byte, 16 + MOST_EXTRA),
  mask: fc.option(list(maskByte, 16 + MOST_EXTRA), { nil: undefined, freq: 3 }),
  extra: fc.constantFrom(0, 0, 0, MOST_EXTRA),
});

const field = fc.record({
  shape: fc.constantFrom<Unknown["shape"][]>(
    { width: 1, align: 1 },
    { width: 2, align: 2 },
    { width: 4, align: 4 },
    { width: 8, align: 8 },
    { width: 16, align: 4 },
    { width: 16, align: 1 },
  ),
  place: fc.oneof(fc.nat(WINDOW), fc.nat(MEMORY - 16 - MOST_EXTRA)),
  said: list(said, MOST_OBSERVATIONS),
  /** Copies follow the field in some observations: together several places may hold what no single one does. */
  copies: fc.array(fc.record({ at: fc.nat(WINDOW), follows: list(fc.boolean(), MOST_OBSERVATIONS) }), {
    maxLength: 3,
  }),
  alwaysCopied: fc.option(fc.nat(WINDOW), { freq: 3 }),
});

const scene = fc.record({
  fields: fc.array(field, { minLength: 1, maxLength: MOST_FIELDS }),
  count: fc.integer({ min: 1, max: MOST_OBSERVATIONS }),
  fill: list(list(byte, MEMORY), MOST_OBSERVATIONS),
  lengths: list(fc.oneof({ weight: 4, arbitrary: fc.constant(WINDOW) }, fc.nat(WINDOW)), MOST_OBSERVATIONS),
  holes: list(
    fc.array(fc.tuple(fc.nat(WINDOW), fc.integer({ min: 1, max: 24 })), { maxLength: 2 }),
    MOST_OBSERVATIONS,
  ),
  isRelated: fc.boolean(),
});
type Drawn = typeof scene extends fc.Arbitrary<infer S> ? S : never;

interface Member extends Unknown {
  readonly truth: number;
}

interface World {
  readonly members: readonly Member[];
  readonly relations: readonly Relation[];
  readonly observations: readonly Observation[];
}

const expectationOf = (
  { shape }: Unknown,
  { value, mask, extra }: Drawn["fields"][number]["said"][number],
) => {
  const length = shape.width + extra;
  return {
    value: Uint8Array.from(value.slice(0, length)),
    ...(mask && { mask: Uint8Array.from(mask.slice(0, length)) }),
  };
};

function plant(memory: Uint8Array, at: number, { value, mask }: Expectation): void {
  for (const [index, one] of value.entries()) {
    const compared = mask?.[index] ?? 0xff;
    memory[at + index] = ((memory[at + index] ?? 0) & ~compared) | (one & compared);
  }
}

/** The world as it truly is: members that lie apart, with all that is expected of them true. */
function build({ fields, count, fill, lengths, holes, isRelated }: Drawn): World {
  const members: (Member & { readonly drawn: Drawn["fields"][number] })[] = [];
  for (const [index, drawn] of fields.entries()) {
    const { shape } = drawn;
    const truth = Math.floor(drawn.place / shape.align) * shape.align;
    const end = truth + shape.width + MOST_EXTRA;
    if (members.every((other) => end <= other.truth || truth >= other.truth + other.shape.width + MOST_EXTRA))
      members.push({ constant: `field${index}`, shape, truth, drawn });
  }
  const observations = Array.from({ length: count }, (_, index): Observation => {
    const memory = Uint8Array.from(fill[index] ?? []);
    const known = members.flatMap((member) => {
      const one = member.drawn.said[index];
      return one === undefined || !one.isKnown ? [] : [{ member, expectation: expectationOf(member, one) }];
    });
    for (const { member, expectation } of known) {
      for (const { at, follows } of member.drawn.copies) if (follows[index]) plant(memory, at, expectation);
      if (member.drawn.alwaysCopied !== null) plant(memory, member.drawn.alwaysCopied, expectation);
    }
    for (const { member, expectation } of known) plant(memory, member.truth, expectation);
    const bytes = memory.slice(0, lengths[index]);
    let readable: Range[] = [{ start: 0, end: bytes.length }];
    for (const [start, length] of holes[index] ?? []) {
      readable = readable
        .flatMap((part) => [
          { start: part.start, end: Math.min(part.end, start) },
          { start: Math.max(part.start, start + length), end: part.end },
        ])
        .filter((part) => part.start < part.end);
      bytes.fill(2, start, start + length); // what was there before
    }
    const expected = new Map(known.map(({ member, expectation }) => [member.constant, expectation]));
    return { bytes, readable, expected };
  });
  const relations = members.flatMap((first) =>
    members.flatMap((second): Relation[] => {
      if (!isRelated || first.truth >= second.truth) return [];
      const kind = first.truth + first.shape.width === second.truth ? "adjacent" : "before";
      return [{ kind, first: first.constant, second: second.constant, because: "it is so" }];
    }),
  );
  return { members, relations, observations };
}

const samplesOf = ({ constant }: Unknown, observations: readonly Observation[]) =>
  observations.flatMap((observation) => {
    const expectation = observation.expected.get(constant);
    return expectation === undefined ? [] : [{ observation, expectation }];
  });

/** Whether some bits that both compare are not the same. */
const isDifferent = (one: Expectation, other: Expectation): boolean =>
  one.value.some((value, index) => {
    const compared = (one.mask?.[index] ?? 0xff) & (other.mask?.[index] ?? 0xff);
    return index < other.value.length && ((value ^ (other.value[index] ?? 0)) & compared) !== 0;
  });

/** Whether no window shows the whole of a member, which is as long as the longest that it held. */
function isBeyond(member: Member, observations: readonly Observation[]): boolean {
  const samples = samplesOf(member, observations);
  const width = Math.max(member.shape.width, ...samples.map(({ expectation: { value } }) => value.length));
  return samples.every(({ observation: { bytes } }) => member.truth + width > bytes.length);
}

/** Places in the window that hold all that is expected of a member, wherever it is, with values that differ. */
function followers(member: Member, observations: readonly Observation[]): number[] {
  const samples = samplesOf(member, observations);
  return Array.from({ length: WINDOW }, (_, at) => at).filter((at) => {
    if (at % member.shape.align !== 0) return false;
    const read = samples.filter(({ observation: { readable }, expectation: { value } }) =>
      readable.some(({ start, end }) => start <= at && at + value.length <= end),
    );
    const holds = read.every(({ observation: { bytes }, expectation: { value, mask } }) =>
      value.every((one, index) => (((bytes[at + index] ?? 0) ^ one) & (mask?.[index] ?? 0xff)) === 0),
    );
    return holds && read.some((a) => read.some((b) => isDifferent(a.expectation, b.expectation)));
  });
}

/**
 * What no reader of windows can know is left out: a member beyond them that something in them follows through differing
 * values. All else is in: one value by chance or by a copy, several places that hold it in turn, what was not read.
 */
function worlds(drawn: Drawn): World {
  const { members, observations, relations } = build(drawn);
  const fair = members.filter(
    (member) => !isBeyond(member, observations) || followers(member, observations).length === 0,
  );
  return { members: fair, observations, relations };
}

const solveAll = ({ members, relations, observations }: World): Map<string, Solution> =>
  solve(members, relations, observations);

const check = (property: (world: World) => void, numRuns: number) =>
  fc.assert(
    fc.property(scene, (drawn) => property(worlds(drawn))),
    { numRuns },
  );

test("what is solved is true, and the true offset is never dropped, whatever the others hold", () => {
  let solved = 0;
  let beyond = 0;
  check((world) => {
    const solutions = solveAll(world);
    for (const member of world.members) {
      const solution = solutions.get(member.constant);
      if (solution === undefined) throw new Error("a field is missing");
      const isInside = !isBeyond(member, world.observations);
      if (!isInside) beyond++;
      if (solution.is === "solved") {
        expect(solution.offset).toBe(member.truth);
        solved++;
      } else if (solution.is === "ambiguous") expect(solution.offsets).toContain(member.truth);
      else if (isInside)
        expect(solution.reason).toMatch(/^never observed$|^only one value|could not be told apart$/);
    }
  }, 8000);
  // Both kinds came up, or nothing was shown.
  expect(solved).toBeGreaterThan(500);
  expect(beyond).toBeGreaterThan(500);
});

test("a field that is solved by itself is solved beside others", () => {
  check((world) => {
    const solutions = solveAll(world);
    for (const member of world.members) {
      const alone = solve([member], [], world.observations).get(member.constant);
      if (alone?.is === "solved") expect(solutions.get(member.constant)).toEqual(alone);
    }
  }, 2000);
});

test("relations and the order of the fields change nothing but how much is known", () => {
  check((world) => {
    const solutions = solveAll(world);
    const turned = solveAll({ ...world, members: world.members.toReversed() });
    for (const [constant, solution] of solutions) expect(turned.get(constant)).toEqual(solution);
    const unrelated = solveAll({ ...world, relations: [] });
    for (const [constant, solution] of unrelated)
      if (solution.is === "solved") expect(solutions.get(constant)).toEqual(solution);
  }, 2000);
});

test("expectations differ where no single memory holds them all", () => {
  fc.assert(
    fc.property(fc.array(said, { maxLength: 5 }), (drawn) => {
      const unknown: Unknown = { constant: "field", shape: { width: 4, align: 4 } };
      const expectations = drawn.map((one) => expectationOf(unknown, one));
      const some = expectations.some((one) => expectations.some((other) => isDifferent(one, other)));
      expect(differ(expectations)).toBe(some);
    }),
    { numRuns: 5000 },
  );
});
