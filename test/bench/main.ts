/**
 * bun run bench [--sections NAME,…] [--kernels NAME,…] [--runs N] [--before PATH]: measures whole processes side by side and writes
 * docs/benchmarks.md; with --sections only these sections, the others stay as they are. --before: another build of the executable,
 * which some sections run beside this one.
 *
 * Sections measure the executable's start against that of a program that Bun makes; in guests, with BTF hidden, the snapshot strategy
 * against the stepwise one; on this machine offsetof against tools that read the same BTF, its gateway lookups against ip(8), its reports
 * of TLS libraries, of programs without symbols, of a machine with Node.js and Bun running, of many libraries at once and beside a
 * hostile user, and what a server loses while its connections are verified. Machines are noisy: the ratios of medians are what counts.
 */

import { join } from "node:path";
import { optionsOf } from "../../assets/build/options.ts";
import { run } from "../../assets/build/run.ts";
import { documentOf, executable, repository } from "../e2e/executable.ts";
import { bootGuest, type CommandResult, HIDE_BTF, text } from "../lab/guest.ts";
import { labKernel, loadKernel } from "../lab/kernels.ts";
import { type Figures, medians, round, row, sideBySide, table } from "./figures.ts";
import { gatewaySection } from "./gateway.ts";
import { goalsSection } from "./goals.ts";
import { manySection } from "./many.ts";
import { scanSection } from "./scan.ts";
import { startSection } from "./start.ts";
import { strippedSection } from "./stripped.ts";
import { tlsSection } from "./tls.ts";
import { verifySection } from "./verify.ts";

const { values } = optionsOf({
  options: {
    sections: { type: "string" },
    kernels: { type: "string" },
    runs: { type: "string" },
    before: { type: "string" },
  },
});
const kernels = (values.kernels ?? "5.10-cloud,6.1-cloud,6.12-cloud,sid-cloud").split(",");
const runs = Number(values.runs ?? 7);
const KERNEL_BTF = "/sys/kernel/btf/vmlinux";

interface GuestFigures extends Figures {
  /** From load to answer, as the document tells. */
  readonly guess: number;
  readonly events: number;
  readonly solved: number;
}

/** One run in the guest: `time -f` of busybox behind the document. */
function guestRow({ stdout, stderr }: CommandResult): GuestFigures {
  const { kernel } = documentOf({ status: 0, stdout: text(stdout), stderr: "" });
  const [, wall, user, system, memory] = /^T ([\d.]+) ([\d.]+) ([\d.]+) (\d+)$/m.exec(text(stderr)) ?? [];
  if (kernel === undefined || memory === undefined) throw new Error(`no figures: ${text(stderr)}`);
  return {
    wall: Number(wall) * 1000,
    cpu: (Number(user) + Number(system)) * 1000,
    memory: Number(memory) / 1024,
    guess: kernel.duration_ms,
    events: kernel.events,
    solved: Object.values(kernel.fields).filter(({ evidence }) => evidence.guess?.length === 1).length,
  };
}

async function inGuest(
  name: string,
): Promise<{ release: string; snapshot: GuestFigures; stepwise: GuestFigures }> {
  const kernel = await loadKernel(labKernel(name));
  const ask = (strategy: string) =>
    `busybox time -f 'T %e %U %S %M' /opt/offsetof kernel --source guess --format json --strategy ${strategy}`;
  const pairs = Array.from({ length: runs + 1 }, () => [ask("snapshot"), ask("stepwise")]).flat();
  const { results } = await bootGuest({
    kernel,
    commands: [HIDE_BTF, ...pairs],
    files: { "/opt/offsetof": { from: executable } },
    modules: ["nf_conntrack_netlink"],
    deadlineSeconds: 900,
  });
  const counted = results.slice(1 + 2).map(guestRow); // without the first pair
  return {
    release: kernel.release,
    snapshot: medians(counted.filter((_, index) => index % 2 === 0)),
    stepwise: medians(counted.filter((_, index) => index % 2 === 1)),
  };
}

async function guestTable(): Promise<string> {
  const rows: string[] = [];
  for (const name of kernels) {
    const { release, snapshot, stepwise } = await inGuest(name);
    console.error(`bench: ${release}`, snapshot, stepwise);
    for (const [strategy, figures] of Object.entries({ snapshot, stepwise })) {
      const { solved, events, guess, wall, cpu } = figures;
      rows.push(row(release, strategy, String(solved), events, guess, wall, cpu));
    }
    const ratio = (of: (figures: GuestFigures) => number) => `${round(of(stepwise) / of(snapshot))}×`;
    const ratios = [ratio((f) => f.events), ratio((f) => f.guess), ratio((f) => f.wall), ratio((f) => f.cpu)];
    rows.push(row("", "stepwise ÷ snapshot", "", ...ratios));
  }
  const head = ["kernel", "strategy", "constants", "events", "guess ms", "process wall ms", "process cpu ms"];
  return table(head, rows);
}

function hostTable(): string {
  const commands = {
    "offsetof kernel": [executable, "kernel", "--format", "json"],
    "offsetof kernel --source btf": [executable, "kernel", "--source", "btf", "--format", "json"],
    "offsetof kernel --all --source guess": [
      executable,
      "kernel",
      "--all",
      "--source",
      "guess",
      "--format",
      "json",
    ],
    "offsetof kernel --all --source btf": [
      executable,
      "kernel",
      "--all",
      "--source",
      "btf",
      "--format",
      "json",
    ],
    "offsetof kernel --strategy stepwise": [
      executable,
      "kernel",
      "--strategy",
      "stepwise",
      "--format",
      "json",
    ],
    "pahole -C tcp_sock": ["pahole", "-C", "tcp_sock", KERNEL_BTF],
    "bpftool btf dump": ["bpftool", "btf", "dump", "file", KERNEL_BTF, "format", "raw"],
  };
  const figures = sideBySide(Object.values(commands), 20);
  const btf = figures[1];
  const rows = Object.keys(commands).map((name, index) => {
    const { wall, cpu, memory } = figures[index] ?? { wall: Number.NaN, cpu: Number.NaN, memory: Number.NaN };
    return row(`\`${name}\``, wall, cpu, memory, `${round(cpu / (btf?.cpu ?? Number.NaN))}×`);
  });
  return table(["command", "wall ms", "cpu ms", "memory MiB", "cpu ÷ `--source btf`"], rows);
}

async function hostSection(): Promise<string> {
  const { stdout: release } = await run(["uname", "-r"]);
  return `## On one machine: offsetof and the tools that read the same BTF

Linux ${release.trim()}, 20 runs of each command in turn. \`offsetof kernel\` guesses live and reads BTF beside it; pahole
and bpftool print one struct and the whole BTF.

${hostTable()}
`;
}

const guestSection = async (): Promise<string> => `## In one guest: snapshot against stepwise

QEMU without KVM, one virtual processor, BTF hidden, ${runs} runs of each strategy in turn. \`guess\` is the time from loading
the eBPF object to the answer. The stepwise strategy knows the members of struct sock and struct net alone, at one
aligned candidate an event; the snapshot strategy solves every constant of the table in the same run.

${await guestTable()}
`;

const intro = `# Benchmarks

Written by \`bun run bench\`, which measures whole processes side by side in one run. These machines are noisy: compare
the ratios, not single times. All figures are medians.
`;
/** In the page's order, with what their headings begin with. */
const sections = {
  goals: { heading: "## Short runs", measure: () => goalsSection(values.before) },
  host: { heading: "## On one machine", measure: hostSection },
  start: { heading: "## Starting", measure: startSection },
  tls: { heading: "## TLS reports", measure: tlsSection },
  stripped: { heading: "## Programs without symbols", measure: () => strippedSection(values.before) },
  scan: { heading: "## A machine with", measure: () => scanSection(values.before) },
  many: { heading: "## Many libraries", measure: manySection },
  verify: { heading: "## A server", measure: verifySection },
  gateway: { heading: "## Gateway", measure: gatewaySection },
  guest: { heading: "## In one guest", measure: guestSection },
} as const;

const started = performance.now();
const path = join(repository, "docs/benchmarks.md");
const asked = values.sections?.split(",") ?? Object.keys(sections);
const unknown = asked.filter((name) => !Object.hasOwn(sections, name));
if (unknown.length > 0) throw new Error(`no section ${unknown}; there are ${Object.keys(sections)}`);
const before = (await Bun.file(path).text()).split(/^(?=## )/m);
const texts: string[] = [];
for (const [name, { heading, measure }] of Object.entries(sections)) {
  const old = before.find((text) => text.startsWith(heading));
  if (!asked.includes(name)) texts.push(...(old === undefined ? [] : [`${old.trimEnd()}\n`]));
  else {
    const text = await measure();
    console.error(`bench: ${text}`);
    texts.push(text);
  }
}
// What others measure stays: bun run fuzz.
const foreign = before
  .slice(1)
  .filter((text) => !Object.values(sections).some(({ heading }) => text.startsWith(heading)));
await Bun.write(path, [intro, ...texts, ...foreign.map((text) => `${text.trimEnd()}\n`)].join("\n"));
console.error(
  `bench: docs/benchmarks.md written after ${Math.round((performance.now() - started) / 1000)} s`,
);
