import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tlsReports } from "../../../src/tls/report.ts";
import { seeded } from "../elf/seeded.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";

/** Of each library. */
const mutations = 5000;
const hang = 2000; // milliseconds
const mostMemory = 300 << 20;

const samples = [
  { suite: "bullseye", arch: "amd64", name: "libssl1.1", folder: "usr/lib/x86_64-linux-gnu", soname: "1.1" },
  { suite: "trixie", arch: "arm64", name: "libssl3t64", folder: "usr/lib/aarch64-linux-gnu", soname: "3" },
] as const;

let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-damaged-"));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

/** Cut, zeroed in part, or with bits flipped, mostly where the tables are. */
function mutated(whole: Buffer, random: (below: number) => number): Buffer {
  const bytes = Buffer.from(whole);
  switch (random(4)) {
    case 0:
      return bytes.subarray(0, random(bytes.length));
    case 1: {
      const start = random(random(2) === 0 ? 8192 : bytes.length);
      const length = random(random(2) === 0 ? 64 : 65_536);
      return bytes.fill(0, start, Math.min(bytes.length, start + length));
    }
    default:
      for (let bit = random(16); bit >= 0; bit--) {
        const at = random(bit % 2 === 0 ? 4096 : bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      }
      return bytes;
  }
}

test.each(samples)(
  "$name of $suite: an answer or a diagnostic for each, in time and bounds, and never another version",
  async ({ suite, arch, name, folder: inside, soname }) => {
    const root = join(folder, suite);
    mkdirSync(root);
    const from = join(debianPackage(suite, arch, name).root, inside);
    for (const file of ["ssl", "crypto"])
      cpSync(join(from, `lib${file}.so.${soname}`), join(root, `lib${file}.so.${soname}`));
    const path = join(root, `libssl.so.${soname}`);
    const ask = () => tlsReports({ scope: { kind: "files", paths: [path] }, sources: ["code", "table"] });
    const [whole] = (await ask()).reports;
    const original = readFileSync(path);
    const random = seeded(4);
    let answers = 0;
    for (let round = 0; round < mutations; round++) {
      writeFileSync(path, mutated(original, random));
      const started = performance.now();
      const { reports, diagnostics } = await ask();
      expect(performance.now() - started).toBeLessThan(hang);
      expect(reports.length + diagnostics.length).toBeGreaterThan(0);
      answers += reports.length;
      if (round % 100 === 0) Bun.gc(true); // of the copies that are made here
      for (const report of reports) expect([null, whole?.version ?? ""]).toContain(report.version);
    }
    expect(answers).toBeGreaterThan(mutations / 10);
    expect(answers).toBeLessThan(mutations);
    expect(process.memoryUsage.rss()).toBeLessThan(mostMemory);
  },
  300_000,
);
