import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";

/** Of each library. */
const count = 5000;
const samples = [
  {
    suite: "bullseye",
    arch: "amd64",
    name: "libssl1.1",
    lib: "usr/lib/x86_64-linux-gnu",
    soname: "1.1",
    version: "1.1.1w",
  },
  {
    suite: "trixie",
    arch: "arm64",
    name: "libssl3t64",
    lib: "usr/lib/aarch64-linux-gnu",
    soname: "3",
    version: "3.5.7",
  },
] as const;

let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-damaged-"));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

test.each(samples)(
  "$name of $suite: an answer or a diagnostic for each, in time and bounds, and never another version",
  ({ suite, arch, name, lib, soname, version }) => {
    const root = join(folder, suite);
    mkdirSync(root);
    for (const file of [`libssl.so.${soname}`, `libcrypto.so.${soname}`])
      cpSync(join(debianPackage(suite, arch, name).root, lib, file), join(root, file));
    const program = join(import.meta.dir, "damaged.program.ts");
    const command = [process.execPath, program, join(root, `libssl.so.${soname}`), String(count)];
    const { stdout, stderr, exitCode } = Bun.spawnSync(command);
    expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
    const { answers, silences, slowest, versions, memory } = JSON.parse(stdout.toString());
    expect(silences).toBe(0);
    expect(answers).toBeGreaterThan(count / 10);
    expect(answers).toBeLessThan(count);
    expect(slowest).toBeLessThan(2000);
    expect([null, version]).toEqual(expect.arrayContaining(versions));
    expect(memory).toBeGreaterThan(20 << 20);
    expect(memory).toBeLessThan(300 << 20);
  },
  300_000,
);
