/** Whether the eBPF objects inside Debian 12's libbpf-tools load in a guest, with its own BTF and with that of `offsetof btf`. */
import { join } from "node:path";
import * as v from "valibot";
import { relocationsSchema } from "../../src/output/btf-schema.ts";
import { executableFor } from "../lab/executable.ts";
import { bootGuest, type GuestFile, HIDE_BTF, text } from "../lab/guest.ts";
import type { BootableKernel } from "../lab/kernels.ts";
import { buildCoreReader, foreignObjects, judged } from "./reader.ts";

/** What became of an object in one guest. */
export const verdictSchema = v.object({
  /** With the kernel's own BTF; null: it has none. */
  full: v.nullable(v.boolean()),
  ours: v.boolean(),
  /** All its programs were left out. */
  isEmpty: v.boolean(),
  /** Members that `btf --for` finds missing of the programs that were loaded. */
  missing: v.array(v.string()),
  /** libbpf's word on what it would not load with ours. */
  reason: v.string(),
});
export type Verdict = v.InferOutput<typeof verdictSchema>;
export type Column = ReadonlyMap<string, Verdict>;

const LIBRARIES = join(import.meta.dir, "../../assets/lib");

export async function objectsIn(kernel: BootableKernel): Promise<Column> {
  const { architecture, name } = kernel.row;
  const [core, objects] = [await buildCoreReader(), await foreignObjects(architecture)];
  const files: Record<string, GuestFile> = {
    "/opt/offsetof": { from: await executableFor(architecture) },
    "/opt/libbpf.so": {
      from: join(LIBRARIES, architecture === "arm64" ? "arm64" : "x64", "libbpf.so"),
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
