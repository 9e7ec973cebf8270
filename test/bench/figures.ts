/** Medians of one command's runs. Times are in milliseconds, memory in MiB. */
export interface Figures {
  readonly wall: number;
  readonly cpu: number;
  readonly memory: number;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = 0, high = 0] = [sorted[(sorted.length - 1) >> 1], sorted[middle]];
  return (low + high) / 2;
}

/** The median of each figure. */
export const medians = <Row extends object>(rows: readonly Row[]): Row => {
  const [first] = rows;
  if (first === undefined) throw new Error("nothing was measured");
  const keys = Object.keys(first) as (keyof Row)[];
  return Object.fromEntries(keys.map((key) => [key, median(rows.map((row) => Number(row[key])))])) as Row;
};

/** Runs commands in turn, A B C A B C …, after one round that is not counted. */
export function sideBySide(commands: readonly (readonly string[])[], rounds: number): Figures[] {
  const rows: Figures[][] = commands.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    commands.forEach((command, index) => {
      const started = performance.now();
      const { exitCode, resourceUsage } = Bun.spawnSync([...command], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      if (exitCode !== 0 && exitCode !== 3) throw new Error(`${command.join(" ")}: exit ${exitCode}`);
      const { cpuTime, maxRSS } = resourceUsage;
      const row = {
        wall: performance.now() - started,
        cpu: Number(cpuTime.total) / 1000,
        memory: maxRSS / 2 ** 20,
      };
      if (round > 0) rows[index]?.push(row);
    });
  }
  return rows.map(medians);
}

/** Three figures are enough. */
export const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
/** A line of a Markdown table. */
export const row = (...cells: (string | number)[]): string =>
  `| ${cells.map((cell) => (typeof cell === "number" ? round(cell) : cell)).join(" | ")} |`;
/** A Markdown table. */
export const table = (head: readonly string[], rows: readonly string[]): string =>
  [row(...head), row(...head.map(() => "---")), ...rows].join("\n");
