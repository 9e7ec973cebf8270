import { isReadable, type Observation } from "./observation.ts";

const POINTER = 8;
/** The kernel half of 64-bit addresses begins above this upper word, with 48-bit, 52-bit and 57-bit addresses alike. */
const KERNEL_HALF = 0xff000000;

/** The 64-bit word at `at` as text, when it can be a kernel address of an aligned object; else null. */
function kernelAddress({ bytes }: Observation, at: number): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [low, high] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
  return high >= KERNEL_HALF && low % POINTER === 0 ? `${high}:${low}` : null;
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
    const targets = groups.map((group) => {
      const read = group.filter((observation) => isReadable(observation, at, POINTER));
      const values = new Set(read.map((observation) => kernelAddress(observation, at)));
      const [value] = values;
      return values.size === 1 ? (value ?? null) : null;
    });
    if (!targets.includes(null) && new Set(targets).size === targets.length) offsets.push(at);
  }
  return offsets;
}
