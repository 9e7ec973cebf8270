/**
 * bun run fuzz [--count N] [--seed S] [--target NAME] [--from I] [--jobs N] [--write]: gives N damaged inputs to the readers
 * of all that comes from outside, each input as its seed and number tell, in child processes. It prints a table, and what
 * was found with the command that does it again; --write puts the table into docs/benchmarks.md.
 *
 * Found is: an error that is none of ours, the end of the process, an input that takes longer than a minute, and an answer
 * that is not what the input says. Then it ends with 1.
 */

import { closeSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { optionsOf } from "../../assets/build/options.ts";
import { repository } from "../../assets/build/paths.ts";
import { targets } from "./targets.ts";
import type { Finding } from "./told.ts";

/** Milliseconds that one input may take before it hangs: far beyond any budget, on a busy machine too. */
const hang = 60_000;
/** Inputs that a worker is given at once. */
const portion = 20_000;

const toldSchema = v.object({
  inputs: v.number(),
  answered: v.number(),
  slowest: v.object({ index: v.number(), milliseconds: v.number() }),
  findings: v.array(
    v.object({ kind: v.picklist(["crash", "hang", "wrong"]), index: v.number(), what: v.string() }),
  ),
  seconds: v.number(),
});
type Told = v.InferOutput<typeof toldSchema>;

const { values } = optionsOf({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    target: { type: "string" },
    from: { type: "string", default: "0" },
    jobs: { type: "string", default: "2" },
    write: { type: "boolean", default: false },
  },
});
const [count, seed, from, jobs] = [values.count, values.seed, values.from, values.jobs].map(Number) as [
  number,
  number,
  number,
  number,
];
const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target);
if (chosen.length === 0)
  throw new Error(`no target ${values.target}; there are ${targets.map(({ name }) => name).join(", ")}`);

const folder = mkdtempSync(join(tmpdir(), "offsetof-fuzz-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

/** Which input a worker is at; null before the first. */
function indexIn(mark: string): number | null {
  const fd = openSync(mark, "r");
  try {
    const word = new Float64Array(1);
    return readSync(fd, new Uint8Array(word.buffer), 0, 8, 0) === 8 ? (word[0] ?? null) : null;
  } finally {
    closeSync(fd);
  }
}

/** Has a worker read these inputs; one that ends or hangs is followed by another, behind the input that did it. */
async function work(name: string, start: number, end: number): Promise<readonly Told[]> {
  const mark = join(folder, `${name}-${start}`);
  await Bun.write(mark, "");
  const program = join(import.meta.dir, "worker.program.ts");
  const child = Bun.spawn([process.execPath, program, name, `${seed}`, `${start}`, `${end}`, mark], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let isHanging = false;
  let [seen, since] = [indexIn(mark), performance.now()];
  const watch = setInterval(() => {
    const index = indexIn(mark);
    if (index !== seen) [seen, since] = [index, performance.now()];
    else if (index !== null && performance.now() - since > hang) {
      isHanging = true;
      child.kill("SIGKILL");
    }
  }, 500);
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearInterval(watch);
  const told = v.safeParse(v.pipe(v.string(), v.parseJson(), toldSchema), stdout);
  if (told.success) return [told.output];
  const index = indexIn(mark);
  if (index === null) throw new Error(`${name} cannot be begun: ${stderr}`);
  const end_ = child.signalCode ?? `exit ${child.exitCode}`;
  const finding: Finding = isHanging
    ? { kind: "hang", index, what: `not done after ${hang / 1000} s` }
    : { kind: "crash", index, what: `the process ended: ${end_}\n${stderr.slice(-600)}` };
  const slowest = { index, milliseconds: isHanging ? hang : 0 };
  const one = { inputs: index + 1 - start, answered: 0, slowest, findings: [finding], seconds: 0 };
  return [one, ...(index + 1 < end ? await work(name, index + 1, end) : [])];
}

const whole = chosen.reduce((sum, { share }) => sum + share, 0);
const tasks = chosen.flatMap(({ name, share }) => {
  const end = from + Math.max(1, Math.round((count * share) / whole));
  return Array.from({ length: Math.ceil((end - from) / portion) }, (_, index) => {
    const start = from + index * portion;
    return { name, start, end: Math.min(end, start + portion) };
  });
});
const results = new Map<string, Told[]>();
const started = performance.now();
async function takeTasks(): Promise<void> {
  for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
    const { name, start, end } = task;
    const told = await work(name, start, end);
    results.set(name, [...(results.get(name) ?? []), ...told]);
    for (const { kind, index, what } of told.flatMap(({ findings }) => findings)) {
      console.log(`${kind.toUpperCase()} ${name} ${index}: ${what.trimEnd()}`);
      console.log(`again: bun run fuzz --target ${name} --seed ${seed} --from ${index} --count 1`);
    }
  }
}
await Promise.all(Array.from({ length: jobs }, takeTasks));

const sum = (list: readonly number[]): number => list.reduce((total, each) => total + each, 0);
const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
function figures(title: string, what: string, told: readonly Told[]): readonly (string | number)[] {
  const findings = told.flatMap((one) => one.findings);
  const of = (kind: Finding["kind"]): number => findings.filter((one) => one.kind === kind).length;
  return [
    title,
    what,
    sum(told.map(({ inputs }) => inputs)),
    sum(told.map(({ answered }) => answered)),
    Math.round(sum(told.map(({ seconds }) => seconds))),
    Math.round(Math.max(...told.map(({ slowest }) => slowest.milliseconds))),
    of("crash"),
    of("hang"),
    of("wrong"),
  ];
}
const all = [...results.values()].flat();
const table = [
  row(["target", "what is read", "inputs", "answered", "seconds", "slowest ms", "crashes", "hangs", "wrong"]),
  row(Array.from({ length: 9 }, () => "---")),
  ...chosen.map(({ name, what }) => row(figures(`\`${name}\``, what, results.get(name) ?? []))),
  row(figures("all", "", all)),
].join("\n");
const heading = "## Hostile input";
const section = `${heading}

\`bun run fuzz --write\`: sound inputs with one to eight changes each (bits, numbers at the ends of their ranges, lengths, cuts,
pieces of others, repetitions, hostile text), seed ${seed}, in ${jobs} processes, ${Math.round((performance.now() - started) / 1000)} s. \`answered\` were not refused. A crash is
also an error that is none of ours; a hang takes longer than a minute. Wrong is an answer that the input does not hold, as other
readers of it say: JSON.parse, readelf, bpftool, ldconfig, a second reader in the test, or the same file before code and texts
in it were changed that the answer does not come from.

${table}
`;
console.log(section);
if (values.write) {
  const path = join(repository, "docs/benchmarks.md");
  const pieces = (await Bun.file(path).text()).split(/^(?=## )/m);
  const others = pieces.filter((text) => !text.startsWith(heading)).map((text) => `${text.trimEnd()}\n`);
  await Bun.write(path, [...others, section].join("\n"));
}
process.exit(all.some(({ findings }) => findings.length > 0) ? 1 : 0);
