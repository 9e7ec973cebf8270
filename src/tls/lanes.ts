/**
 * Does all, so many side by side, begun in their order. What is begun is done before this ends, in whatever way.
 *
 * @returns what came of each, in their order @throws what the first of them threw that was not done; no more is begun then
 */
export async function sideBySide<One, Result>(
  all: readonly One[],
  lanes: number,
  act: (one: One, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  const todo = all.entries();
  const lane = async (): Promise<void> => {
    for (const [index, one] of todo) {
      try {
        results[index] = await act(one, index);
      } catch (error) {
        failures.push(error);
      }
      if (failures.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, all.length) }, lane));
  for (const failure of failures) throw failure;
  return results;
}
