/** bun worker.program.ts TARGET SEED FROM TO MARK: reads these inputs of a target, and prints what came of them. */
import { mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "../unit/elf/seeded.ts";
import { mutate, type Sample } from "./mutate.ts";
import { defectOf, Wrong } from "./target.ts";
import { targets } from "./targets.ts";
import type { Finding, Told } from "./told.ts";

const [name = "", seed = "", from = "", to = "", mark = ""] = process.argv.slice(2);
const target = targets.find((each) => each.name === name);
if (target === undefined) throw new Error(`no target ${name}`);
/** A worker that finds so much has found enough. */
const mostFindings = 20;

const folder = mkdtempSync(join(tmpdir(), `offsetof-fuzz-${name}-`));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const { samples, read } = await target.open(folder);
const [first] = samples;
if (first === undefined) throw new Error(`${name} has no samples`);

/** Which input is read, for whoever watches. */
const marker = openSync(mark, "w");
const word = new Float64Array(1);
const bytesOfWord = new Uint8Array(word.buffer);

const told: Told = { inputs: 0, answered: 0, slowest: { index: 0, milliseconds: 0 }, findings: [] };
const find = (kind: Finding["kind"], index: number, what: string): void => {
  told.findings.push({ kind, index, what: what.slice(0, 600) });
};
const start = Bun.nanoseconds();
for (let index = Number(from); index < Number(to) && told.findings.length < mostFindings; index++) {
  word[0] = index;
  writeSync(marker, bytesOfWord, 0, 8, 0);
  const random = seeded(Math.imul(Number(seed), 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  random(1);
  const sample = random(samples.length);
  const mutated = mutate(samples[sample] ?? (first as Sample), samples, random);
  const isCompared = target.compared !== undefined && index % target.compared === 0;
  const begun = performance.now();
  try {
    if (await read({ ...mutated, sample, isCompared })) told.answered += 1;
  } catch (error) {
    if (error instanceof Wrong) find("wrong", index, error.message);
    else {
      const defect = defectOf(error);
      if (defect !== null) find("crash", index, `${defect}\n${error instanceof Error ? error.stack : ""}`);
    }
  }
  const milliseconds = performance.now() - begun;
  if (!isCompared && milliseconds > told.slowest.milliseconds) told.slowest = { index, milliseconds };
  told.inputs += 1;
}
console.log(JSON.stringify({ ...told, seconds: (Bun.nanoseconds() - start) / 1e9 }));
process.exit();
