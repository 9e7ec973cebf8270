/**
 * bun run storm [--kernels NAME,…|all] [--runs N] [--quiet | --here [--all]]: asks kernels of the lab over and over, compares every
 * answer with the truth of that kernel's BTF, which the runs do not see, and prints a row of docs/storms.md for each.
 *
 * In a storm of foreign processes, connections, datagrams, files, conntrack entries and namespaces, N guesses are made by
 * the snapshot strategy and N / 10 by the stepwise one in one process each, and N / 20 by the executable, which takes
 * longer to start than to guess; before it some in the same guest while it is quiet. With --quiet there is no storm, and
 * the executable answers N times with BTF and N times without. With --here it answers N times on this machine, by the
 * guess alone, beside whatever goes on there: of all, this one has several processors; with --all of tasks, files
 * and sockets too, by the crawl. What says anything else than the truth is kept in
 * dist/storm. Ends with 1 after a wrong number, a null of what quiet runs (or with --quiet the kernel) know, a run that
 * has no constants, or with --quiet a line in the kernel's log.
 */

import { join } from "node:path";
import type { Architecture } from "../../assets/build/debian.ts";
import { optionsOf } from "../../assets/build/options.ts";
import { assets } from "../../assets/build/paths.ts";
import { run } from "../../assets/build/run.ts";
import { allWide } from "../../src/kernel/asked.ts";
import type { Strategy } from "../../src/output/document.ts";
import { row, table } from "../bench/figures.ts";
import { trueConstants } from "../lab/constants.ts";
import { executableFor, runtimeFor } from "../lab/executable.ts";
import {
  bootGuest,
  type CommandResult,
  type GuestFile,
  HIDE_BTF,
  LOG,
  NO_STALLS,
  text,
} from "../lab/guest.ts";
import { LAB_KERNELS, type LabKernel, type LoadedKernel, labKernel, loadKernel } from "../lab/kernels.ts";
import { BREW, COUNTS, STORM_MODULES, STORM_PACKAGES, stormCounts, stormFiles } from "../lab/storm.ts";
import { bitsOf } from "../lab/truth.ts";
import { type Answer, answersOf, type Constants, knownIn, over, verdictOf } from "./answers.ts";

const { values } = optionsOf({
  options: {
    kernels: { type: "string" },
    runs: { type: "string" },
    quiet: { type: "boolean" },
    here: { type: "boolean" },
    all: { type: "boolean" },
  },
});
const runs = Number(values.runs ?? (values.quiet ? 20 : 1000));
const STORMED = "5.10-cloud,6.1-cloud,6.12-cloud,sid-cloud,arm64-6.12-cloud";
const KEPT = join(import.meta.dir, "../../dist/storm");
const ASK = "/opt/offsetof kernel --format json";
/** Guesses in one process (loop.program.ts). */
const loop = (times: number, strategy: Strategy): string => `/opt/bun /opt/loop.js ${strategy} ${times}`;
/** Runs before the storm, in the guest of the first of them. */
const QUIET_RUNS = 20;
/** One boot makes no more: a guest that dies takes them with it. */
const RUNS_PER_BOOT = 100;

/** What loop.program.ts is, and reads. */
async function loopFiles(architecture: Architecture): Promise<Record<string, GuestFile>> {
  const entrypoints = [join(import.meta.dir, "loop.program.ts")];
  const [program] = (await Bun.build({ entrypoints, target: "bun" })).outputs;
  if (program === undefined) throw new Error("nothing was built");
  const arch = architecture === "amd64" ? "x64" : architecture;
  const objects = await Array.fromAsync(new Bun.Glob("*.o").scan(join(assets, "bpf", arch)));
  return {
    "/opt/loop.js": { content: await program.text() },
    "/opt/assets/libbpf.so": { from: join(assets, `lib/${arch}/libbpf.so`) },
    ...Object.fromEntries(
      objects.map((name) => [`/opt/assets/${name}`, { from: join(assets, "bpf", arch, name) }]),
    ),
  };
}

/** Boots a guest for commands, each with a name. Gives the result of a name. */
async function boot(kernel: LoadedKernel, commands: Readonly<Record<string, string>>) {
  const { architecture } = kernel.row;
  const { results } = await bootGuest({
    kernel,
    commands: Object.values(commands),
    files: {
      "/opt/offsetof": { from: await executableFor(architecture) },
      ...stormFiles(await runtimeFor(architecture)),
      ...(await loopFiles(architecture)),
    },
    packages: STORM_PACKAGES,
    modules: STORM_MODULES,
    append: [NO_STALLS],
    memoryMiB: 2048,
    deadlineSeconds: 1500 + 60 * RUNS_PER_BOOT,
  });
  return (name: string): CommandResult => {
    const found = results[Object.keys(commands).indexOf(name)];
    if (found === undefined) throw new Error(`no result of ${name}`);
    return found;
  };
}

/** Sums of runs, of their numbers that are not the truth and of their nulls. */
interface Tally {
  runs: number;
  wrong: number;
  nulls: number;
  failed: number;
}
const isFine = ({ wrong, nulls, failed }: Tally): boolean => wrong + nulls + failed === 0;

/** Counts answers, and tells and keeps what is not as it should be. */
async function count(
  name: string,
  answers: readonly Answer[],
  truth: Constants,
  known: readonly string[],
): Promise<Tally> {
  const tally: Tally = { runs: 0, wrong: 0, nulls: 0, failed: 0 };
  for (const answer of answers) {
    const { wrong, nulls, failed } = verdictOf(answer, truth, known);
    tally.runs += answer.count;
    tally.wrong += answer.count * wrong.length;
    tally.nulls += answer.count * nulls.length;
    tally.failed += failed ? answer.count : 0;
    if (wrong.length + nulls.length === 0 && !failed) continue;
    const path = join(KEPT, `${name}-${Bun.hash(answer.text).toString(16)}`);
    await Bun.write(path, answer.text);
    const numbers = wrong.map((each) => `${each} is ${answer.constants?.[each]}, in truth ${truth[each]}`);
    const said = failed ? answer.text : [...numbers, ...nulls.map((each) => `${each} is null`)].join("; ");
    console.error(`storm: ${name}, ${answer.count} of the runs (${path}): ${said}`);
  }
  return tally;
}

const sum = (tallies: readonly Tally[], key: keyof Tally): number =>
  tallies.reduce((all, tally) => all + tally[key], 0);

interface Line {
  readonly cells: readonly string[];
  readonly isFine: boolean;
}
/** Measures a kernel: a line after each boot, of all boots until then. */
type Measure = (kernel: LoadedKernel, truth: Constants, runs: number) => AsyncGenerator<Line>;

/** The same question in the quiet guest and in the storm, so many times. */
const questions = {
  guesses: {
    share: 1,
    quiet: over(Math.min(QUIET_RUNS, runs), ASK),
    storm: (times: number) => loop(times, "snapshot"),
  },
  stepwise: { share: 10, quiet: loop(2, "stepwise"), storm: (times: number) => loop(times, "stepwise") },
  executable: { share: 20, quiet: over(1, ASK), storm: (times: number) => over(times, ASK) },
} as const;
const asked = Object.entries(questions);

const answersIn = ({ stdout, stderr }: CommandResult): Answer[] => answersOf(text(stdout) || text(stderr));

const STORM_HEAD = [...Object.keys(questions), "wrong", "null more than quiet", "no answer", "in the storm"];
async function* storm(kernel: LoadedKernel, truth: Constants, runs: number): AsyncGenerator<Line> {
  const known: Record<string, string[]> = {};
  const tallies: Record<string, Tally[]> = {};
  const storms: Record<string, number> = {};
  for (let done = 0; done < runs; done += RUNS_PER_BOOT) {
    const now = Math.min(runs - done, RUNS_PER_BOOT);
    const result = await boot(kernel, {
      hide: HIDE_BTF,
      ...Object.fromEntries(asked.map(([name, { quiet }]) => [`quiet ${name}`, done === 0 ? quiet : "true"])),
      brew: BREW,
      before: COUNTS,
      ...Object.fromEntries(
        asked.map(([name, { storm, share }]) => [`storm ${name}`, storm(Math.ceil(now / share))]),
      ),
      after: COUNTS,
    });
    for (const [name] of asked) {
      if (done === 0) {
        const quiet = answersIn(result(`quiet ${name}`));
        known[name] = knownIn(quiet);
        // Of quiet runs it counts alone what they say wrongly.
        const { wrong, failed } = await count(`${kernel.release} quiet ${name}`, quiet, truth, known[name]);
        tallies[name] = [{ runs: 0, wrong, nulls: 0, failed }];
        console.error(`storm: ${kernel.release}: quiet ${name}: ${known[name].length} known`);
      }
      const answers = answersIn(result(`storm ${name}`));
      tallies[name]?.push(await count(`${kernel.release} storm ${name}`, answers, truth, known[name] ?? []));
    }
    const before = new Map(Object.entries(stormCounts(result("before"))));
    for (const [what, until] of Object.entries(stormCounts(result("after"))))
      storms[what] = (storms[what] ?? 0) + until - (before.get(what) ?? 0);
    const all = Object.values(tallies).flat();
    const made = asked.map(([name]) => sum(tallies[name] ?? [], "runs"));
    const events = Object.entries(storms).map(([what, many]) => `${many} ${what}`);
    yield {
      cells: [
        ...[...made, sum(all, "wrong"), sum(all, "nulls"), sum(all, "failed")].map(String),
        events.join(", "),
      ],
      isFine: all.every(isFine),
    };
  }
}

const QUIET_HEAD = ["runs, with BTF and without", "wrong", "null", "no answer", "lines in the kernel's log"];
async function* quiet(kernel: LoadedKernel, truth: Constants, runs: number): AsyncGenerator<Line> {
  const commands = {
    before: LOG,
    shown: over(runs, ASK),
    hide: HIDE_BTF,
    hidden: over(runs, ASK),
    after: LOG,
  };
  const result = await boot(kernel, commands);
  const known = Object.keys(truth).filter((constant) => truth[constant] !== null);
  const tallies: Tally[] = [];
  for (const name of ["shown", "hidden"] as const)
    tallies.push(await count(`${kernel.release} ${name}`, answersIn(result(name)), truth, known));
  const before = new Set(text(result("before").stdout).split("\n"));
  const log = text(result("after").stdout)
    .split("\n")
    .filter((line) => !before.has(line));
  for (const line of log) console.error(`storm: ${kernel.release}: the kernel's log: ${line}`);
  yield {
    cells: [
      tallies.map(({ runs }) => runs).join(" + "),
      ...[sum(tallies, "wrong"), sum(tallies, "nulls"), sum(tallies, "failed"), log.length].map(String),
    ],
    isFine: tallies.every(isFine) && log.length === 0,
  };
}

/** What is measured: tests and documents may have changed since. */
const { stdout: commit } = await run([
  "git",
  "log",
  "-1",
  "--format=%h",
  "--",
  "src",
  "ffi",
  "bpf",
  "assets",
]);
const date = new Date().toISOString().slice(0, 10);
const stamp = [date, commit.trim()];

/** This machine's own kernel. What its first runs know is known. */
async function here(): Promise<[head: string[], rows: string[]]> {
  const btf = "/sys/kernel/btf/vmlinux";
  const truth = { ...(await trueConstants(btf)), ...(values.all ? await trueMembers(btf) : {}) };
  const ask = `${await executableFor("amd64")} kernel ${values.all ? "--all" : ""} --source guess --format json`;
  const asked = (times: number) =>
    answersOf(Bun.spawnSync(["sh", "-c", over(times, ask)]).stdout.toString()).map(withoutSizes);
  const first = asked(Math.min(QUIET_RUNS, runs));
  const release = (await Bun.file("/proc/sys/kernel/osrelease").text()).trim();
  const tallies = [await count(release, first, truth, knownIn(first))];
  if (runs > QUIET_RUNS) tallies.push(await count(release, asked(runs - QUIET_RUNS), truth, knownIn(first)));
  if (!tallies.every(isFine)) process.exitCode = 1;
  const sums = (["runs", "wrong", "nulls", "failed"] as const).map((key) => String(sum(tallies, key)));
  return [
    ["runs", "wrong", "null more than first", "no answer"],
    [row(`${release}, here`, ...sums, ...stamp)],
  ];
}

/** How many bits a bit-field has is told by its row, and asked by test/lab/crawl.test.ts. */
const withoutSizes = (answer: Answer): Answer =>
  answer.constants === undefined
    ? answer
    : {
        ...answer,
        constants: Object.fromEntries(
          Object.entries(answer.constants).filter(([name]) => !name.endsWith("_bit_size")),
        ),
      };

/** Where members of the wide vocabulary lie: of a bit-field the byte that it begins in, and the bit in that. */
async function trueMembers(btf: string): Promise<Constants> {
  const asked = allWide();
  const bits = await bitsOf(
    btf,
    asked.map(({ text }) => text),
  );
  return Object.fromEntries(
    asked.flatMap(({ text, constant }) => {
      const bit = bits.get(text) ?? null;
      return bit === null
        ? []
        : [[constant, Math.floor(bit / 8)] as const, [`${constant}_bit_offset`, bit % 8] as const];
    }),
  );
}

async function inGuests(): Promise<[head: string[], rows: string[]]> {
  const names = values.kernels ?? (values.quiet ? "all" : STORMED);
  const kernels = names === "all" ? LAB_KERNELS : names.split(",").map(labKernel);
  const [head, measure]: [string[], Measure] = values.quiet ? [QUIET_HEAD, quiet] : [STORM_HEAD, storm];
  const rows = new Map<LabKernel, string>();
  const measures = new Map<LabKernel, AsyncGenerator<Line>>();
  for (const each of kernels) {
    const kernel = await loadKernel(each);
    measures.set(each, measure(kernel, await trueConstants(kernel.btf), runs));
  }
  // All kernels one boot, then all the next: what ends early has something of each.
  while (measures.size > 0) {
    for (const [each, lines] of measures) {
      const { value, done } = await lines.next();
      if (done) {
        measures.delete(each);
        continue;
      }
      const { release } = await loadKernel(each);
      rows.set(each, row(`${release}, ${each.architecture}`, ...value.cells, ...stamp));
      console.error(rows.get(each));
      if (!value.isFine) process.exitCode = 1;
    }
  }
  return [head, [...rows.values()]];
}

const [head, rows] = values.here ? await here() : await inGuests();
console.log(table(["kernel", ...head, "date", "commit"], rows));
