/** What a person sees on a terminal, a real one (script(1) makes it): colours that mean something, and that a long run is at work. */
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import * as v from "valibot";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { until } from "../until.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

const BTF = "/sys/kernel/btf/vmlinux";
const LIBRARY = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const eraseLine = "\r\x1b[K";
const inColour = { green: "\x1b[32m", yellow: "\x1b[33m", red: "\x1b[31m" };

/** What a shell's command prints on a terminal, with what it says on stderr. */
const onTerminal = (command: string, env: Record<string, string> = {}): string =>
  run(["script", "-qec", command, "/dev/null"], { env: { TERM: "xterm", ...env } }).stdout;

describe("colours mean something", () => {
  test.each([
    ["green: confirmed", `kernel --only offset_daddr`, "green", "confirmed"],
    [
      "yellow: a table alone says so",
      `tls ${LIBRARY} --source table --only SSL_ST_RBIO`,
      "yellow",
      "assumed",
    ],
    ["red: not known", `kernel --member no.such`, "red", "unresolved"],
    ["red: what failed", `tls /no/such`, "red", "E_TLS_PATH"],
    ["explain has them too", `explain SSL_ST_RBIO ${LIBRARY} --source table`, "yellow", "assumed"],
    ["detect: what would be done", `detect`, "green", "yes"],
  ] as const)("%s", (_, args, colour, word) => {
    const told = `${inColour[colour]}${word}\x1b[39m`;
    expect(onTerminal(`${executable} ${args}`)).toContain(told);
    for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }])
      expect(Bun.stripANSI(onTerminal(`${executable} ${args}`, env))).toContain(word);
    const { stdout, stderr } = run([executable, ...args.split(" "), "--format", "table"]);
    expect(`${stdout}${stderr}`).not.toContain("\x1b");
  });

  test("diff: what is lost or less sure is red, what moved yellow, what is new or surer green", () => {
    using scratch = new Scratch();
    const [before, after] = [scratch.at("before.json"), scratch.at("after.json")];
    const names = ["offset_family", "offset_daddr", "offset_dport"];
    const [family, daddr, dport] = names;
    const document = documentOf(run([executable, "kernel", "--source", "btf", "--format", "json"]));
    const { kernel } = document;
    if (kernel === undefined || family === undefined || daddr === undefined || dport === undefined)
      throw new Error("no kernel was told");
    const put = (name: string, value: number | null): void => {
      kernel.constants[name] = value;
      const field = kernel.fields[name];
      if (field !== undefined)
        Object.assign(field, { value, status: value === null ? "unresolved" : "single" });
    };
    put(dport, null);
    writeFileSync(before, JSON.stringify(document));
    put(family, null);
    put(daddr, 4096);
    put(dport, 12);
    writeFileSync(after, JSON.stringify(document));
    const shown = onTerminal(`${executable} diff ${before} ${after}`);
    for (const told of [`${inColour.red}lost`, `${inColour.yellow}moved`, `${inColour.green}appeared`])
      expect(shown).toContain(told);
    expect(onTerminal(`${executable} diff ${before} ${after}`, { NO_COLOR: "1" })).not.toContain("\x1b");
  });
});

describe("a table fits the terminal", () => {
  test.each([
    ["kernel --member no.such,task_struct.pid"],
    [`tls ${LIBRARY}`],
    ["tls --version-text 'gnutls 3.8.9'"],
    ["detect"],
    [`explain SSL_ST_RBIO ${LIBRARY}`],
    ["config"],
    ["gateway 127.0.0.1 127.0.0.1"],
  ])("%s: in 80 columns nothing is wider but a longer word", (args) => {
    const shown = onTerminal(`stty cols 80; ${executable} ${args} --quiet --format table`);
    const lines = Bun.stripANSI(shown).split("\r\n");
    expect(lines.length).toBeGreaterThan(3);
    expect(lines.filter((line) => line.length > 80 && line.trim().includes(" "))).toEqual([]);
  });

  test("the last line says what to do next; in a pipe there is none", () => {
    const known = `${executable} kernel --only offset_daddr`;
    expect(onTerminal(known)).toMatch(/\r\nNEXT {2}offsetof verify kernel[\s\S]*\r\n$/);
    const open = onTerminal(`${executable} kernel --member no.such`);
    expect(open).toMatch(/\r\nNEXT {2}offsetof explain no_such: why it is not known[\s\S]*\r\n$/);
    expect(onTerminal(`${executable} tls /no/such`)).toMatch(
      /\r\nNEXT {2}offsetof tls: what is found[\s\S]*\r\n$/,
    );
    expect(run(["sh", "-c", `${known} --format table | cat`]).stdout).not.toContain("NEXT");
  });
});

describe("what takes long says what it is at, on stderr where that is a terminal, in one line that goes again", () => {
  test("kernels in a folder: how many files are read", () => {
    using scratch = new Scratch();
    for (let count = 0; count < 24; count++) copyFileSync(BTF, scratch.at(`${count}.btf`));
    const ask = `${executable} kernel --image ${scratch.path} --only offset_rtt --format json`;
    const [first, ...lines] = onTerminal(`${ask} > /dev/null`).split(eraseLine);
    expect([first, lines.pop()]).toEqual(["", ""]);
    for (const line of lines.filter((text) => text !== "")) expect(line).toMatch(/^\d+ files read$/);
    expect(lines.some((line) => line.endsWith("files read"))).toBe(true);
    expect(onTerminal(`${ask} --quiet > /dev/null`)).toBe("");
  });

  test("documents that are merged: how many", () => {
    using scratch = new Scratch();
    const one = run([executable, "kernel", "--source", "btf", "--format", "json"]).stdout;
    const line = `${JSON.stringify(JSON.parse(one))}\n`;
    writeFileSync(scratch.at("fleet.ndjson"), line.repeat(20_000));
    const merge = `${executable} merge ${scratch.at("fleet.ndjson")}`;
    const [first, ...lines] = onTerminal(`${merge} > /dev/null`).split(eraseLine);
    expect([first, lines.pop()]).toEqual(["", ""]);
    expect(lines.some((text) => /^\d+ documents$/.test(text))).toBe(true);
    expect(onTerminal(`${merge} 2> ${scratch.at("told")} > /dev/null`)).toBe("");
    expect(readFileSync(scratch.at("told"), "utf8")).toBe("");
  });

  test("a terminal that was stopped holds no run beyond its deadline", async () => {
    using scratch = new Scratch();
    const [out, status] = [scratch.at("out"), scratch.at("status")];
    const ask = `${executable} tls --all --source table --format json --deadline 4000 > ${out}; echo \\$? > ${status}`;
    // XOFF, as ^S sends it: from then on nothing is taken of what is written there.
    const script = `{ printf '\\023'; sleep 600; } | script -qec "${ask}" /dev/null > /dev/null`;
    const child = Bun.spawn(["setsid", "bash", "-c", script], { stdin: "ignore", stdout: "ignore" });
    try {
      const code = await until(() => existsSync(status) && readFileSync(status, "utf8").trim());
      expect(["0", "3"]).toContain(code);
      v.parse(documentSchema, jsonOf("document", readFileSync(out, "utf8")));
    } finally {
      process.kill(-child.pid, "SIGKILL");
    }
  });
});
