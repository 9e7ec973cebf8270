import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { compileEbpf, ebpfTargets } from "../../assets/build/ebpf.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { assetBytes, target } from "../../src/assets.ts";
import { embeddedObject } from "../../src/bytecode/objects.ts";
import { pickTls } from "../../src/bytecode/pick.ts";
import { hostFiles } from "../../src/host/files.ts";
import { probeHost } from "../../src/host/report.ts";
import { tlsReports } from "../../src/tls/report.ts";
import { verifySessions } from "../../src/verify/tls.ts";
import { executable, run, Scratch } from "./executable.ts";

const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const { version } = probeHost(hostFiles("/", "/proc")).kernel;

/** The TLS object, compiled with a header in the place of what is baked, on sessions of the library itself. */
async function verifyCompiled(header: string) {
  using scratch = new Scratch();
  writeFileSync(scratch.at("offsets.h"), header);
  const verified: Awaited<ReturnType<typeof verifySessions>>[] = [];
  await tlsReports({
    scope: { kind: "files", paths: [path] },
    each: async (report, { files, trust }) => {
      const name = pickTls(report, version, "auto").bytecode ?? "";
      const row = (await ebpfTargets()).find((one) => one.path === `bpf/${target.arch}/${name}.o`);
      if (row === undefined) throw new Error(`${name} is no object`);
      const defines = [...row.defines, `OFFSETOF_HEADER="${scratch.at("offsets.h")}"`];
      await compileEbpf({ ...row, defines }, scratch.at("compiled.o"), scratch.at("cache"));
      const bytes = await Bun.file(scratch.at("compiled.o")).bytes();
      const programs = embeddedObject(name).programs.map((program) => program.name);
      const values = new Map(
        Object.entries(report.constants).map(([constant, value]) => [
          constant,
          value === null ? null : BigInt(value),
        ]),
      );
      const libbpf = new Libbpf(assetBytes("libbpf.so"));
      verified.push(await verifySessions(libbpf, { name, bytes, programs, values }, files, trust));
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
}, 60_000);

test("with a macro that is off by two it does not", async () => {
  const wrong = header.replace(
    /(#define SSL_ST_EXPORTER_MASTER_SECRET )(\w+)/,
    (_, start, value) => `${start}(${value} + 2)`,
  );
  expect(wrong).not.toBe(header);
  const failed = (await verifyCompiled(wrong)).filter(({ held }) => !held);
  expect(new Set(failed.map(({ item }) => item))).toEqual(new Set(["EXPORTER_SECRET"]));
}, 60_000);
