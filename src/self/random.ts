/** So many bytes of the system's randomness. That of node:crypto takes 2 ms to load. */
export const randomBytes = (size: number): Buffer<ArrayBuffer> => crypto.getRandomValues(Buffer.alloc(size));

/** An integer of this range, its end not included, of 2^32 numbers at most: some come up more often, by 2^-32 and less of the whole. */
export function randomInt(least: number, end: number): number {
  const [word = 0] = crypto.getRandomValues(new Uint32Array(1));
  return least + Math.floor((word / 2 ** 32) * (end - least));
}
