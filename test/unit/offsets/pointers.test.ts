import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Observation } from "../../../src/offsets/observation.ts";
import { pointerAt, pointersInAll, pointersToGroup } from "../../../src/offsets/pointers.ts";
import { pointer } from "../../../src/offsets/values.ts";
import { Memory } from "./memory.ts";

const SIZE = 256;

/** Memory without pointers in it, but for those planted: offset to address. */
function observe(pointers: Record<number, bigint>, hole?: [number, number]): Observation {
  const memory = new Memory(SIZE, (at) => (at * 31) & 0x7f);
  for (const [at, address] of Object.entries(pointers)) memory.plant(Number(at), pointer(address));
  if (hole !== undefined) memory.hole(...hole);
  return memory.observe();
}

/** An address of an aligned object in the kernel's half: 48-bit, 57-bit or of the kernel's image. */
const address = fc
  .tuple(
    fc.constantFrom(0xffff888000000000n, 0xff11000000000000n, 0xffffffff80000000n),
    fc.integer({ min: 0, max: 1 << 24 }),
  )
  .map(([base, index]) => base + BigInt(index) * 8n);

describe("what may be a pointer", () => {
  test("an aligned address of the kernel's half, of any width, and nothing else", () => {
    fc.assert(
      fc.property(address, (value) => {
        expect(pointerAt(observe({ 64: value }), 64)).toBe(value);
        expect(pointerAt(observe({ 64: value + 4n }), 64)).toBeNull();
      }),
    );
    for (const value of [0n, 0x7fff00001000n, 0x00ffff8880000000n, 0xfeff888000000000n]) {
      expect(pointerAt(observe({ 64: value }), 64)).toBeNull();
    }
  });

  test("it has to be one in every observation that was read there, and in some", () => {
    const [a, b] = [0xffff888000001000n, 0xffff888000002000n];
    expect(pointersInAll([observe({ 8: a, 64: a }), observe({ 8: b })])).toEqual([8]);
    const unread = observe({ 8: a, 64: a }, [60, 70]);
    expect(pointersInAll([unread, observe({ 8: b, 64: b })])).toEqual([8, 64]);
    expect(pointersInAll([unread, observe({ 8: b })])).toEqual([8]);
    expect(pointersInAll([unread, unread])).toEqual([8]);
    expect(pointersInAll([observe({ 8: a, 64: a })], 64)).toEqual([8]);
    expect(pointersInAll([])).toEqual([]);
  });
});

describe("pointers that tell groups apart", () => {
  test("whatever the addresses: the same within a group, another one in each other group", () => {
    const groups = fc.uniqueArray(address, { minLength: 2, maxLength: 4 });
    const slots = fc.uniqueArray(fc.integer({ min: 0, max: SIZE / 8 - 1 }), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(
        groups,
        slots,
        address,
        fc.integer({ min: 2, max: 4 }),
        (targets, places, common, members) => {
          const [telling = 0, shared = 0, own = 0] = places.map((slot) => slot * 8);
          const observations = targets.map((target, group) =>
            Array.from({ length: members }, (_, member) => {
              const each = 0xffffc90000000000n + BigInt(group * 64 + member) * 64n;
              return observe({ [telling]: target, [shared]: common, [own]: each });
            }),
          );
          expect(pointersToGroup(observations)).toEqual([telling]);
        },
      ),
    );
  });

  test("what was not read in some of them is not dropped, and tells nothing", () => {
    const hole = fc.option(fc.integer({ min: 0, max: SIZE / 8 - 1 }), { freq: 2 });
    fc.assert(
      fc.property(
        fc.uniqueArray(address, { minLength: 2, maxLength: 3 }),
        fc.array(hole, { minLength: 9, maxLength: 9 }),
        fc.integer({ min: 0, max: SIZE / 8 - 1 }),
        (targets, holes, slot) => {
          const groups = targets.map((target, group) =>
            [0, 1, 2].map((member) => {
              const at = holes[group * 3 + member] ?? null;
              return observe({ [slot * 8]: target }, at === null ? undefined : [at * 8, at * 8 + 8]);
            }),
          );
          const isRead = holes.slice(0, targets.length * 3).some((at) => at !== slot);
          expect(pointersToGroup(groups)).toEqual(isRead ? [slot * 8] : []);
        },
      ),
    );
  });

  test("no groups, an empty one, and no observations tell nothing", () => {
    expect(pointersToGroup([])).toEqual([]);
    expect(pointersToGroup([[], []])).toEqual([]);
    expect(pointersToGroup([[observe({ 8: 0xffff888000001000n })], []])).toEqual([]);
  });
});
