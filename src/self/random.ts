/** So many bytes of the system's randomness. That of node:crypto takes 2 ms to load. */
export const randomBytes = (size: number): Buffer<ArrayBuffer> => crypto.getRandomValues(Buffer.alloc(size));

/** A whole number of this range, its end not included, of 2^53 numbers at most: some come up more often, by 2^-53 and less of the whole. */
export function randomInt(least: number, end: number): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  const fraction = (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
  return least + Math.floor(fraction * (end - least));
}
