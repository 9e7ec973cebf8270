import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Addressing,
  addressings,
  pointerAt,
  pointersInAll,
  pointersOfEach,
  pointersToGroup,
  type Sighted,
} from "../../../src/offsets/pointers.ts";
import { pointer } from "../../../src/offsets/values.ts";
import { Memory } from "./memory.ts";

const SIZE = 256;

const { x64, arm64 } = addressings;
/** Where the kernel keeps a socket, by the width of its addresses. */
const SOCKET = {
  x64: { 48: 0xffff888000001000n, 57: 0xff11000000001000n },
  arm64: { 48: 0xffff000000001000n, 52: 0xfff0000000001000n },
} as const;

/** Memory without pointers in it, but for those planted: offset to address. */
function observe(
  pointers: Record<number, bigint>,
  hole?: [number, number],
  instance: bigint = SOCKET.x64[57],
): Sighted {
  const memory = new Memory(SIZE, (at) => (at * 31) & 0x7f);
  for (const [at, address] of Object.entries(pointers)) memory.plant(Number(at), pointer(address));
  if (hole !== undefined) memory.hole(...hole);
  return { ...memory.observe(), instance };
}

/** An address of an aligned object in the kernel's half on x86-64: 48-bit, 57-bit or of the kernel's image. */
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
        expect(pointerAt(observe({ 64: value }), 64, x64)).toBe(value);
        expect(pointerAt(observe({ 64: value + 4n }), 64, x64)).toBeNull();
      }),
    );
    for (const value of [0n, 0x7fff00001000n, 0x00ffff8880000000n, 0xfeff888000000000n]) {
      expect(pointerAt(observe({ 64: value }), 64, x64)).toBeNull();
    }
  });

  const stands = (addressing: Addressing, instance: bigint) => (word: bigint) =>
    pointerAt(observe({ 64: word }, undefined, instance), 64, addressing) === word;

  test("x86-64: what 48-bit addresses do not reach is none where the kernel has them", () => {
    const words = [0xffff800000000000n, 0xffff7ffffffffff8n, 0xff11000000001000n, 0xff00000000000000n];
    expect(words.map(stands(x64, SOCKET.x64[48]))).toEqual([true, false, false, false]);
    expect(words.map(stands(x64, SOCKET.x64[57]))).toEqual([true, true, true, true]);
    expect([0xfeff000000000000n, 0xf0ff888000001000n].map(stands(x64, SOCKET.x64[57]))).toEqual([
      false,
      false,
    ]);
  });

  test("arm64: with 48-bit addresses the kernel's half begins at 0xffff0000…, with 52-bit ones at 0xfff00000…", () => {
    const words = [0xffff000000000000n, 0xffff800080000000n, 0xfffefffffffffff8n, 0xfff0000000000000n];
    expect(words.map(stands(arm64, SOCKET.arm64[48]))).toEqual([true, true, false, false]);
    expect(words.map(stands(arm64, SOCKET.arm64[52]))).toEqual([true, true, true, true]);
    expect([0xffeffffffffffff8n, 0x0000ffff80001000n].map(stands(arm64, SOCKET.arm64[52]))).toEqual([
      false,
      false,
    ]);
  });

  test("arm64: whatever the tag in the highest byte, of the pointer or of what it was found in", () => {
    const tag = (address: bigint, byte: number) => (address & ((1n << 56n) - 1n)) | (BigInt(byte) << 56n);
    fc.assert(
      fc.property(fc.nat(255), fc.nat(255), (one, other) => {
        const is = stands(arm64, tag(SOCKET.arm64[48], one));
        expect(is(tag(0xffff0000c0de0000n, other))).toBe(true);
        expect(is(tag(0x00000000c0de0000n, other))).toBe(false); // bit 55: the user's half
        expect(stands(x64, SOCKET.x64[57])(tag(0xffff888000001000n, other))).toBe(other === 0xff);
      }),
    );
  });

  test("errors that stand where pointers do (ERR_PTR) lead nowhere", () => {
    const errors = [-16n, -8n, -4088n].map((error) => BigInt.asUintN(64, error)); // EBUSY, ENOEXEC
    expect(errors.map(stands(x64, SOCKET.x64[48]))).toEqual([false, false, false]);
    expect(errors.map(stands(arm64, SOCKET.arm64[48]))).toEqual([false, false, false]);
  });

  test("it has to be one in every observation that was read there, and in some", () => {
    const [a, b] = [0xffff888000001000n, 0xffff888000002000n];
    expect(pointersInAll([observe({ 8: a, 64: a }), observe({ 8: b })], x64)).toEqual([8]);
    const unread = observe({ 8: a, 64: a }, [60, 70]);
    expect(pointersInAll([unread, observe({ 8: b, 64: b })], x64)).toEqual([8, 64]);
    expect(pointersInAll([unread, observe({ 8: b })], x64)).toEqual([8]);
    expect(pointersInAll([unread, unread], x64)).toEqual([8]);
    expect(pointersInAll([observe({ 8: a, 64: a })], x64, 64)).toEqual([8]);
    expect(pointersInAll([], x64)).toEqual([]);
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
          expect(pointersToGroup(observations, x64)).toEqual([telling]);
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
          expect(pointersToGroup(groups, x64)).toEqual(isRead ? [slot * 8] : []);
        },
      ),
    );
  });

  test("no groups, an empty one, and no observations tell nothing", () => {
    expect(pointersToGroup([], x64)).toEqual([]);
    expect(pointersToGroup([[], []], x64)).toEqual([]);
    expect(pointersToGroup([[observe({ 8: 0xffff888000001000n })], []], x64)).toEqual([]);
  });
});

describe("pointers that each instance has for itself", () => {
  const OWN = 16;
  const COMMON = 64;
  const kernelAt = (index: number): bigint => 0xffff888000001000n + BigInt(index) * 256n;
  /** What was seen twice of each instance. */
  const seen = (places: readonly number[]) =>
    places.map((place) => {
      const one = observe({ [OWN]: kernelAt(place), [COMMON]: kernelAt(99) });
      return [one, one];
    });

  test("memory that served one that is gone and then another dismisses none", () => {
    expect(pointersOfEach(seen([1, 2, 3, 4]), x64)).toEqual([OWN]);
    expect(pointersOfEach(seen([1, 2, 1, 3]), x64)).toEqual([OWN]);
    expect(pointersToGroup(seen([1, 2, 1, 3]), x64)).toEqual([]);
  });

  test("what no more than half of them tell apart is no instance's own, nor what changed in one", () => {
    expect(pointersOfEach(seen([1, 2, 1, 2]), x64)).toEqual([]);
    const [first = [], ...others] = seen([1, 2, 3, 4]);
    const changed = [...first, observe({ [OWN]: kernelAt(5), [COMMON]: kernelAt(99) })];
    expect(pointersOfEach([changed, ...others], x64)).toEqual([]);
  });
});
