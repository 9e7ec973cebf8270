/**
 * bun run members [--count N] [--seed S] [--dwarf VMLINUX] [KERNEL...]: asks the executable for N members of the BTF of each of these
 * kernels of the lab, chosen by chance, bit-fields and elements of arrays among them, and compares with what bpftool and pahole print of
 * the same BTF. Ends with 1 where one differs. With --dwarf it asks for what the debug information of that file tells, as
 * that of Debian's package of debug symbols, and compares with the BTF that pahole made of it when the kernel was built.
 */

import { join } from "node:path";
import * as v from "valibot";
import { optionsOf } from "../../assets/build/options.ts";
import { repository } from "../../assets/build/paths.ts";
import { Scratch } from "../e2e/executable.ts";
import { sectionsOf } from "../fuzz/elf.ts";
import { labKernel, loadKernel } from "../lab/kernels.ts";
import { paholeOf, Types } from "./truth.ts";

const { values, positionals } = optionsOf({
  options: {
    count: { type: "string", default: "2000" },
    seed: { type: "string", default: "1" },
    dwarf: { type: "string" },
  },
  allowPositionals: true,
});
const usual = ["5.10-cloud", "6.1", "6.12-rt", "sid-cloud", "arm64-7.2-16k"];
/** So many are asked for at once: an argument has room for 128 KiB. */
const portion = 500;

const answerSchema = v.object({
  kernel: v.object({ constants: v.record(v.string(), v.nullable(v.number())) }),
});

/** Numbers that are the same for one seed (mulberry32). */
function randomOf(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return limit === 0 ? 0 : ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const DWARF = "DWARF";
/** What is asked, and what is told by others. */
interface Kernel {
  readonly name: string;
  readonly release: string;
  readonly btf: string;
  readonly image: readonly string[];
}

async function kernelOf(name: string): Promise<Kernel> {
  const { btf, release } = await loadKernel(labKernel(name));
  return { name, release, btf, image: [btf] };
}

/** @param folder where its BTF is put: its bytes as readelf tells them, as objcopy knows one architecture alone */
async function debugged(vmlinux: string, folder: string): Promise<Kernel> {
  const btf = join(folder, "vmlinux.btf");
  const section = sectionsOf(vmlinux).find(({ name }) => name === ".BTF");
  if (section === undefined) throw new Error(`${vmlinux} has no BTF`);
  await Bun.write(btf, Bun.file(vmlinux).slice(section.offset, section.offset + section.size));
  return { name: DWARF, release: vmlinux, btf, image: [vmlinux, "--source", "dwarf"] };
}

function ask({ image }: Kernel, paths: readonly string[]): Readonly<Record<string, number | null>> {
  const command = [`${repository}/dist/offsetof`, "kernel", "--image", ...image, "--format", "json"];
  const { stdout, stderr, exitCode } = Bun.spawnSync([...command, "--member", paths.join(",")]);
  if (exitCode !== 0 && exitCode !== 3) throw new Error(`exit ${exitCode}: ${stderr}`);
  return v.parse(answerSchema, JSON.parse(stdout.toString())).kernel.constants;
}

let isDifferent = false;
using scratch = new Scratch();
const names = positionals.length === 0 && values.dwarf === undefined ? usual : positionals;
const { dwarf } = values;
const kernels = [
  ...(dwarf === undefined ? [] : [() => debugged(dwarf, scratch.path)]),
  ...names.map((name) => () => kernelOf(name)),
];
for (const load of kernels) {
  const kernel = await load();
  const { name, btf, release } = kernel;
  const [types, pahole] = [await Types.of(btf), await paholeOf(btf)];
  const [named, withBits] = [types.named(), types.named(true)];
  const random = randomOf(Number(values.seed));
  const ways = new Map<string, NonNullable<ReturnType<Types["someWay"]>>>();
  while (ways.size < Number(values.count)) {
    // Few structs have bit-fields, and all else is as it is without them.
    const structs = random(8) === 0 ? withBits : named;
    const from = structs[random(structs.length)];
    const way = from && types.someWay(from, random);
    // Of two ways with one constant only one can be asked for.
    // Of arrays of arrays pahole makes one in BTF, in which an element lies elsewhere than in C.
    if (way && (name !== DWARF || !way.path.includes("[")))
      ways.set(way.path.replace(/\]/g, "").replace(/\W/g, "_"), way);
  }
  const all = [...ways];
  const told: Record<string, number | null> = {};
  for (let at = 0; at < all.length; at += portion)
    Object.assign(
      told,
      ask(
        kernel,
        all.slice(at, at + portion).map(([, { path }]) => path),
      ),
    );
  let [different, bitFields, ofPahole, untold] = [0, 0, 0, 0];
  for (const [constant, { path, place }] of all) {
    const [value, bit = 0, bits = null] = [constant, `${constant}_bit_offset`, `${constant}_bit_size`].map(
      (each) => told[each] ?? undefined,
    );
    const own = value === undefined ? null : { bit: value * 8 + bit, bits };
    const other = pahole.get(path);
    if (place.bits !== null) bitFields += 1;
    if (other !== undefined) ofPahole += 1;
    // BTF has structs that are local to functions, too.
    const isUntold = own === null && name === DWARF;
    if (isUntold) untold += 1;
    const isSame =
      isUntold || [place, other ?? place].every((each) => own?.bit === each.bit && own.bits === each.bits);
    if (isSame) continue;
    different += 1;
    console.log(`${name}: ${path}: ${JSON.stringify({ own, bpftool: place, pahole: other })}`);
  }
  isDifferent ||= different > 0;
  console.log(
    `${name} (${release}): ${all.length} members, ${bitFields} bit-fields, ${ofPahole} by pahole too: ${different} different, ${untold} not told`,
  );
}
process.exitCode = isDifferent ? 1 : 0;
