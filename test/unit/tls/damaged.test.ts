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
  },
  {
    suite: "trixie",
    arch: "arm64",
    name: "libssl3t64",
    lib: "usr/lib/aarch64-linux-gnu",
    soname: "3",
  },
] as const;

let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-damaged-"));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

test.each(samples)(
  "$name of $suite: an answer or a diagnostic for each, in bounds, and never another version",
  ({ suite, arch, name, lib, soname }) => {
    const debian = debianPackage(suite, arch, name);
    const root = join(folder, suite);
    mkdirSync(root);
    for (const file of [`libssl.so.${soname}`, `libcrypto.so.${soname}`])
      cpSync(join(debian.root, lib, file), join(root, file));
    const program = join(import.meta.dir, "damaged.program.ts");
    const command = [process.execPath, program, join(root, `libssl.so.${soname}`), String(count)];
    const { stdout, stderr, exitCode } = Bun.spawnSync(command);
    expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
    const { answers, silences, versions, memory } = JSON.parse(stdout.toString());
    expect(silences).toBe(0);
    expect(answers).toBeGreaterThan(count / 10);
    expect(answers).toBeLessThan(count);
    expect([null, debian.version.replace(/-.*$/, "")]).toEqual(expect.arrayContaining(versions));
    expect(memory).toBeGreaterThan(20 << 20);
    expect(memory).toBeLessThan(300 << 20);
  },
);
