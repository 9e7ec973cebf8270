/** Texts from outside that would steer a terminal, through each input and each writer. Nothing of them reaches it as it is. */
import { afterAll, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { bytesOf, nameOf } from "../../src/input/name.ts";
import { buildHarmless, buildNeeded } from "../hostile.ts";
import { hang } from "../until.ts";
import { executable, repository, run, Scratch } from "./executable.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** Clears the screen, as an escape of two bytes and as one character; turns letters round; begins a line; is no UTF-8. */
const steering = ["\x1b[2J", "\x9b2J", "\u202ekcab", "\noffsetof: all is well", "\u2028", "\x7f", "\udcff"];
const hostile = `x${steering.join("x")}x`;

/** Runs it with arguments of any bytes, and gives all that it wrote. */
function outputOf(...args: readonly string[]) {
  const words = args.map((each) => `"$(printf '%b.' '${octal(each)}')"`);
  const script = `set -- ${words.join(" ")}; for each; do shift; set -- "$@" "\${each%.}"; done; exec ${executable} "$@"`;
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };
  const { stdout, stderr, exitCode } = Bun.spawnSync(["sh", "-c", script], { cwd: "/", env, timeout: hang });
  return { stdout: Buffer.from(stdout), stderr: Buffer.from(stderr), exitCode };
}
const octal = (text: string): string =>
  [...bytesOf(text)].map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("");

/** What a terminal would not show as it is. */
const unprintable = (bytes: Buffer): readonly string[] => [
  ...new Set(nameOf(bytes).match(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu) ?? []),
];

/** Runs it, and holds all that it wrote to the rule. */
function check(...args: readonly string[]): { readonly text: string; readonly exitCode: number } {
  const { stdout, stderr, exitCode } = outputOf(...args);
  expect([args, unprintable(stdout), unprintable(stderr)]).toEqual([args, [], []]);
  const text = `${stdout}${stderr}`;
  // A newline of theirs begins no line.
  expect(text.split("\n").filter((line) => line.startsWith("offsetof: all is well"))).toEqual([]);
  return { text, exitCode };
}

const libraries = scratch.at("libraries");
mkdirSync(libraries);
/** A library at such a path. */
const library = `${libraries}/${hostile}.so`;
copyFileSync(buildHarmless("libssl.so.9", libraries), bytesOf(library));
const tls = ["tls", library, "--source", "code,table"];

test("a name is written as it is found: the executable gets it whole", () => {
  const { stdout } = outputOf(...tls, "--format", "json");
  const { tls: [report] = [] } = JSON.parse(stdout.toString());
  // A byte that is not of UTF-8 stands in documents as \xff.
  expect(report.path).toBe(library.replace("\udcff", "\\xff"));
});

test.each([["json"], ["table"], ["header"]])(
  "steers no terminal: the path of a library under --format %s, and --verbose",
  (format) => {
    const { text, exitCode } = check(...tls, "--format", format, "--verbose");
    expect([0, 3]).toContain(exitCode);
    expect(text).toContain("kcab");
  },
);

test("the path of a library under --format env: as it is for a shell, shown on a terminal", () => {
  const { stdout, exitCode } = outputOf(...tls, "--format", "env");
  expect([0, 3]).toContain(exitCode);
  const script = `eval "$ENV"; printf %s "$TLS_0_PATH"`;
  expect(run(["sh", "-c", script], { env: { ENV: stdout.toString() } }).stdout).toBe(
    library.replace("\udcff", "\\xff"),
  );
  copyFileSync(bytesOf(library), scratch.at("x\x1b[2J\x9b.so"));
  const command = `cd ${scratch.path}; ${executable} tls x*.so --source code,table --format env`;
  const typed = run(["script", "-qec", command, "/dev/null"]).stdout;
  expect(typed).toContain("TLS_0_PATH=");
  for (const each of steering.slice(0, 2)) expect(typed).not.toContain(each);
});

test("steers no terminal: what a failure says, and where it was thrown", () => {
  for (const format of ["json", "table"]) {
    const flags = ["--format", format, "--verbose"];
    const nowhere = `/nowhere/${hostile}`;
    const calls = [
      [hostile],
      [`--${hostile}`],
      ["tls", nowhere],
      ["tls", "--pid", hostile],
      ["tls", "--version-text", hostile],
      ["kernel", "--only", hostile],
      ["kernel", "--source", hostile],
      ["kernel", "--config", nowhere],
      ["kernel", "--constants", nowhere],
      ["bytecode", "extract", hostile, "-o", "-"],
      ["bytecode", "extract", "socket_reader", "-o", nowhere],
      ["bytecode", "extract", "socket_reader", "-o", "-", "--set", hostile],
      ["bytecode", "extract", "socket_reader", "-o", "-", "--set", `${hostile}=1`],
      ["bytecode", "extract", "socket_reader", "-o", "-", "--constants", nowhere],
      ["bytecode", "edit", nowhere, "-o", "-"],
      ["bytecode", "edit", "/etc/passwd", "--for", hostile, "-o", "-"],
      ["btf", "-o", nowhere, "--constants", nowhere],
      ["verify", "tls", nowhere],
      ["verify", "tls", "--pid", "1", "--against", nowhere],
      ["gateway", hostile, "8.8.8.8"],
      ["gateway", "fe80::1%lo", `fe80::2%${hostile}`],
      ["gateway", "127.0.0.1", "127.0.0.1", "--netns", hostile],
      ["gateway", "127.0.0.1", "127.0.0.1", "--netns", nowhere],
      ["gateway", "127.0.0.1", "127.0.0.1", "--cloud", "aws", "--imds", hostile],
      ["config", `--deadline=${hostile}`],
    ];
    for (const call of calls) expect([call, check(...call, ...flags).exitCode]).not.toEqual([call, 0]);
  }
});

test("steers no terminal: a configuration file's keys and values, and variables", () => {
  const config = scratch.at("config.json");
  for (const content of [
    { [hostile]: 1 },
    { strategy: hostile },
    { trust: [hostile] },
    { source: [hostile] },
    [hostile],
  ]) {
    writeFileSync(config, JSON.stringify(content));
    for (const format of ["json", "table"])
      expect(check("kernel", "--config", config, "--format", format).exitCode).toBe(2);
  }
  writeFileSync(config, JSON.stringify({ trust: [`/${hostile}`], proc_root: `/${hostile}` }));
  for (const format of ["json", "table"])
    expect(check("config", "--config", config, "--format", format).exitCode).toBe(0);
  for (const format of ["json", "table"]) {
    const env = { OFFSETOF_STRATEGY: "\x1b[2J\x9b", "OFFSETOF_STRATEG\x1b": "1" };
    const { stderr, exitCode } = Bun.spawnSync([executable, "config", "--format", format], { env });
    expect([exitCode, unprintable(Buffer.from(stderr))]).toEqual([2, []]);
  }
});

test("steers no terminal: paths, names and reasons in a document of somebody else", () => {
  const file = scratch.at("document.json");
  const subject = { constants: { offset_family: 16 }, fields: {} };
  const base = {
    format_version: "2.0",
    tool: { arch: "x64" },
    host: { kernel: { version: [6, 1, 0] } },
    kernel: {
      constants: { offset_family: null, offset_daddr: 4 },
      fields: {
        offset_family: { status: "unresolved", reason: hostile },
        offset_daddr: { status: "single" },
      },
    },
    tls: [{ path: `/${hostile}`, library: hostile, version: hostile, match: null, ...subject }],
  };
  const reader = ["bytecode", "extract", "socket_reader", "-o", scratch.at("reader.o")];
  for (const document of [
    base,
    { ...base, format_version: hostile },
    { ...base, [hostile]: hostile },
    { ...base, kernel: { constants: { [hostile]: 1 } } },
    { ...base, tls: [{ ...base.tls[0], match: hostile }] },
  ]) {
    writeFileSync(file, JSON.stringify(document));
    for (const format of ["json", "table"]) {
      check(...reader, "--constants", file, "--format", format);
      check(...reader, "--allow-missing", "--constants", file, "--format", format);
      check("bytecode", "extract", "--for", `/${hostile}`, "-o", scratch.at("o"), "--constants", file);
      check("bytecode", "extract", "--for", "/none", "-o", scratch.at("o"), "--constants", file);
      check("btf", "-o", scratch.at("btf"), "--constants", file, "--format", format);
      check("verify", "kernel", "--constants", file, "--format", format);
    }
  }
  writeFileSync(file, `{"${hostile.replace("\n", "")}": \x1b`);
  check(...reader, "--constants", file);
});

test("a file that is written has the name that was asked for, and the table shows it", () => {
  const name = `${hostile}.o`;
  const made = ["bytecode", "extract", "socket_reader", "-o", `${scratch.at("made")}/${name}`];
  mkdirSync(scratch.at("made"));
  for (const format of ["json", "table"])
    expect(check(...made, "--format", format, "--allow-missing").exitCode).not.toBe(2);
  expect(readdirSync(scratch.at("made"), { encoding: "buffer" }).map((each) => nameOf(each))).toEqual([name]);
});

test("steers no terminal: names inside an eBPF object, and inside a library", () => {
  const bytes = readFileSync(`${repository}/assets/bpf/x64/socket_reader.o`);
  // Names of the same length, so that the object is sound.
  for (const [name, other] of [
    ["offset_family", "offset_fam\x1b[J"],
    ["offset_saddr_ipv6", "offset_saddr\u202e\x9b"],
  ] as const)
    for (let at = bytes.indexOf(`${name}\0`); at >= 0; at = bytes.indexOf(`${name}\0`))
      bytes.write(other, at);
  writeFileSync(scratch.at("hostile.o"), bytes);
  const edit = ["bytecode", "edit", scratch.at("hostile.o"), "--for", "kernel", "-o", scratch.at("out.o")];
  for (const format of ["json", "table"]) {
    check(...edit, "--format", format);
    check(...edit, "--format", format, "--set", "offset_fam\x1b[J=1", "--allow-missing");
  }
  const soname = `lib\x1b[2J\x9b\u202e\n.so.1`;
  const needed = buildNeeded("libsteering.so.1", { name: "steers", code: "return 1;" }, scratch.at("needs"));
  const user = buildHarmless(
    "libssl.so.8",
    scratch.at("needs"),
    "-Wl,-rpath,/opt/\x1b[2J\x9b:$ORIGIN",
    needed,
  );
  const file = readFileSync(user);
  file.write(soname.slice(0, 10), file.indexOf("libsteering.so.1"));
  writeFileSync(user, file);
  for (const format of ["json", "table", "header"]) check("tls", user, "--format", format, "--verbose");
  check("detect", "--format", "table", "--verbose");
});

test("steers no terminal: lines of a batch, and the namespaces they name", () => {
  const oneLine = hostile.replaceAll("\n", "");
  const lines = [`${oneLine} 8.8.8.8`, `127.0.0.1 127.0.0.1 /nowhere/${oneLine}`];
  const { stdout, stderr } = Bun.spawnSync([executable, "gateway", "--batch"], {
    stdin: Buffer.concat(lines.map((line) => Buffer.concat([bytesOf(line), Buffer.of(10)]))),
  });
  expect([unprintable(Buffer.from(stdout)), unprintable(Buffer.from(stderr))]).toEqual([[], []]);
  const [, answer = ""] = stdout.toString().split("\n");
  // The very file was looked for.
  expect(JSON.parse(answer).message).toBe(
    `/nowhere/${oneLine.replace("\udcff", "\\xff")} is not there (ENOENT)`,
  );
});

test("steers no terminal: the name of an interface", () => {
  const name = `a\x9b\u202e\udcff`;
  const script = `ip link set lo name "$(printf '%b' '${octal(name)}')" up
    for format in json table; do ${executable} gateway 127.0.0.1 127.0.0.1 --format $format; done`;
  const { stdout } = Bun.spawnSync(["unshare", "--net", "bash", "-c", script]);
  expect(unprintable(Buffer.from(stdout))).toEqual([]);
  expect(stdout.toString()).toContain("\\xff");
});
