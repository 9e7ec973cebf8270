/**
 * bun run members [--count N] [--seed S] [KERNEL...]: asks the executable for N members of the BTF of each of these kernels of the
 * lab, chosen by chance, bit-fields and elements of arrays among them, and compares with what bpftool and pahole print of
 * the same BTF. Ends with 1 where one differs.
 */
import { parseArgs } from "node:util";
import * as v from "valibot";
import { repository } from "../../assets/build/paths.ts";
import { labKernel, loadKernel } from "../lab/kernels.ts";
import { paholeOf, Types } from "./truth.ts";

const { values, positionals } = parseArgs({
  options: { count: { type: "string", default: "2000" }, seed: { type: "string", default: "1" } },
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

function ask(btf: string, paths: readonly string[]): Readonly<Record<string, number | null>> {
  const command = [`${repository}/dist/offsetof`, "kernel", "--image", btf, "--format", "json"];
  const { stdout, stderr, exitCode } = Bun.spawnSync([...command, "--member", paths.join(",")]);
  if (exitCode !== 0 && exitCode !== 3) throw new Error(`exit ${exitCode}: ${stderr}`);
  return v.parse(answerSchema, JSON.parse(stdout.toString())).kernel.constants;
}

let isDifferent = false;
for (const name of positionals.length === 0 ? usual : positionals) {
  const { btf, release } = await loadKernel(labKernel(name));
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
    if (way) ways.set(way.path.replace(/\]/g, "").replace(/\W/g, "_"), way);
  }
  const all = [...ways];
  const told: Record<string, number | null> = {};
  for (let at = 0; at < all.length; at += portion)
    Object.assign(
      told,
      ask(
        btf,
        all.slice(at, at + portion).map(([, { path }]) => path),
      ),
    );
  let [different, bitFields, ofPahole] = [0, 0, 0];
  for (const [constant, { path, place }] of all) {
    const [value, bit = 0, bits = null] = [constant, `${constant}_bit_offset`, `${constant}_bit_size`].map(
      (each) => told[each] ?? undefined,
    );
    const own = value === undefined ? null : { bit: value * 8 + bit, bits };
    const other = pahole.get(path);
    if (place.bits !== null) bitFields += 1;
    if (other !== undefined) ofPahole += 1;
    const isSame = [place, other ?? place].every((each) => own?.bit === each.bit && own.bits === each.bits);
    if (isSame) continue;
    different += 1;
    console.log(`${name}: ${path}: ${JSON.stringify({ own, bpftool: place, pahole: other })}`);
  }
  isDifferent ||= different > 0;
  console.log(
    `${name} (${release}): ${all.length} members, ${bitFields} bit-fields, ${ofPahole} by pahole too: ${different} different`,
  );
}
process.exit(isDifferent ? 1 : 0);
