/** Runs as root beside a hostile user: what is known of the kernel and of the machine's own libraries is as without that user. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { Beside, buildCrowd, give } from "../crowd.ts";
import { buildHarmless } from "../hostile.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const machines = realpathSync("/usr/lib/x86_64-linux-gnu/libssl.so.3");
/** A busy machine must not make the difference. */
const patient = ["--deadline", "600000", "--format", "json"];

let scratch: Scratch;
beforeAll(() => {
  scratch = new Scratch();
  chmodSync(scratch.path, 0o755);
});
afterAll(() => scratch[Symbol.dispose]());

/** The machine's own library of a document, without who uses it. */
function own(result: Run) {
  const report = documentOf(result).tls?.find(({ path, root }) => path === machines && root === undefined);
  if (report === undefined) throw new Error(`${machines} is not in it`);
  const { used_by: _, ...rest } = report;
  return rest;
}

test("a crowd with hostile maps, names, caches, mounts and files costs nobody else anything", async () => {
  const crowd = buildCrowd(scratch.path, 200);
  const folder = scratch.at("theirs");
  const quiet = run([executable, "run", ...patient]);
  await using _ = await Beside.start(crowd);
  const result = run([executable, "run", ...patient]);
  const { kernel, tls = [], diagnostics } = documentOf(result);
  expect(kernel?.constants).toEqual(documentOf(quiet).kernel?.constants);
  expect(own(result)).toEqual(own(quiet));
  expect(diagnostics.map(({ code }) => code)).not.toContain("E_DEADLINE");
  // Entries of its own it gets, and nothing of them was executed.
  expect(tls.filter(({ path }) => path?.startsWith(folder)).length).toBeGreaterThan(10);
  expect(diagnostics.filter(({ message }) => message.includes("it ended with"))).toEqual([]);
  const detected = run([executable, "detect", ...patient]);
  const { detect } = v.parse(detectDocumentSchema, jsonOf("detect", detected.stdout));
  const plan = detect.tls.find(({ path, root }) => path === machines && root === undefined);
  expect(plan?.sources.probe.would).toBe(true);
});

test("of more TLS libraries than a run looks at the machine's own come first, and what is left out is told", async () => {
  run(["cc", "-static", "-o", scratch.at("holder"), join(repository, "test/unit/tls/holder.c")]);
  const harmless = buildHarmless("libssl.so.9", scratch.at("libraries"));
  const folder = scratch.at("many");
  mkdirSync(folder);
  const files = Array.from({ length: 300 }, (_, index) => join(folder, `libssl.so.${index}`));
  for (const file of files) copyFileSync(harmless, file);
  give(folder, ...files);
  const quiet = own(run([executable, "tls", ...patient]));
  await using holder = await Beside.start([scratch.at("holder"), "1", ...files]);
  const result = run([executable, "tls", ...patient]);
  const { tls = [], diagnostics } = documentOf(result);
  expect(result.status).toBe(3);
  expect(own(result)).toEqual(quiet);
  expect(tls.filter(({ path }) => path?.startsWith(folder)).length).toBe(256);
  const [left, ...more] = diagnostics.filter(({ code }) => code === "E_TLS_OTHERS");
  expect(more).toEqual([]);
  expect(left?.message).toContain("were not looked at; name what is missing");
  // Who is asked for by name is looked at whole.
  const asked = documentOf(run([executable, "tls", "--pid", String(holder.pid), ...patient]));
  expect(asked.tls?.map(({ path }) => basename(path ?? "")).length).toBe(300);
  expect(asked.diagnostics.map(({ code }) => code)).not.toContain("E_TLS_OTHERS");
});
