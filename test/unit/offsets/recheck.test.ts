import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Observation } from "../../../src/offsets/observation.ts";
import { recheck } from "../../../src/offsets/recheck.ts";
import { solve } from "../../../src/offsets/solver.ts";
import { host, masked } from "../../../src/offsets/values.ts";

const seen = (bytes: number[], value: number, readable = [{ start: 0, end: bytes.length }]): Observation => ({
  bytes: Uint8Array.from(bytes),
  readable,
  expected: new Map([["field", host(2, value)]]),
});
const solved = (offset: number) => ({ is: "solved", offset }) as const;

test("an offset that one observation refutes is not told", () => {
  const observations = [seen([0, 0, 1, 2], 0x0201), seen([0, 0, 3, 4], 0x0403)];
  expect(recheck("field", solved(2), observations)).toEqual(solved(2));
  expect(recheck("field", solved(0), observations)).toMatchObject({
    is: "open",
    reason: expect.stringContaining("0 was found"),
  });
  const one = [...observations, seen([0, 0, 9, 9], 0x0201)];
  expect(recheck("field", solved(2), one).is).toBe("open");
});

test("what was not read, what a mask leaves out and what is expected of others refute nothing", () => {
  const unread = seen([0, 0, 9, 9], 0x0201, [{ start: 0, end: 2 }]);
  expect(recheck("field", solved(2), [unread])).toEqual(solved(2));
  const half = { ...seen([0, 0, 1, 9], 0), expected: new Map([["field", masked(2, 0x0001, 0x00ff)]]) };
  expect(recheck("field", solved(2), [half])).toEqual(solved(2));
  expect(recheck("other", solved(2), [unread])).toEqual(solved(2));
});

test("it says the same as the solver, of which it is independent", () => {
  const world = fc.array(
    fc.record({
      bytes: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 8, maxLength: 8 }),
      value: fc.constantFrom(0x0100, 0x0201, 0x0302),
    }),
    { minLength: 1, maxLength: 4 },
  );
  const field = { constant: "field", shape: { width: 2, align: 2 } } as const;
  fc.assert(
    fc.property(world, (instances) => {
      const observations = instances.map(({ bytes, value }) => seen(bytes, value));
      const solution = solve([field], [], observations).get("field");
      if (solution === undefined) throw new Error("no solution");
      expect(recheck("field", solution, observations)).toEqual(solution);
    }),
  );
});
