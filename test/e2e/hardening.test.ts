/**
 * Plants things that write a mark when they run. Each trap is first shown to work on a plain executable, built from
 * the same source without build.ts's hardening, so that a trap which catches nothing cannot pass.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arch, assetFolders } from "../../src/self/assets.ts";
import { documentOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const built = new Scratch();
const plain = built.at("plain/offsetof");

beforeAll(async () => {
  const folders = assetFolders(arch).map((folder) => join(repository, "assets", folder));
  await Bun.build({
    entrypoints: [join(repository, "src/main.ts"), join(repository, "src/watchdog.ts")],
    bytecode: true,
    format: "esm",
    compile: {
      outfile: plain,
      assets: folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name))),
    },
  });
});
afterAll(() => built[Symbol.dispose]());

interface Trap {
  readonly name: string;
  /** Plants itself in the folder that becomes the working directory. */
  readonly plant?: (folder: string, script: string) => void;
  readonly env?: (folder: string, script: string) => Record<string, string>;
  readonly args?: (script: string) => string[];
}

const write = (name: string, content: (script: string) => string) => (folder: string, script: string) =>
  writeFileSync(join(folder, name), content(script));

const traps: readonly Trap[] = [
  { name: "./bunfig.toml", plant: write("bunfig.toml", (script) => `preload = ["${script}"]\n`) },
  { name: "BUN_OPTIONS=--preload", env: (_, script) => ({ BUN_OPTIONS: `--preload=${script}` }) },
  { name: "BUN_OPTIONS=--require", env: (_, script) => ({ BUN_OPTIONS: `--smol --require ${script}` }) },
  { name: "BUN_OPTIONS=--import", env: (_, script) => ({ BUN_OPTIONS: `--import=${script}` }) },
  {
    name: "BUN_OPTIONS=--config",
    plant: write("other.toml", (script) => `preload = ["${script}"]\n`),
    env: (folder) => ({ BUN_OPTIONS: `--config=${folder}/other.toml` }),
  },
  { name: "BUN_BE_BUN=1", env: () => ({ BUN_BE_BUN: "1" }), args: (script) => ["run", script] },
];

interface Outcome extends Run {
  readonly sprung: boolean;
}

/** Runs an executable in a folder where the trap is laid. */
function spring(program: string, trap: Trap): Outcome {
  using scratch = new Scratch();
  const mark = scratch.at("mark");
  const script = scratch.at("planted.js");
  writeFileSync(script, `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "ran")`);
  trap.plant?.(scratch.path, script);
  const result = run([program, ...(trap.args?.(script) ?? [])], {
    cwd: scratch.path,
    env: trap.env?.(scratch.path, script) ?? {},
  });
  return { ...result, sprung: existsSync(mark) };
}

test.each(traps)("$name runs nothing foreign", (trap) => {
  expect(spring(plain, trap).sprung).toBe(true);
  const outcome = spring(executable, trap);
  expect(outcome.sprung).toBe(false);
  if (trap.args === undefined) documentOf(outcome);
  else expect(outcome).toMatchObject({ status: 2, stdout: "" });
});

test.each([
  { BUN_OPTIONS: "--help" },
  { BUN_OPTIONS: "--version" },
  { BUN_OPTIONS: "--print 1" },
  { BUN_OPTIONS: "--inspect" },
  { BUN_INSPECT: "ws://127.0.0.1:1/" },
  { BUN_INSPECT_CONNECT_TO: "unix:///nonexistent" },
  { BUN_INSPECT_PRELOAD: "/nonexistent.js" },
  { NODE_OPTIONS: "--require /nonexistent.js" },
])("%p changes nothing of the output", (env) => {
  // With a second word it is this program that tells it, not its launcher.
  const { status, stderr, stdout } = run([executable, "--version", "--quiet"]);
  expect(run([executable, "--version", "--quiet"], { env })).toEqual({ status, stderr, stdout });
});

test.each([
  { BUN_OPTIONS: "--cpu-prof" },
  { BUN_BYTECODE_DIGEST_OUT: "written" },
  { BUN_BYTECODE_ORDER_OUT: "written" },
])("%p writes no file", (env) => {
  const filesLeft = (program: string): string => {
    using scratch = new Scratch();
    documentOf(run([program], { cwd: scratch.path, env }));
    return run(["ls", "-A", scratch.path]).stdout;
  };
  expect(filesLeft(plain)).not.toBe("");
  expect(filesLeft(executable)).toBe("");
});

test("a crash starts no curl from PATH", () => {
  using scratch = new Scratch();
  writeFileSync(scratch.at("curl"), `#!/bin/sh\necho ran > ${scratch.at("mark")}\n`, { mode: 0o755 });
  const env = { BUN_ENABLE_CRASH_REPORTING: "1", PATH: `${scratch.path}:${process.env.PATH}` };
  // strace ends when the last process does, curl's shell included.
  const crash = ["strace", "-f", "-qq", "-e", "trace=openat", "-e", "inject=openat:signal=SEGV:when=12"];
  const ranCurl = (program: string): boolean => {
    run(["sh", "-c", '"$@"; true', "sh", ...crash, program], { env });
    return existsSync(scratch.at("mark"));
  };
  expect(ranCurl(executable)).toBe(false);
  expect(ranCurl(plain)).toBe(true);
});

test("./.env is not read", () => {
  using scratch = new Scratch();
  writeFileSync(scratch.at(".env"), "PLANTED=1\n");
  const opens = (program: string): boolean => {
    const trace = ["strace", "-f", "-e", "trace=open,openat", program];
    return /"(?:[^"]*\/)?\.env"/.test(run(trace, { cwd: scratch.path }).stderr);
  };
  expect(opens(plain)).toBe(true);
  expect(opens(executable)).toBe(false);
});

test("libraries planted in the working directory are not loaded", () => {
  using scratch = new Scratch();
  const mark = scratch.at("mark");
  const source = `#include <fcntl.h>\n__attribute__((constructor)) static void ran(void) { open("${mark}", O_CREAT, 0600); }\n`;
  writeFileSync(scratch.at("planted.c"), source);
  run(["gcc", "-shared", "-fPIC", "-o", scratch.at("libplanted.so"), scratch.at("planted.c")]);
  for (const name of [
    "libbpf.so",
    "libbpf.so.1",
    "libssl.so",
    "libssl.so.3",
    "libcrypto.so.3",
    "libc.so.6",
  ]) {
    copyFileSync(scratch.at("libplanted.so"), scratch.at(name));
  }
  // The trap works: a bare name that the system lacks is taken from here.
  const careless = `require("bun:ffi").dlopen("libplanted.so", { f: {} })`;
  run([process.execPath, "--eval", `try { ${careless} } catch {}`], { cwd: scratch.path });
  expect(existsSync(mark)).toBe(true);
  rmSync(mark);
  documentOf(run([executable], { cwd: scratch.path }));
  expect(existsSync(mark)).toBe(false);
});

test.each(["noexec", "ro", "noexec,ro"])("a TMPDIR mounted %s is neither needed nor used", (options) => {
  using scratch = new Scratch();
  mkdirSync(scratch.at("tmp"));
  const commands = [
    `mount -t tmpfs -o ${options} tmpfs ${scratch.at("tmp")}`,
    `TMPDIR=${scratch.at("tmp")} ${executable}`,
    "status=$?",
    `find ${scratch.at("tmp")} -mindepth 1 >&2`,
    "exit $status",
  ];
  const result = run(["unshare", "--mount", "sh", "-c", commands.join("\n")]);
  documentOf(result);
  expect(result.stderr).toBe(run([executable]).stderr);
});

test("a run opens no file for writing", () => {
  const { stderr } = run(["strace", "-f", "-e", "trace=open,openat,creat,mkdir,mkdirat", executable]);
  const written = stderr.split("\n").filter((line) => /O_WRONLY|O_RDWR|O_CREAT|mkdir|creat/.test(line));
  expect(stderr).toContain("openat(");
  expect(written).toEqual([]);
});

test("the dynamic linker's variables work as on any program that is not set-user-id, on either C library", () => {
  using scratch = new Scratch();
  const mark = scratch.at("mark");
  writeFileSync(
    scratch.at("preloaded.c"),
    `#include <fcntl.h>\n__attribute__((constructor)) static void ran(void) { open("${mark}", O_CREAT, 0600); }\n`,
  );
  run(["gcc", "-shared", "-fPIC", "-o", scratch.at("preloaded.so"), scratch.at("preloaded.c")]);
  for (const OFFSETOF_LIBC of ["", "musl"]) {
    const env = { OFFSETOF_LIBC, LD_PRELOAD: scratch.at("preloaded.so") };
    expect(run([executable, "bytecode", "list"], { env }).status).toBe(0);
    expect(existsSync(mark)).toBe(true);
    rmSync(mark);
  }
});
