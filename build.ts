/**
 * Builds the executable: bun build.ts [--target x64|arm64] [--plain]
 *
 * Without a target it builds dist/offsetof for this machine, with one dist/<target>/offsetof. It is one file that needs
 * nothing of the host but a kernel (docs/design/executable.md). The same input gives the same bytes. With --plain it is what
 * Bun makes, which needs glibc, in dist/plain: to compare with.
 */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { LAUNCHER, universal } from "./assets/build/universal.ts";
import { version } from "./package.json";
import { helpOf } from "./src/commands/help.ts";
import { everyCommand, program } from "./src/commands/program.ts";
import { type Arch, arch, assetFolders } from "./src/self/assets.ts";
import { knownLibraries, loadLayouts } from "./src/tls/layouts/layouts.ts";
import { layoutsSchema } from "./src/tls/layouts/layouts-schema.ts";

const root = import.meta.dir;

/**
 * Environment variables by which Bun's runtime lets its caller run other code, speak to a debugger, write files or
 * start a program, before the first line of ours. They have no switch, so their names are taken out of the image.
 * Left alone: BUN_JSC_* and mimalloc_* tune the engine and print to stderr, but run nothing; an unknown BUN_JSC_ name
 * ends the program with a message. LD_PRELOAD and its kin are the loader's: who sets them runs code in any program.
 */
const closedVariables = [
  "BUN_BE_BUN", // turns the executable into the bun command line
  "BUN_OPTIONS", // command-line options, --preload and --inspect among them
  "BUN_INSPECT", // opens a debugger port
  "BUN_INSPECT_CONNECT_TO", // connects to a debugger
  "BUN_INSPECT_PRELOAD", // loads a script
  "BUN_BYTECODE_ORDER_OUT", // writes a file
  "BUN_BYTECODE_ORDER_NAMES_OUT",
  "BUN_BYTECODE_DIGEST_OUT",
  "BUN_ENABLE_CRASH_REPORTING", // after a crash starts curl from PATH
];

/** The second lock, should a later Bun read the variables another way: no scripts from files, no C compiler. */
const execArgv = ["--disallow-code-generation-from-strings=strict", "--no-ffi-cc"];

/** Bun's name of a target, and the npm package with its runtime. Built for glibc, the executable runs without one. */
const runtimes: Record<string, { arch: Arch; bun: Bun.Build.CompileTarget; package: string }> = {
  x64: { arch: "x64", bun: "bun-linux-x64", package: "@oven/bun-linux-x64" },
  arm64: { arch: "arm64", bun: "bun-linux-arm64", package: "@oven/bun-linux-aarch64" },
};

const { values } = parseArgs({
  options: { target: { type: "string" }, plain: { type: "boolean" } },
});
const name = values.target ?? arch;
const runtime = runtimes[name];
if (runtime === undefined) {
  console.error(`build.ts: unknown target "${name}"; known are ${Object.keys(runtimes).join(", ")}`);
  process.exit(2);
}

const outfile = join(
  root,
  "dist",
  values.plain ? "plain" : "",
  values.target === undefined ? "" : name,
  "offsetof",
);
// The tables that lie in the executable are as their schema says: no run of it looks again.
for (const library of knownLibraries) v.parse(layoutsSchema, await loadLayouts(library));

await mkdir(dirname(outfile), { recursive: true });
// Built aside and renamed: dist/ never holds a half-made executable. The file's own name is part of its bytes.
const scratch = await mkdtemp(join(root, "dist/.build-"));
try {
  const built = join(scratch, "offsetof");
  await Bun.build({
    // The watchdog is a thread, which starts from a file of its own.
    entrypoints: ["main", "watchdog"].map((name) => join(root, `src/${name}.ts`)),
    minify: true,
    // A start loads what its command needs, and not all.
    splitting: true,
    // Compiled ahead: starts in 7 ms instead of 16.
    bytecode: true,
    format: "esm",
    define: values.plain ? {} : { LAUNCHER: `${LAUNCHER}` },
    compile: {
      outfile: built,
      target: runtime.bun,
      executablePath: await runtimePath(runtime.package),
      assets: await assetFiles(runtime.arch),
      execArgv,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  });
  await closeVariables(built);
  const parts = join(root, "assets/launcher", runtime.arch);
  const files = { program: built, launcher: join(parts, "launcher"), libc: join(parts, "libc.so") };
  // Not by Bun.write, which leaves a file in the page cache so that each start from there takes a fifth more.
  if (!values.plain) writeFileSync(built, await universal(files, { version, help: await helpTexts() }));
  await rename(built, outfile);
} finally {
  await rm(scratch, { recursive: true });
}

/** What --help prints of each command, by the words that name it. */
async function helpTexts(): Promise<[words: string, text: string][]> {
  const commands = [program, ...(await everyCommand())];
  return Promise.all(commands.map(async (command) => [command.name, await helpOf(command)]));
}

/** The runtime the executable is made from: this very one for this machine, else an installed npm package. */
async function runtimePath(packageName: string): Promise<string> {
  if (name === arch) return process.execPath;
  const path = join(root, "node_modules", packageName, "bin/bun");
  if (await Bun.file(path).exists()) return path;
  console.error(`build.ts: ${packageName} is not installed: unpack that npm package, version ${Bun.version}`);
  console.error(`build.ts: (the integrity is in package-lock.json) into node_modules/${packageName}`);
  process.exit(1);
}

/** The files the target needs, in a fixed order; two of one name would hide each other in the executable. */
async function assetFiles(arch: Arch): Promise<string[]> {
  const files: string[] = [];
  for (const folder of assetFolders(arch)) {
    const path = join(root, "assets", folder);
    const names = await readdir(path);
    if (names.length === 0) throw new Error(`assets/${folder} is empty: run "bun run build:assets"`);
    files.push(...names.sort().map((each) => join(path, each)));
  }
  const names = files.map((file) => basename(file));
  const twice = names.find((each, at) => names.indexOf(each) !== at);
  if (twice !== undefined) throw new Error(`assets: two files are named ${twice}`);
  return files;
}

/**
 * Makes each closed variable's name start with a zero byte. No entry of an environment can hold one, and getenv("")
 * finds nothing. Only the first byte: a linker may let another string share the rest.
 * @throws when a name does not stand exactly once as a whole string: then this Bun is not the one this was checked on.
 */
async function closeVariables(path: string): Promise<void> {
  const image = Buffer.from(await Bun.file(path).arrayBuffer());
  const fd = openSync(path, "r+");
  try {
    for (const variable of closedVariables) {
      const whole = Buffer.from(`\0${variable}\0`);
      const at = image.indexOf(whole);
      if (at < 0 || image.indexOf(whole, at + 1) >= 0) {
        throw new Error(
          `${path}: expected ${variable} once as a string of its own; Bun changed, see build.ts`,
        );
      }
      writeSync(fd, new Uint8Array(1), 0, 1, at + 1);
    }
  } finally {
    closeSync(fd);
  }
}
