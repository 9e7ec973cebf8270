/**
 * bun run core [--kernels NAME,…]: whether the eBPF objects inside Debian 12's libbpf-tools load with what `offsetof btf` makes
 * of a kernel, by libbpf, in guests whose BTF is hidden or that have none; beside it, with the kernel's own. And which of
 * Debian's own tools print the truth with it. Writes docs/core.md.
 */

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as v from "valibot";
import { CachedFolder } from "../../assets/build/cache.ts";
import { optionsOf } from "../../assets/build/options.ts";
import { attempt, run } from "../../assets/build/run.ts";
import { row, table } from "../bench/figures.ts";
import { executableFor } from "../lab/executable.ts";
import { type BootableKernel, isFromSource, labKernel, loadKernel } from "../lab/kernels.ts";
import { buildKernel, sourceKernel } from "../lab/source.ts";
import { buildCilium } from "./cilium.ts";
import { type Column, objectsIn, type Verdict, verdictSchema } from "./objects.ts";
import { buildCoreReader, judged } from "./reader.ts";
import { type Printed, printedSchema, toolsAtWork } from "./tools.ts";

const ROOT = join(import.meta.dir, "../..");
const USUAL = "5.10-cloud,6.1-cloud,6.12-cloud,forky-cloud,arm64-6.1-cloud,arm64-6.12-cloud,source-tools";
const { values } = optionsOf({ options: { kernels: { type: "string" } } });
const names = (values.kernels ?? USUAL).split(",");

const bootable = async (name: string): Promise<BootableKernel> =>
  isFromSource(name) ? buildKernel(sourceKernel(name)) : loadKernel(labKernel(name));

/**
 * What a guest showed of each object or tool, kept for the same kernel, tests and `by`, so that a run that was ended goes on where
 * it was.
 */
async function once<One>(
  what: "objects" | "own" | "ours",
  { vmlinux, row: { name } }: BootableKernel,
  by: string,
  schema: v.GenericSchema<unknown, One>,
  look: () => Promise<ReadonlyMap<string, One>>,
): Promise<ReadonlyMap<string, One>> {
  const source = await Bun.file(join(import.meta.dir, what === "objects" ? "objects.ts" : "tools.ts")).text();
  const told = JSON.stringify([source, vmlinux, Bun.file(vmlinux).lastModified, by]);
  const cached = await CachedFolder.open(
    `core-seen/${name}-${what}-${Bun.hash(told).toString(16)}`,
    async (folder) => {
      await Bun.write(join(folder, "seen.json"), JSON.stringify([...(await look())]));
    },
  );
  const text = new TextDecoder().decode(await cached.read("seen.json"));
  return new Map(v.parse(v.array(v.tuple([v.string(), schema])), JSON.parse(text)));
}

/** The executable that goes into a guest, by what is in it. */
async function buildOf({ row: { architecture } }: BootableKernel): Promise<string> {
  return Bun.hash(await Bun.file(await executableFor(architecture)).bytes()).toString(16);
}

const asCode = (what: string) => `\`${what}\``;

/** How the object of eCapture's shape loads on this machine: a row a loader, by raw BTF and by an ELF file. */
async function captures(): Promise<readonly (readonly [loader: string, raw: string, elf: string])[]> {
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
      ["libbpf", await said(judges.amd64, libbpf, raw), await said(judges.amd64, libbpf, elf)],
      ["cilium/ebpf 0.9.1", await said(cilium, raw), await said(cilium, elf)],
    ];
  } finally {
    await run(["rm", "-r", folder]);
  }
}

const columns = new Map<string, Column>();
/** What Debian's tools printed in one guest: with ours, and those that told nothing true then with the kernel's own BTF, if it has any. */
const printed = new Map<string, { readonly own: Printed | null; readonly ours: Printed }>();
for (const name of names) {
  const kernel = await bootable(name);
  const build = await buildOf(kernel);
  const column = await once("objects", kernel, build, verdictSchema, () => objectsIn(kernel));
  columns.set(name, column);
  const ours = await once("ours", kernel, build, printedSchema, () => toolsAtWork(kernel, "ours"));
  const silent = [...ours].filter(([, { isTrue }]) => !isTrue).map(([tool]) => tool);
  const own = isFromSource(name)
    ? null
    : await once("own", kernel, silent.join(), printedSchema, () => toolsAtWork(kernel, "own", silent));
  printed.set(name, { own, ours });
  for (const [tool, { isTrue, output }] of ours)
    console.log(`  ${tool} ${own?.get(tool)?.isTrue} ${isTrue}: ${output.slice(0, 300)}`);
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
const told = all.map(([name]) => printed.get(name));
const truthful = told.map((one) => [...(one?.ours.values() ?? [])].filter(({ isTrue }) => isTrue).length);
const toolNames = [...(told[0]?.ours.keys() ?? [])];
const captured = await captures();
const shapes = table(
  ["loader", "raw BTF", "`--elf`"],
  captured.map((cells) => row(...cells)),
);
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
printed what was true of it (\`test/core/tools.ts\`), *own* where it did so with the kernel's own BTF alone, *neither* where not with that either.

${table(
  ["tool", ...all.map(([name]) => name)],
  [
    row("of them true", ...truthful.map(String)),
    ...toolNames.map((tool) =>
      row(
        tool,
        ...told.map((one) => {
          if (one?.ours.get(tool)?.isTrue === true) return "yes";
          const isOwn = one?.own?.get(tool)?.isTrue ?? null;
          return isOwn === null ? "no" : isOwn ? "own" : "neither";
        }),
      ),
    ),
  ],
)}

statsnoop of Debian 12 attaches to nothing, whatever BTF there is; offcputime and others whose objects are *empty* above need a
kernel that knows its own BTF.

## What no crawl tells

Members that objects above ask for, of structs that nothing of ours is led to at rest, or that hold nothing we know:

| struct | what stands in the way, by the kernel's source |
| --- | --- |
| \`request\` | It is made for an input or output and under way for less than a millisecond. A queue keeps its requests when they are over (\`blk_mq_tags.static_rqs\`), but they hold what the last one who used them wanted, which nobody tells; to have one of a size of our own a disk would have to be read. \`request.q\` leads to the queue, of which a machine with one disk has one: a pointer that is the same in all proves nothing. |
| \`bio\` | As request, without a place where they are kept. |
| \`oom_control\` | It lies on the stack of a thread that found no memory, while a victim is chosen. A control group of ours that runs out of memory would be in the kernel's log. |
| \`task_struct.se.cfs_rq\`, \`cfs_rq.nr_running\` | There is one of each processor for each group of tasks, so that it says who is in it with whom; but nothing in it is known: \`nr_running\` counts who is runnable at that moment, of other programs too, and to have a number of our choice in it processors would have to be kept busy. Linux 7.2 has no such member any more (\`nr_queued\`). |
| \`gendisk\`, before Linux 5.11 | A folder of sysfs leads into its midst, and nothing back to where it begins. |

## eCapture's objects

An object that asks what those for OpenSSL and BoringSSL ask (\`test/core/capture.bpf.c\`: structs of packets, and a socket's pairs of
addresses and ports), loaded on the machine that wrote this page:

${shapes}
`;
await Bun.write(join(ROOT, "docs/core.md"), document);

/** What is promised of each kernel. */
const LEAST = { objects: 45, tools: 24 };
const short = all.flatMap(([name, column], index) => {
  const loaded = [...column.values()].filter(({ ours }) => ours).length;
  const atWork = truthful[index] ?? 0;
  return loaded < LEAST.objects || atWork < LEAST.tools
    ? [`${name}: ${loaded} objects load, ${atWork} tools tell the truth`]
    : [];
});
if (captured.some(([, ...cells]) => cells.some((cell) => cell !== "yes")))
  short.push("an object of eCapture's shape does not load");
if (short.length > 0) {
  console.error(
    `of each kernel ${LEAST.objects} objects and ${LEAST.tools} tools are promised:\n${short.join("\n")}`,
  );
  process.exitCode = 1;
}
