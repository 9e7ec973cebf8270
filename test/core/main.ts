/**
 * bun run core [--kernels NAME,…]: whether the eBPF objects inside Debian 12's libbpf-tools load with what `offsetof btf` makes
 * of a kernel, by libbpf, in guests whose BTF is hidden or that have none; beside it, with the kernel's own. And which of Debian's own tools print the truth
 * with it. Writes docs/core.md.
 */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { attempt, run } from "../../assets/build/run.ts";
import { relocationsSchema } from "../../src/output/document.ts";
import { row, table } from "../bench/figures.ts";
import { executableFor } from "../lab/executable.ts";
import { bootGuest, type GuestFile, HIDE_BTF, text } from "../lab/guest.ts";
import { type BootableKernel, isFromSource, labKernel, loadKernel } from "../lab/kernels.ts";
import { buildKernel, sourceKernel } from "../lab/source.ts";
import { buildCilium } from "./cilium.ts";
import { buildCoreReader, foreignObjects, judged } from "./reader.ts";
import { type Printed, toolsAtWork } from "./tools.ts";

const ROOT = join(import.meta.dir, "../..");
const USUAL = "5.10-cloud,6.1-cloud,6.12-cloud,forky-cloud,arm64-6.1-cloud,arm64-6.12-cloud,source-bare";
const { values } = parseArgs({ options: { kernels: { type: "string" } } });
const names = (values.kernels ?? USUAL).split(",");

/** What became of an object in one guest. */
interface Verdict {
  /** With the kernel's own BTF; null: it has none. */
  readonly full: boolean | null;
  readonly ours: boolean;
  /** All its programs were left out. */
  readonly isEmpty: boolean;
  /** Members that `btf --for` finds missing of the programs that were loaded. */
  readonly missing: readonly string[];
  /** libbpf's word on what it would not load with ours. */
  readonly reason: string;
}
type Column = ReadonlyMap<string, Verdict>;

const bootable = async (name: string): Promise<BootableKernel> =>
  isFromSource(name) ? buildKernel(sourceKernel(name)) : loadKernel(labKernel(name));

async function inGuest(name: string): Promise<Column> {
  const kernel = await bootable(name);
  const { architecture } = kernel.row;
  const [core, objects] = [await buildCoreReader(), await foreignObjects(architecture)];
  const files: Record<string, GuestFile> = {
    "/opt/offsetof": { from: await executableFor(architecture) },
    "/opt/libbpf.so": {
      from: join(ROOT, `assets/lib/${architecture === "arm64" ? "arm64" : "x64"}/libbpf.so`),
    },
    "/opt/judge": { from: core.judges[architecture] },
  };
  for (const [tool, content] of objects) files[`/opt/objects/${tool}`] = { content };
  const judge = (btf: string) => `/opt/judge /opt/libbpf.so ${btf} /opt/objects/*`;
  const { results } = await bootGuest({
    kernel,
    commands: [
      "cat /sys/kernel/btf/vmlinux >/tmp/full.btf",
      `[ ! -s /tmp/full.btf ] || ${judge("/tmp/full.btf")}`,
      `rm -f /tmp/full.btf; [ ! -d /sys/kernel/btf ] || { ${HIDE_BTF}; }`,
      "/opt/offsetof btf -o /tmp/ours.btf",
      judge("/tmp/ours.btf"),
      "/opt/offsetof btf --format json --for /opt/objects/*",
    ],
    files,
    mounts: ["tracefs", "debugfs"],
  });
  const [, full, hidden, made, ours, told] = results;
  if (full?.status !== 0 || hidden?.status !== 0 || ours?.status !== 0 || told === undefined)
    throw new Error(
      `${name}: ${results.map(({ status, stderr }) => `${status} ${text(stderr)}`).join("\n")}`,
    );
  if (made?.status !== 0) console.warn(`${name}: ${text(made?.stderr ?? new Uint8Array())}`);
  const [byFull, byOurs] = [judged(text(full.stdout)), judged(text(ours.stdout))];
  const asked = v.parse(relocationsSchema, JSON.parse(text(told.stdout))).objects;
  return new Map(
    [...objects.keys()].sort().map((tool) => {
      const { functions = [] } = asked.find(({ path }) => path === `/opt/objects/${tool}`) ?? {};
      const missing = functions.flatMap((one) =>
        one.needs_kernel_btf ? [] : one.missing.map(({ what }) => what),
      );
      const verdict = byOurs.get(tool);
      if (verdict === undefined) throw new Error(`${name}: nothing was said of ${tool}`);
      const { isLoaded, isEmpty, reason } = verdict;
      const isFull = byFull.get(tool)?.isLoaded ?? null;
      return [tool, { full: isFull, ours: isLoaded, isEmpty, missing: [...new Set(missing)], reason }];
    }),
  );
}

const asCode = (what: string) => `\`${what}\``;

/** How the object of eCapture's shape loads on this machine: a line of the table a loader. */
async function captures(): Promise<string[]> {
  const { capture, judges } = await buildCoreReader();
  const folder = await mkdtemp(join(tmpdir(), "offsetof-core-"));
  try {
    const [raw, elf] = [join(folder, "raw"), join(folder, "elf")];
    const executable = await executableFor("amd64");
    await run([executable, "btf", "-o", raw]);
    await run([executable, "btf", "--elf", "-o", elf]);
    const cilium = await buildCilium();
    const libbpf = join(ROOT, "assets/lib/x64/libbpf.so");
    const said = async (...command: string[]): Promise<string> => {
      const { stdout, stderr } = await attempt([...command, capture]);
      const one = judged(stdout).get(basename(capture));
      return one?.isLoaded === true ? "yes" : `no: ${one?.reason ?? stderr}`;
    };
    return [
      row("libbpf", await said(judges.amd64, libbpf, raw), await said(judges.amd64, libbpf, elf)),
      row("cilium/ebpf 0.9.1", await said(cilium, raw), await said(cilium, elf)),
    ];
  } finally {
    await run(["rm", "-r", folder]);
  }
}

const columns = new Map<string, Column>();
const printed = new Map<string, Printed>();
for (const name of names) {
  const column = await inGuest(name);
  columns.set(name, column);
  const atWork = await toolsAtWork(await bootable(name));
  printed.set(name, atWork);
  for (const [tool, { isTrue, output }] of atWork)
    console.log(`  ${tool} ${isTrue}: ${output.slice(0, 300)}`);
  const count = (is: (verdict: Verdict) => boolean | null) => [...column.values()].filter(is).length;
  console.log(
    `${name}: ${count(({ full }) => full)} with its own BTF, ${count(({ ours }) => ours)} with ours`,
  );
  for (const [tool, { full, ours, reason, missing }] of column)
    if (full !== true || !ours) console.log(`  ${tool}: ${full} ${ours} ${missing.join(" ")} ${reason}`);
}

const all = [...columns];
const counted = (is: (verdict: Verdict) => boolean | null) =>
  all.map(([, column]) => `${[...column.values()].filter(is).length}`);
const isKnown = all.map(([, column]) => [...column.values()].some(({ full }) => full !== null));
const [tools = new Map() as Column] = columns.values();
const shapes = table(["loader", "raw BTF", "`--elf`"], await captures());
console.log(shapes);
const document = `# CO-RE programs with offsetof's BTF

Written by \`bun run core\`. The ${tools.size} eBPF objects inside Debian 12's libbpf-tools, loaded by libbpf in guests whose BTF is hidden, or
that have none: with the kernel's own BTF as \`btf_custom_path\`, and with that of \`offsetof btf\`. Programs that the kernel holds
against its own BTF (fentry, fexit, tp_btf) are left out: no file stands in for that.

${table(
  ["objects that load", ...all.map(([name]) => name)],
  [
    row(
      "with the kernel's own BTF",
      ...counted(({ full }) => full).map((count, at) => (isKnown[at] ? count : "it has none")),
    ),
    row("with `offsetof btf`", ...counted(({ ours }) => ours)),
  ],
)}

*own*: with the kernel's own BTF alone. *neither*: not with that either. *empty*: all its programs were left out.

${table(
  ["object", ...all.map(([name]) => name), "what is missing"],
  [...tools.keys()].map((tool) => {
    const verdicts = all.flatMap(([, column]) => column.get(tool) ?? []);
    const cells = verdicts.map(({ full, ours, isEmpty }) => {
      if (ours) return isEmpty ? "empty" : "yes";
      return full === false ? "neither" : full === null ? "no" : "own";
    });
    const missing = new Set(verdicts.flatMap((one) => (one.ours || one.full === false ? [] : one.missing)));
    return row(tool, ...cells, [...missing].map(asCode).join(", "));
  }),
)}

## Debian's tools at work

Debian 12's own executables, with our file in place of \`/sys/kernel/btf/vmlinux\`, beside a workload that is known: *yes* where a tool
printed what was true of it (\`test/core/tools.ts\`).

${table(
  ["tool", ...names],
  [...(printed.values().next().value ?? new Map()).keys()].map((tool) =>
    row(tool, ...names.map((name) => (printed.get(name)?.get(tool)?.isTrue === true ? "yes" : "no"))),
  ),
)}

## eCapture's objects

An object that asks what those for OpenSSL and BoringSSL ask (\`test/core/capture.bpf.c\`: structs of packets, and a socket's pairs of
addresses and ports), loaded on the machine that wrote this page:

${shapes}
`;
await Bun.write(join(ROOT, "docs/core.md"), document);
