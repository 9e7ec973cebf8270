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

/** Offsets under `below` that hold a pointer to a kernel object in every observation. */
export function pointersInAll(observations: readonly Observation[], below = Infinity): number[] {
  const size = Math.min(below, ...observations.map(({ bytes }) => bytes.length));
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
 *
 * @param below only offsets under this one
 */
export function pointersToGroup(groups: readonly (readonly Observation[])[], below = Infinity): number[] {
  const firsts = groups.flatMap(([first]) => first ?? []);
  if (firsts.length < groups.length) return [];
  return pointersInAll(firsts, below).filter((at) => {
    const isShared = groups.every((group, index) =>
      group.every((each) => isReadable(each, at, POINTER) && isSame(each, firsts[index] ?? each, at)),
    );
    return isShared && new Set(firsts.map((first) => pointerAt(first, at))).size === groups.length;
  });
}

/** Whether two observations hold the same word at `at`. */
function isSame({ bytes: a }: Observation, { bytes: b }: Observation, at: number): boolean {
  for (let index = at; index < at + POINTER; index++) if (a[index] !== b[index]) return false;
  return true;
}
