/** Milliseconds after which a wait, or a program that a test runs, has hung: on a busy machine all else takes long as well. */
export const hang = 300_000;

/** Waits for what `look` returns, until that is neither undefined nor false. */
export async function until<Value>(look: () => Value | undefined | false): Promise<Value> {
  for (const end = performance.now() + hang; performance.now() < end; await Bun.sleep(10)) {
    const value = look();
    if (value !== undefined && value !== false) return value;
  }
  throw new Error(`it did not come within ${hang / 1000} s: ${look}`);
}
