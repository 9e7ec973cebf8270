import { run } from "../../assets/build/run.ts";

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

/**
 * Forks a command, waits for it by wait4(2) and prints ru_maxrss, in KiB, at offset 32 of struct rusage. A process begins
 * with the peak of the one that it was forked from (setmax_mm_hiwater_rss at exec), so that one has to be small.
 */
const waiter = `
  my $pid = fork;
  if (!$pid) { open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null"; exec @ARGV; exit 127 }
  my ($status, $usage) = ("\\0" x 4, "\\0" x 144);
  syscall(${process.arch === "arm64" ? 260 : 61}, $pid, $status, 0, $usage);
  print unpack("x32 q", $usage);`;

/** A command's peak of resident memory in MiB. */
function peakMemory(command: readonly string[]): number {
  const { stdout } = Bun.spawnSync(["perl", "-e", waiter, ...command], { stdin: "ignore" });
  return Number(stdout.toString()) / 2 ** 10;
}

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
      const row = {
        wall: performance.now() - started,
        cpu: Number(resourceUsage.cpuTime.total) / 1000,
        memory: round === 0 ? 0 : peakMemory(command),
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

/**
 * Has this thread, and what it starts, run before all else on the machine (SCHED_FIFO): what others take of
 * a run's time is often more than what is looked for.
 */
export async function undisturbed<Result>(act: () => Result): Promise<Result> {
  await run(["chrt", "--fifo", "--pid", "50", `${process.pid}`]);
  try {
    return act();
  } finally {
    await run(["chrt", "--other", "--pid", "0", `${process.pid}`]);
  }
}

/** Cells: how many times what it was before it is, of wall clock time, processor time and memory; none where nothing was before. */
export const besideBefore = (now: Figures, before: Figures | undefined): readonly string[] =>
  before === undefined
    ? []
    : (["wall", "cpu", "memory"] as const).map((what) => `${(now[what] / before[what]).toFixed(2)}×`);
