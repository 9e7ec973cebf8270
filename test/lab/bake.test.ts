import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { assets } from "../../assets/build/paths.ts";
import { run } from "../../assets/build/run.ts";
import { bakeEmbedded, embeddedObject } from "../../src/bytecode/objects.ts";
import { bakedObjects } from "../../src/bytecode/pick.ts";
import { formatVersion } from "../../src/output/schema-parts.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { jsonOf } from "../schema.ts";
import { trueConstants } from "./constants.ts";
import { bootGuest, type CommandResult, guestTimeout, HIDE_BTF, text } from "./guest.ts";
import { chosenKernels, loadKernel } from "./kernels.ts";

const EXECUTABLE = join(import.meta.dir, "../../dist/offsetof");
/** The newest bpftool that Debian has, and the libraries that it is linked with. */
const BPFTOOL_SUITE = "sid";
const BPFTOOL = ["bpftool", "libcap2", "libelf1t64", "libssl3t64", "libzstd1", "zlib1g"];

const verificationSchema = v.object({
  attached: v.array(v.string()),
  comparisons: v.array(
    v.object({
      constants: v.array(v.string()),
      socket: v.string(),
      expected: v.string(),
      got: v.nullable(v.string()),
    }),
  ),
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "offsetof-bake-"));
});
afterAll(() => rm(folder, { recursive: true }));

for (const row of chosenKernels()) {
  test(
    `${row.name}: objects made on this machine load by bpftool and read the truth there; a constant that is off by 2 is found out`,
    async () => {
      const kernel = await loadKernel(row);
      const truth = await trueConstants(kernel.btf);
      const [major = 0, minor = 0, patch = 0] = kernel.release.split(/[.-]/).map(Number);
      const documentOf = (constants: Readonly<Record<string, number | null>>) =>
        JSON.stringify({
          format_version: formatVersion,
          tool: { arch: "x64" },
          host: { kernel: { version: [major, minor, Number.isNaN(patch) ? 0 : patch] } },
          kernel: { constants },
        });
      await Bun.write(join(folder, "document.json"), documentOf(truth));
      const output = join(folder, "baked.o");
      const ask = ["bytecode", "extract", "--for", "kernel", "--constants", join(folder, "document.json")];
      await run([EXECUTABLE, ...ask, "-o", output]);
      const wrong = { ...truth, offset_dport: (truth.offset_dport ?? 0) + 2 };

      const built = await Bun.build({
        entrypoints: [join(import.meta.dir, "bake.program.ts")],
        target: "bun",
      });
      const [program] = built.outputs;
      if (program === undefined) throw new Error("nothing was built");
      const load = (name: string) =>
        `bpftool prog loadall /opt/${name}.o /sys/fs/bpf/${name} && ls /sys/fs/bpf/${name} && rm -r /sys/fs/bpf/${name}`;
      const { results } = await bootGuest({
        kernel: { ...kernel, row: { ...row, userland: BPFTOOL_SUITE } },
        packages: BPFTOOL,
        mounts: ["bpf"],
        commands: [
          HIDE_BTF,
          "/opt/bun /opt/program.js /opt/libbpf.so /opt/baked.o",
          "/opt/offsetof verify kernel --format json",
          "/opt/offsetof verify kernel --constants /opt/wrong.json --format json",
          "/opt/offsetof verify kernel --bytecode old --format json",
          ...bakedObjects.map(load),
        ],
        files: {
          "/opt/bun": { from: process.execPath },
          "/opt/offsetof": { from: EXECUTABLE },
          "/opt/program.js": { content: await program.text() },
          "/opt/libbpf.so": { from: join(assets, "lib/x64/libbpf.so") },
          "/opt/baked.o": { from: output },
          "/opt/wrong.json": { content: documentOf(wrong) },
          ...Object.fromEntries(
            bakedObjects.map((name) => [`/opt/${name}.o`, { content: bakeEmbedded(name, new Map()) }]),
          ),
        },
        memoryMiB: 2048,
      });
      const [, baked, own, changed, old, ...loads] = results;

      const { comparisons, attached } = v.parse(verificationSchema, JSON.parse(said(baked)));
      expect(attached).toContain("kprobe:tcp_getsockopt");
      expect(new Set(comparisons.map(({ socket }) => socket)).size).toBe(4);
      for (const one of comparisons) expect(one).toEqual({ ...one, got: one.expected });

      for (const [result, name] of [
        [own, "socket_reader"],
        [old, "socket_reader_old"],
      ] as const) {
        const { verify } = v.parse(verifySchema, jsonOf("verify", said(result)));
        expect([result?.status, verify.kernel?.bytecode, verify.kernel?.not_compared]).toEqual([0, name, []]);
      }
      const { verify } = v.parse(verifySchema, jsonOf("verify", said(changed)));
      const wrongOnes = Object.entries(verify.kernel?.constants ?? {}).filter(
        ([, one]) => one.held < one.compared,
      );
      expect([changed?.status, wrongOnes.map(([name]) => name)]).toEqual([3, ["offset_dport"]]);

      for (const [index, name] of bakedObjects.entries()) {
        const programs = embeddedObject(name).programs.map((one) => one.name);
        expect([name, said(loads[index]).trim().split(/\s+/).sort()]).toEqual([name, programs.sort()]);
      }
    },
    guestTimeout,
  );
}

/** What a command wrote; if nothing, its error is the test's. */
function said(result: CommandResult | undefined): string {
  if (result === undefined || result.stdout.length === 0)
    throw new Error(text(result?.stderr ?? new Uint8Array()));
  return text(result.stdout);
}
