import { isReadable, type Observation } from "./observation.ts";

const POINTER = 8;
/** The highest byte of every address in the kernel's half, with 48-bit, 52-bit and 57-bit addresses alike. */
const KERNEL_HALF = 0xff;

/** The pointer at `at`, when it can be a kernel address of an aligned object; else null. */
export function pointerAt({ bytes }: Pick<Observation, "bytes">, at: number): bigint | null {
  // Almost no word is a pointer, so the two telling bytes are looked at before all else.
  if (bytes[at + POINTER - 1] !== KERNEL_HALF || (bytes[at] ?? 0) % POINTER !== 0) return null;
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
}

/** Offsets under `below` that hold a pointer to a kernel object in every observation that was read there, and in some. */
export function pointersInAll(observations: readonly Observation[], below = Infinity): number[] {
  const size = Math.min(below, ...observations.map(({ bytes }) => bytes.length));
  const offsets: number[] = [];
  for (let at = 0; observations.length > 0 && at + POINTER <= size; at += POINTER) {
    const isPointer = (each: Observation) => pointerAt(each, at) !== null || !isReadable(each, at, POINTER);
    if (observations.every(isPointer) && observations.some((each) => isReadable(each, at, POINTER)))
      offsets.push(at);
  }
  return offsets;
}

/**
 * Offsets of pointers that lead all instances of one group to the same place, and those of another group elsewhere:
 * for sockets grouped by network namespace, a pointer to the namespace is one of them. What was not read says nothing.
 *
 * @param below only offsets under this one
 */
export function pointersToGroup(groups: readonly (readonly Observation[])[], below = Infinity): number[] {
  if (groups.some((group) => group.length === 0)) return [];
  return pointersInAll(groups.flat(), below).filter((at) => {
    const read = groups.map((group) => group.filter((each) => isReadable(each, at, POINTER)));
    const places = read.map((group) => new Set(group.map((each) => pointerAt(each, at))));
    const all = places.flatMap((each) => [...each]);
    return places.every(({ size }) => size <= 1) && new Set(all).size === all.length;
  });
}
