/** `, did you mean "--format"?` for the known name that is closest to the one given; nothing where none is close. */
export function didYouMean(name: string, known: readonly string[], prefix = ""): string {
  const near = known.map((each) => ({ each, away: each.startsWith(name) ? 0 : distance(name, each) }));
  const [close] = near.filter(({ away }) => away <= 2).sort((a, b) => a.away - b.away);
  return close === undefined ? "" : `, did you mean "${prefix}${close.each}"?`;
}

/** How many letters have to be put in, taken out or changed (Levenshtein distance), over one row. */
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
