import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { compileEbpf, ebpfTargets } from "../../assets/build/ebpf.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { EbpfObject } from "../../src/bytecode/object.ts";
import { bakeEmbedded, embeddedObject } from "../../src/bytecode/objects.ts";
import { pickTls } from "../../src/bytecode/pick.ts";
import { yes } from "../../src/host/answer.ts";
import { hostFiles } from "../../src/host/files.ts";
import { probeHost } from "../../src/host/host.ts";
import { arch, assetBytes } from "../../src/self/assets.ts";
import { tlsReports } from "../../src/tls/tls.ts";
import { verifyKernel } from "../../src/verify/kernel-reads.ts";
import { verifySessions } from "../../src/verify/tls-reads.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const { version } = probeHost(hostFiles("/", "/proc")).kernel;

/** One of our objects, compiled with a header in the place of what is baked. */
async function compiledWith(header: string, name: string): Promise<Uint8Array> {
  using scratch = new Scratch();
  writeFileSync(scratch.at("offsets.h"), header);
  const row = (await ebpfTargets()).find((one) => one.path === `bpf/${arch}/${name}.o`);
  if (row === undefined) throw new Error(`${name} is no object`);
  const defines = [...row.defines, `OFFSETOF_HEADER="${scratch.at("offsets.h")}"`];
  await compileEbpf({ ...row, defines }, scratch.at("compiled.o"), scratch.at("cache"));
  return await Bun.file(scratch.at("compiled.o")).bytes();
}

/** The TLS object, compiled with a header, on sessions of the library itself. */
async function verifyCompiled(header: string) {
  const verified: Awaited<ReturnType<typeof verifySessions>>[] = [];
  await tlsReports({
    scope: { kind: "files", paths: [path] },
    each: async (report, library) => {
      const name = pickTls(report, version, "auto").bytecode ?? "";
      const bytes = await compiledWith(header, name);
      const programs = embeddedObject(name).programs.map((program) => program.name);
      const values = new Map(
        Object.entries(report.constants).map(([constant, value]) => [
          constant,
          value === null ? null : BigInt(value),
        ]),
      );
      const libbpf = new Libbpf(assetBytes("libbpf.so"));
      const baked = { name, bytes, programs, values, functions: report.functions };
      verified.push(await verifySessions(libbpf, baked, "openssl", library));
    },
  });
  const [result] = verified;
  if (result === undefined || "reason" in result) throw new Error(result?.reason ?? "nothing was verified");
  return result.comparisons;
}

const header = run([executable, "tls", path, "--format", "header"]).stdout;

test("our TLS object compiled with the header reads what the library's own sessions say", async () => {
  const comparisons = await verifyCompiled(header);
  expect(new Set(comparisons.map(({ item }) => item)).size).toBeGreaterThan(8);
  expect(comparisons.filter(({ held }) => !held)).toEqual([]);
});

test("with a macro that is off by two it does not", async () => {
  const wrong = header.replace(
    /(#define SSL_ST_EXPORTER_MASTER_SECRET )(\w+)/,
    (_, start, value) => `${start}(${value} + 2)`,
  );
  expect(wrong).not.toBe(header);
  const failed = (await verifyCompiled(wrong)).filter(({ held }) => !held);
  expect(new Set(failed.map(({ item }) => item))).toEqual(new Set(["EXPORTER_SECRET"]));
});

describe("our socket reader compiled with the kernel's header", () => {
  const kernelHeader = run([executable, "kernel", "--format", "header"]).stdout;
  const document = documentOf(run([executable, "kernel", "--format", "json"]));
  const values = new Map(
    Object.entries(document.kernel?.constants ?? {}).map(([name, value]) => [
      name,
      value === null ? null : BigInt(value),
    ]),
  );
  const libbpf = new Libbpf(assetBytes("libbpf.so"));
  const name = "socket_reader";
  const comparedBy = (bake: Parameters<typeof verifyKernel>[1]["bake"]) =>
    verifyKernel(libbpf, { bake, name, rounds: 2, kprobes: yes("") }).comparisons;
  const constantsOf = (comparisons: ReturnType<typeof comparedBy>) =>
    new Set(comparisons.flatMap(({ constants }) => constants));

  test("reads what the kernel's own calls say, of the same constants as the baked one", async () => {
    const object = new EbpfObject(await compiledWith(kernelHeader, name), name);
    const compiled = comparedBy((filter) => object.bake(filter));
    const baked = comparedBy((filter) => bakeEmbedded(name, new Map([...values, ...filter])));
    for (const one of [...compiled, ...baked]) expect(one).toEqual({ ...one, got: one.expected });
    expect(constantsOf(compiled)).toEqual(constantsOf(baked));
    expect(constantsOf(compiled).size).toBe(13);
  });

  test("with a macro that is off by two it does not", async () => {
    const wrong = kernelHeader.replace(
      /(#define offset_num )(\d+)/,
      (_, start, value) => `${start}(${value} + 2)`,
    );
    const object = new EbpfObject(await compiledWith(wrong, name), name);
    const failed = comparedBy((filter) => object.bake(filter)).filter(
      ({ got, expected }) => got !== expected,
    );
    expect([...constantsOf(failed)]).toEqual(["offset_num"]);
  });

  test("the object for old kernels needs no baking", async () => {
    const bytes = await compiledWith(kernelHeader, "socket_reader_old");
    expect(new EbpfObject(bytes, name).constants).toEqual([]);
    using object = libbpf.openObject(bytes, name);
    object.load();
  });

  test("without a macro that it needs it does not compile, and the compiler names it", async () => {
    const lacking = kernelHeader.replace(/^#define offset_rtt .*\n/m, "");
    const told = await compiledWith(lacking, name).catch((error: Error) => error.message);
    const undeclared = String(told).match(/(?<=undeclared identifier ')\w+/g);
    expect(new Set(undeclared)).toEqual(new Set(["offset_rtt"]));
  });
});
