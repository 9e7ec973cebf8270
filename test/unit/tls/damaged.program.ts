/** bun damaged.program.ts LIBRARY COUNT: asks for the library, damaged in so many ways, and prints what came of it. */
import { readFileSync, writeFileSync } from "node:fs";
import { tlsReports } from "../../../src/tls/tls.ts";
import { seeded } from "../elf/seeded.ts";

const [path = "", count = "0"] = process.argv.slice(2);
const whole = readFileSync(path);
const random = seeded(4);

/** Cut, zeroed in part, or with bits flipped, mostly where the tables are. */
function damaged(): Buffer {
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

const ask = () => tlsReports({ scope: { kind: "files", paths: [path] }, sources: ["code", "table"] });
const summary = { answers: 0, silences: 0, versions: new Set<string | null>() };
for (let round = 0; round < Number(count); round++) {
  if (round % 50 === 0) Bun.gc(true); // of the copies that are made here
  writeFileSync(path, damaged());
  const { reports, diagnostics } = await ask();
  summary.answers += reports.length;
  if (reports.length + diagnostics.length === 0) summary.silences += 1;
  for (const { version } of reports) summary.versions.add(version);
}
// Of this program's own address space: getrusage(2) counts that of the parent it was forked from.
const [, peak = "0"] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
console.log(JSON.stringify({ memory: Number(peak) << 10, ...summary, versions: [...summary.versions] }));
