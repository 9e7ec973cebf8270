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

/** Offsets that hold a pointer to a kernel object in every observation. */
export function pointersInAll(observations: readonly Observation[]): number[] {
  const size = Math.min(...observations.map(({ bytes }) => bytes.length));
  const offsets: number[] = [];
  for (let at = 0; observations.length > 0 && at + POINTER <= size; at += POINTER) {
    if (observations.every((each) => pointerAt(each, at) !== null && isReadable(each, at, POINTER)))
      offsets.push(at);
  }
  return offsets;
}

/**
 * Offsets of pointers that lead all instances of one group to the same place, and those of another group elsewhere:
 * for sockets grouped by network namespace, a pointer to the namespace is one of them.
 */
export function pointersToGroup(groups: readonly (readonly Observation[])[]): number[] {
  if (groups.some(({ length }) => length === 0)) return [];
  return pointersInAll(groups.flat()).filter((at) => {
    const targets = groups.map((group) => new Set(group.map((each) => pointerAt(each, at))));
    const all = new Set(targets.flatMap((target) => [...target]));
    return targets.every(({ size }) => size === 1) && all.size === groups.length;
  });
}
