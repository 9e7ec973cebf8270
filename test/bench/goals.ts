import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { executable } from "../e2e/executable.ts";
import { type Figures, round, row, sideBySide, table, undisturbed } from "./figures.ts";

const RUNS = 20;
const LIBRARY = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
/** A pid namespace of its own, in which nothing else runs. */
const ALONE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** What is measured against what, and how many times the latter's processor time it may take. */
const rows = [
  { words: ["--version"], against: "hello", goal: 1.2 },
  { words: ["kernel", "--source", "btf"], against: "pahole", goal: 0.4 },
  { words: ["kernel"], against: "pahole", goal: 0.8 },
  { words: ["tls", LIBRARY, "--source", "table,code"], against: "pahole", goal: 0.8, isAlone: true },
  { words: ["tls", LIBRARY], against: "pahole", goal: 1.6, isAlone: true },
  { words: ["detect"], against: "pahole", goal: 1, isAlone: true },
  { words: ["run"], against: "pahole", goal: 2, isAlone: true },
] as const satisfies readonly {
  words: readonly string[];
  against: "hello" | "pahole";
  goal: number;
  isAlone?: true;
}[];

/** Short runs against a compiled hello world and pahole. @param before another executable, run in turn with this one */
export async function goalsSection(before: string | undefined): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-hello-"));
  try {
    const hello = join(folder, "hello");
    writeFileSync(join(folder, "hello.ts"), 'console.log("hello");\n');
    await Bun.build({
      entrypoints: [join(folder, "hello.ts")],
      minify: true,
      bytecode: true,
      format: "esm",
      compile: { outfile: hello },
    });
    const yardsticks = [[hello], ["pahole", "-C", "tcp_sock", "/sys/kernel/btf/vmlinux"]];
    const builds = [executable, ...(before === undefined ? [] : [before])];
    const commands = rows.flatMap(({ words, ...rest }) =>
      builds.map((build) => {
        const format = words.some((word) => word === "--version") ? [] : ["--format", "json"];
        return [...("isAlone" in rest ? ALONE : []), build, ...words, ...format];
      }),
    );
    const [greeting, dump, ...figures] = await undisturbed(() =>
      sideBySide([...yardsticks, ...commands], RUNS),
    );
    if (greeting === undefined || dump === undefined) throw new Error("nothing was measured");
    const measured = { hello: greeting, pahole: dump };
    const times = (one: Figures | undefined, against: keyof typeof measured): string =>
      one === undefined ? "" : `${(one.cpu / measured[against].cpu).toFixed(2)}×`;
    const lines = rows.map(({ words, against, goal }, index) => {
      const [now = dump, old] = figures.slice(index * builds.length, (index + 1) * builds.length);
      const name = words.map((word) => (word === LIBRARY ? "libssl.so.3" : word)).join(" ");
      const reached = now.cpu <= goal * measured[against].cpu ? "≤" : "**>**";
      const then = before === undefined ? [] : [old?.cpu ?? Number.NaN, times(old, against)];
      return row(
        `\`offsetof ${name}\``,
        now.wall,
        now.cpu,
        now.memory,
        times(now, against),
        `${reached} ${goal} ${against}`,
        ...then,
      );
    });
    const columns = ["command", "wall ms", "cpu ms", "memory MiB", "cpu ÷", "goal"];
    const old = before === undefined ? [] : ["before: cpu ms", "before: cpu ÷"];
    return `## Short runs

cpu against a hello world that Bun compiles (${round(greeting.cpu)} ms cpu, ${round(greeting.wall)} wall) and \`pahole -C tcp_sock\` of the same BTF (${round(dump.cpu)} ms cpu,
${round(dump.wall)} wall). ${RUNS} runs of each in turn, before all else on the machine (SCHED_FIFO); \`tls\`, \`detect\` and \`run\` in a pid namespace of their own.

${table([...columns, ...old], lines)}
`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
