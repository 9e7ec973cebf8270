import { isReadable, type Observation } from "./observation.ts";

const POINTER = 8;

/** What tells pointers into an architecture's kernel from other words; bpf/offsetof.h has the same. */
export interface Addressing {
  /** How many of the highest bits may be a tag; those of the address are then all as the bit below them, as in x86's. */
  readonly tagBits: number;
  /** Where the kernel's half begins with the narrow addresses (48 bits on both), and with the wide ones. */
  readonly narrow: bigint;
  readonly wide: bigint;
}

/**
 * arm64: bit 55 chooses the half, and the byte above it may be a tag (Documentation/arch/arm64/memory.rst,
 * memory-tagging-extension.rst); with 48-bit addresses the linear map begins where the half does.
 * x64: addresses are canonical, sign-extended from bit 47 or, with five levels of page tables, 56
 * (Documentation/arch/x86/x86_64/mm.rst).
 */
export const addressings = {
  x64: { tagBits: 0, narrow: 0xffff800000000000n, wide: 0xff00000000000000n },
  arm64: { tagBits: 8, narrow: 0xffff000000000000n, wide: 0xfff0000000000000n },
} as const satisfies Record<string, Addressing>;

/** The last 64 KiB hold no object on any architecture: what looks like an address there is an error (ERR_PTR). */
const KERNEL_END = { high: 0xffffffff, low: 0xffff0000 } as const;

/** The upper half of the address that the kernel's half begins with; the lower one is 0. @param known a pointer of this kernel */
const startOf = (known: bigint, addressing: Addressing): number =>
  Number((untagged(known, addressing) >= addressing.narrow ? addressing.narrow : addressing.wide) >> 32n);

/** Whether an address, by its halves of 32 bits, is that of an aligned object of the kernel, whose half begins at `start`. */
const isObject = (high: number, low: number, start: number, align = POINTER): boolean =>
  low % align === 0 && high >= start && (high < KERNEL_END.high || low < KERNEL_END.low);

/** The address that a pointer leads to, without its tag. */
export const untagged = (pointer: bigint, { tagBits }: Addressing): bigint =>
  BigInt.asUintN(64, BigInt.asIntN(64 - tagBits, pointer));

/**
 * The untagged address that a word leads to when it can be a pointer to an aligned object of the kernel; else null.
 *
 * @param known a pointer that the kernel gave, which tells how wide its addresses are
 */
export function kernelAddress(word: bigint, known: bigint, addressing: Addressing): bigint | null {
  const address = untagged(word, addressing);
  const [high, low] = [Number(address >> 32n), Number(address & 0xffffffffn)];
  return isObject(high, low, startOf(known, addressing)) ? address : null;
}

/** An observation, and the instance that it is of. */
export interface Sighted extends Observation {
  /** The pointer to it, as the kernel gave it. */
  readonly instance: bigint;
}

/** The address at `at`, as it stands there with its tag, when it can be one to an object of the kernel, aligned as its pointers are; else null. */
export function pointerAt(
  { bytes, instance }: Pick<Sighted, "bytes" | "instance">,
  at: number,
  addressing: Addressing,
  align = POINTER,
): bigint | null {
  if (!isPointer(bytes, at, startOf(instance, addressing), addressing, align)) return null;
  return (BigInt(half(bytes, at + 4)) << 32n) | BigInt(half(bytes, at));
}

/** Whether a pointer stands at `at`. By numbers of 32 bits: as one it would take several times as long. */
function isPointer(
  bytes: Uint8Array,
  at: number,
  start: number,
  { tagBits }: Addressing,
  align: number,
): boolean {
  // Almost no word is a pointer, so the telling byte is looked at before all else.
  if ((bytes[at + POINTER - 1 - tagBits / 8] ?? 0) < 0x80) return false;
  return isObject(((half(bytes, at + 4) << tagBits) >> tagBits) >>> 0, half(bytes, at), start, align);
}

/** A little-endian number of 32 bits. */
const half = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)) >>>
  0;

/**
 * Offsets in bytes under `below` that hold a pointer to a kernel object in every observation that was read there, and in some.
 * @param align of the objects, in bytes
 */
export function pointersInAll(
  observations: readonly Sighted[],
  addressing: Addressing,
  below = Infinity,
  align = POINTER,
): number[] {
  const size = Math.min(below, ...observations.map(({ bytes }) => bytes.length));
  const all = observations.map((each) => ({ each, start: startOf(each.instance, addressing) }));
  const offsets: number[] = [];
  for (let at = 0; observations.length > 0 && at + POINTER <= size; at += POINTER) {
    const fits = ({ each, start }: (typeof all)[number]) =>
      isPointer(each.bytes, at, start, addressing, align) || !isReadable(each, at, POINTER);
    if (all.every(fits) && observations.some((each) => isReadable(each, at, POINTER))) offsets.push(at);
  }
  return offsets;
}

/**
 * Offsets in bytes of pointers that lead all instances of one group to the same place, and those of another group elsewhere:
 * for sockets grouped by network namespace, a pointer to the namespace is one of them. What was not read says nothing.
 *
 * @param below only offsets under this one
 */
export const pointersToGroup = (
  groups: readonly (readonly Sighted[])[],
  addressing: Addressing,
  below = Infinity,
): number[] =>
  pointersByPlaces(groups, addressing, below, ({ distinct, places }) => distinct === places.length);

/**
 * Offsets in bytes of pointers that each instance keeps, as far as the instances tell: groups hold what was seen of one. Where one
 * was gone before another came, both may have led to the same memory, so that most places have to differ, not all.
 *
 * @param below only offsets under this one
 */
export const pointersOfEach = (
  groups: readonly (readonly Sighted[])[],
  addressing: Addressing,
  below = Infinity,
): number[] =>
  pointersByPlaces(groups, addressing, below, ({ distinct, places }) => 2 * distinct > places.length);

/** Offsets of pointers by the place of each group that was read there, all of whose instances lead to that one. */
function pointersByPlaces(
  groups: readonly (readonly Sighted[])[],
  addressing: Addressing,
  below: number,
  isTelling: (found: { places: bigint[]; distinct: number }) => boolean,
): number[] {
  if (groups.some((group) => group.length === 0)) return [];
  return pointersInAll(groups.flat(), addressing, below).filter((at) => {
    const read = groups.map((group) => group.filter((each) => isReadable(each, at, POINTER)));
    const byGroup = read.map((group) => new Set(group.map((each) => pointerAt(each, at, addressing))));
    const places = byGroup.flatMap((each) => [...each]).filter((place) => place !== null);
    return byGroup.every(({ size }) => size <= 1) && isTelling({ places, distinct: new Set(places).size });
  });
}
