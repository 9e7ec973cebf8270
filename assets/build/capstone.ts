import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { SourcePackage } from "./debian.ts";
import { run } from "./run.ts";
import { inParallel, zig } from "./zig.ts";

/** The Debian source package that holds Capstone. */
export const capstonePackage: SourcePackage = {
  suite: "trixie",
  name: "capstone",
  version: "5.0.7-1~deb13u1",
};

const CAPSTONE = "capstone-5.0.7";

const inFolder = (where: string, names: string): string[] =>
  names.split(" ").map((name) => `${where}${name}.c`);

/** Every disassembler: WebAssembly for every machine, which disassembles one architecture's code. */
export const capstoneTargets = [
  {
    path: "wasm/capstone-x86_64.wasm",
    sources: inFolder(
      "arch/X86/X86",
      "Disassembler DisassemblerDecoder InstPrinterCommon IntelInstPrinter Mapping Module",
    ),
    defines: ["-DCAPSTONE_HAS_X86", "-DCAPSTONE_X86_ATT_DISABLE", "-DARCH=CS_ARCH_X86", "-DMODE=CS_MODE_64"],
  },
  {
    path: "wasm/capstone-aarch64.wasm",
    sources: inFolder("arch/AArch64/AArch64", "BaseInfo Disassembler InstPrinter Mapping Module"),
    defines: ["-DCAPSTONE_HAS_ARM64", "-DARCH=CS_ARCH_ARM64", "-DMODE=CS_MODE_ARM"],
  },
] as const;

/** Ours first: what it has of the C library is not taken from there. */
const program = join(import.meta.dir, "capstone/capstone.c");
const common = inFolder("", "cs MCInst MCInstrDesc MCRegisterInfo Mapping SStream utils");
const changes = join(import.meta.dir, "capstone/capstone.patch");

/** Those that make text; of the others only what decodes is wanted, a third of their tables. */
const isPrinter = (source: string): boolean =>
  /\/capstone\.c$|^cs\.c$|^SStream\.c$|InstPrinter\.c$/.test(source);

const target = [
  "-target",
  "wasm32-wasi",
  "-mbulk-memory",
  "-O2",
  "-g0",
  "-w",
  "-fno-sanitize=all",
  "-fno-stack-protector",
];
const compile = [
  ...["-ffunction-sections", "-fdata-sections", "-DNDEBUG", "-DCAPSTONE_USE_SYS_DYN_MEM"],
  ...["-Iinclude", "-I."],
];
const link = [
  // A stack of 64 KiB instead of 16 MiB, which the runtime would take for memory that is used, and collect garbage for.
  ...["-mexec-model=reactor", "-s", "-Wl,--gc-sections", "-Wl,-z,stack-size=65536"],
  ...["window", "sizes", "texts", "text_size"].map((name) => `-Wl,--export=${name}`),
];

/** Changes the Capstone that is unpacked below `sources` to the one that the executable needs. @returns its folder */
export async function patchCapstone(sources: string): Promise<string> {
  const source = join(sources, CAPSTONE);
  await run(["patch", "--strip=1", "--forward", "--input", changes], { cwd: source });
  // Nobody asks for details of operands: what would tell them is left out by the compiler.
  for (const file of capstoneTargets.flatMap(({ sources: printers }) => printers)) {
    const path = join(source, file);
    await Bun.write(path, (await Bun.file(path).text()).replaceAll("MI->csh->detail", "false"));
  }
  return source;
}

/**
 * Builds a disassembler, which imports nothing.
 *
 * @param source the folder of `patchCapstone` @param output path of the module; the same sources and compiler give the same bytes
 */
export async function buildCapstone(
  source: string,
  { sources, defines }: (typeof capstoneTargets)[number],
  output: string,
  cache: string,
): Promise<void> {
  const build = await mkdtemp(join(tmpdir(), "offsetof-capstone-"));
  try {
    const files = [program, ...common, ...sources];
    const objects = files.map((file) => join(build, `${basename(file)}.o`));
    const tasks = files.map((file, index) => () => {
      const kind = isPrinter(file) ? defines : [...defines, "-DCAPSTONE_DIET"];
      const args = [...target, ...compile, ...kind, "-c", file, "-o", objects[index] ?? ""];
      return zig(["cc", ...args], { cwd: source, cache });
    });
    await inParallel(tasks);
    await mkdir(dirname(output), { recursive: true });
    await zig(["cc", ...target, ...link, "-o", output, ...objects], { cwd: build, cache });
  } finally {
    await rm(build, { recursive: true });
  }
}
