/** `, did you mean "--format"?` when one of the known names is close to the one given; else nothing. */
export function didYouMean(name: string, known: readonly string[], prefix = ""): string {
  const close = known.find((each) => each.startsWith(name) || distance(name, each) <= 2);
  return close === undefined ? "" : `, did you mean "${prefix}${close}"?`;
}

/** Levenshtein distance, over one row. */
export function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      const swap = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(swap, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
