import { isReadable, type Observation } from "./observation.ts";

const POINTER = 8;
/** The kernel half of 64-bit addresses begins above this upper word, with 48-bit, 52-bit and 57-bit addresses alike. */
const KERNEL_HALF = 0xff000000;

/** The pointer at `at`, when it can be a kernel address of an aligned object; else null. */
export function pointerAt({ bytes }: Pick<Observation, "bytes">, at: number): bigint | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [low, high] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
  return high >= KERNEL_HALF && low % POINTER === 0 ? (BigInt(high) << 32n) | BigInt(low) : null;
}

/** Offsets that hold a pointer to a kernel object in every observation. */
export function pointersInAll(observations: readonly Observation[]): number[] {
  const size = Math.min(...observations.map(({ bytes }) => bytes.length));
  const offsets = Array.from({ length: Math.floor(size / POINTER) || 0 }, (_, index) => index * POINTER);
  return offsets.filter((at) =>
    observations.every((each) => isReadable(each, at, POINTER) && pointerAt(each, at) !== null),
  );
}

/**
 * Offsets of pointers that lead all instances of one group to the same place, and those of another group elsewhere:
 * for sockets grouped by network namespace, a pointer to the namespace is one of them.
 */
export function pointersToGroup(groups: readonly (readonly Observation[])[]): number[] {
  if (groups.flat().length === 0) return [];
  const size = Math.min(...groups.flat().map(({ bytes }) => bytes.length));
  const offsets: number[] = [];
  for (let at = 0; at + POINTER <= size; at += POINTER) {
    const targets = new Set<bigint>();
    const told = groups.every((group) => {
      const values = new Set<bigint | null>();
      for (const observation of group) {
        if (isReadable(observation, at, POINTER)) values.add(pointerAt(observation, at));
        if (values.size > 1) return false;
      }
      const [value] = values;
      if (value === undefined || value === null || targets.has(value)) return false;
      targets.add(value);
      return true;
    });
    if (told) offsets.push(at);
  }
  return offsets;
}
