import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import * as v from "valibot";
import { diffSchema } from "../../src/output/diff-schema.ts";
import { mergeSchema } from "../../src/output/merge-schema.ts";
import { jsonOf } from "../schema.ts";
import { documentOf, errorOf, executable, run, Scratch } from "./executable.ts";

/** This machine's own answer, of the libraries that one program uses: others come and go. */
const here = {
  ...documentOf(run([executable, "kernel"])),
  tls: documentOf(run([executable, "tls", "/usr/bin/openssl"])).tls ?? [],
};

/** The same with one number of the kernel's changed. */
function withMoved(name: string, value: number): string {
  const document = structuredClone(here);
  const field = document.kernel?.fields[name];
  if (document.kernel === undefined || field === undefined) throw new Error(`${name} is not in the document`);
  field.value = document.kernel.constants[name] = value;
  return JSON.stringify(document);
}

const diffIn = (stdout: string) => v.parse(diffSchema, jsonOf("diff", stdout));
const mergedIn = (stdout: string) => v.parse(mergeSchema, jsonOf("merge", stdout));
const bash = (script: string, cwd: string) =>
  run(["bash", "-c", script.replaceAll("offsetof", executable)], { cwd });

describe("diff", () => {
  test("a document is the same as itself, through pipes too; a number that moved is told", () => {
    using scratch = new Scratch();
    writeFileSync(scratch.at("a.json"), JSON.stringify(here));
    writeFileSync(scratch.at("b.json"), withMoved("offset_rtt", 1672));
    const same = bash("offsetof diff a.json <(cat a.json)", scratch.path);
    expect(same.status).toBe(0);
    expect(diffIn(same.stdout).diff.same).toBe(true);
    const moved = bash("offsetof diff - b.json < a.json", scratch.path);
    expect(moved.status).toBe(3);
    const { kernel } = diffIn(moved.stdout).diff;
    expect(Object.keys(kernel?.constants ?? {})).toEqual(["offset_rtt"]);
    expect(kernel?.constants.offset_rtt).toMatchObject({
      change: "moved",
      from: here.kernel?.constants.offset_rtt,
      to: 1672,
    });
    expect(bash("offsetof diff a.json b.json --format table", scratch.path).stdout).toMatch(
      /^offset_rtt +\d+ +1672 +moved +confirmed$/m,
    );
  });

  test("without a second document it is this machine that is looked at, in the same parts", () => {
    using scratch = new Scratch();
    const { tls: _, ...kernel } = here;
    writeFileSync(scratch.at("a.json"), JSON.stringify(kernel));
    const result = run([executable, "diff", scratch.at("a.json")]);
    expect(result.status).toBe(0);
    expect(diffIn(result.stdout).diff).toMatchObject({ same: true, kernel: { constants: {} } });
  });

  test.each([
    ["{", "line 1, column 2: "],
    ["", "empty: a document was expected"],
    ["{}\n{}\n", "format_version: "],
    ['{"format_version": "1.0"}', "must be a document of format_version 2"],
  ])("%p is no document, and the error names the file", (text, message) => {
    using scratch = new Scratch();
    writeFileSync(scratch.at("a.json"), text);
    const result = run([executable, "diff", scratch.at("a.json"), scratch.at("a.json")]);
    expect([result.status, result.stdout]).toEqual([1, ""]);
    expect(errorOf(result).message).toStartWith(`${scratch.at("a.json")}: `);
    expect(errorOf(result).message).toContain(message);
  });
});

describe("merge", () => {
  test("a folder of machines gives one layout; the liar and the one that hung are named", () => {
    using scratch = new Scratch();
    mkdirSync(scratch.at("rack1"));
    for (const host of ["web1", "web2", "rack1/db1"])
      writeFileSync(scratch.at(`${host}.json`), JSON.stringify(here, null, 2));
    writeFileSync(scratch.at("liar.json"), withMoved("offset_rtt", 4));
    writeFileSync(scratch.at("hung.json"), '{"format_version"');
    const result = run([executable, "merge", scratch.path]);
    expect(result.status).toBe(3);
    const { documents, layouts, odd, failed } = mergedIn(result.stdout);
    expect(documents).toBe(4);
    const [kernel, ...others] = layouts.kernels;
    expect(others).toEqual([]);
    expect(kernel?.constants).toEqual({ ...here.kernel?.constants, offset_rtt: null });
    expect(odd.map(({ machine, constants }) => [machine, constants])).toEqual([
      ["liar", { offset_rtt: { told: 4, others: here.kernel?.constants.offset_rtt ?? null } }],
    ]);
    expect(failed).toEqual([
      { machine: "hung", message: expect.stringMatching(/^hung: line 1, column \d+: /) },
    ]);
  });

  test("NDJSON, an array and a folder of the same documents come to the same", () => {
    using scratch = new Scratch();
    const line = JSON.stringify(here);
    writeFileSync(scratch.at("all.ndjson"), `${line}\n${line}\n`);
    writeFileSync(scratch.at("all.array"), `[${line},${line}]`);
    const answers = ["all.ndjson", "- < all.ndjson", "all.array"].map((input) => {
      const { status, stdout } = bash(`offsetof merge ${input}`, scratch.path);
      expect(status).toBe(0);
      return mergedIn(
        stdout.replaceAll(/(all\.(ndjson|array)|stdin):/g, "input:").replaceAll('"all.array"', '"input:1"'),
      );
    });
    expect(answers.map(({ documents }) => documents)).toEqual([2, 2, 2]);
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  test("what was merged is a document with constants: a header, an object and BTF are made of it", () => {
    using scratch = new Scratch();
    writeFileSync(scratch.at("here.json"), JSON.stringify(here));
    const { release } = here.host.kernel;
    writeFileSync(
      scratch.at("other.json"),
      withMoved("offset_rtt", 1672).replaceAll(JSON.stringify(release), '"6.1.0-other"'),
    );
    expect(bash("offsetof merge here.json other.json > all.json", scratch.path).status).toBe(0);
    const of = (more: string) => bash(`offsetof ${more}`, scratch.path);
    expect(of("kernel --constants all.json --release 6.1.0-other --get offset_rtt").stdout).toBe("1672\n");
    const several = of("kernel --constants all.json");
    expect([several.status, several.stdout]).toEqual([1, ""]);
    expect(errorOf(several).message).toContain("--release names one of ");
    expect(errorOf(of("kernel --constants all.json --release 5.0")).message).toContain("has no kernel 5.0");
    // The same bytes as of the machine's own document.
    for (const make of ["btf", "bytecode extract --for kernel"]) {
      expect(of(`${make} --constants all.json --release ${release} -o merged`).status).toBe(0);
      expect(of(`${make} --constants here.json -o own`).status).toBe(0);
      expect(run(["cmp", scratch.at("merged"), scratch.at("own")]).status).toBe(0);
    }
    const library = here.tls.find(({ build_id }) => build_id !== null);
    if (library === undefined) throw new Error("no library with a build id was found on this machine");
    const header = of(`tls --constants all.json --build-id ${library.build_id} --format header`);
    const macros = (text: string) => text.split("\n").filter((line) => line.startsWith("#define "));
    expect(header.stdout).toMatch(/^#define SSL_WRITE_OFFSET /m);
    expect(macros(header.stdout)).toEqual(
      macros(of(`tls ${library.root ?? ""}${library.path} --format header`).stdout),
    );
    expect(macros(header.stdout).length).toBeGreaterThan(5);
  });

  test("nothing that could be read is an error, not an empty answer", () => {
    using scratch = new Scratch();
    const empty = run([executable, "merge", scratch.path]);
    expect([empty.status, errorOf(empty).code]).toEqual([1, "E_MERGE"]);
    writeFileSync(scratch.at("a.json"), "none");
    expect(errorOf(run([executable, "merge", scratch.path])).message).toStartWith("a: line 1, column 1: ");
  });
});
