import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { SourcePackage } from "./debian.ts";
import { architectures } from "./paths.ts";
import { run } from "./run.ts";
import { inParallel, zig, zigCompilerHelpers } from "./zig.ts";

/** The Debian source package that holds musl. */
export const muslPackage: SourcePackage = {
  suite: "trixie",
  name: "musl",
  version: "1.2.5-3.1~deb13u1",
};

const VERSION = "1.2.5";
const MUSL = `musl-${VERSION}`;

/** Every `libc.so` of musl that an executable carries. */
export const muslTargets = architectures.map(({ name, zig: arch }) => ({
  path: `launcher/${name}/libc.so`,
  arch,
}));

/** What is changed in musl, and what is added to it. */
const changes = join(import.meta.dir, "launcher/musl.patch");
const addition = join(import.meta.dir, "launcher/glibc.c");

/** As musl's own configure and Makefile have them for a library, with clang. */
const flags = [
  ...["-std=c99", "-nostdinc", "-ffreestanding", "-frounding-math", "-fno-strict-aliasing"],
  ...["-D_XOPEN_SOURCE=700", "-Os", "-fomit-frame-pointer", "-fno-unwind-tables"],
  ...["-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"],
  ...["-fno-stack-protector", "-Wa,--noexecstack", "-w", "-fPIC"],
];

/** The folders in which musl looks for headers, the generated ones of `build` among them. */
const includes = (arch: string, build: string): string[] =>
  [
    ...[`arch/${arch}`, "arch/generic", `${build}/internal`, "src/include", "src/internal"],
    ...[`${build}/include`, "include"],
  ].map((folder) => `-I${folder}`);

/** The headers that musl's Makefile generates. */
async function generateHeaders(source: string, arch: string, build: string): Promise<void> {
  const script = `set -e; mkdir -p "$1/include/bits" "$1/internal"
sed -f tools/mkalltypes.sed "arch/$0/bits/alltypes.h.in" include/alltypes.h.in >"$1/include/bits/alltypes.h"
{ cat "arch/$0/bits/syscall.h.in"; sed -n -e s/__NR_/SYS_/p "arch/$0/bits/syscall.h.in"; } >"$1/include/bits/syscall.h"
printf '#define VERSION "%s"\\n' "$2" >"$1/internal/version.h"`;
  await run(["sh", "-c", script, arch, build, VERSION], { cwd: source });
}

/** The files of each folder that are compiled for an architecture: its own stand in for the general ones of a name. */
async function sourcesOf(source: string, arch: string): Promise<string[][]> {
  const folders = (await readdir(join(source, "src"))).sort().map((name) => `src/${name}`);
  const list = async (folder: string): Promise<string[]> =>
    (await readdir(join(source, folder)).catch(() => [])).filter((name) => /\.[csS]$/.test(name)).sort();
  const stem = (name: string): string => name.replace(/\.[csS]$/, "");
  return Promise.all(
    [...folders, "src/malloc/mallocng", "ldso"].map(async (folder) => {
      const own = await list(`${folder}/${arch}`);
      const replaced = new Set(own.map(stem));
      const general = (await list(folder)).filter((name) => !replaced.has(stem(name)));
      return [
        ...general.map((name) => `${folder}/${name}`),
        ...own.map((name) => `${folder}/${arch}/${name}`),
      ];
    }),
  );
}

/** Changes the musl that is unpacked below `sources` to the one that the executable needs. @returns its folder */
export async function patchMusl(sources: string): Promise<string> {
  const source = join(sources, MUSL);
  await run(["patch", "--strip=1", "--forward", "--input", changes], { cwd: source });
  await cp(addition, join(source, "src/misc", basename(addition)));
  return source;
}

/** Flags of a freestanding program that takes nothing but constants and structs from musl's headers. */
export async function muslHeaders(source: string, arch: string, build: string): Promise<string[]> {
  await generateHeaders(source, arch, build);
  return [
    "-nostdinc",
    ...[`arch/${arch}`, "arch/generic", `${build}/include`, "include"].flatMap((folder) => [
      "-isystem",
      folder,
    ]),
  ];
}

/** What a compiler calls instead of instructions that a processor lacks, arm64's long double above all (libgcc's part). */
async function compilerHelpers(arch: string, build: string, cache: string): Promise<string> {
  const output = join(build, "helpers.a");
  const target = ["-target", `${arch}-linux-musl`, "-OReleaseSmall", "-fPIC", "-fstrip", "-fno-stack-check"];
  await zig(["build-lib", ...target, zigCompilerHelpers, `-femit-bin=${output}`], { cwd: build, cache });
  return output;
}

/**
 * Builds musl with its dynamic linker, which are one file.
 *
 * @param source the folder of `patchMusl` @param output path of the library; the same sources and compiler give the same bytes
 */
export async function buildMusl(
  source: string,
  { arch }: (typeof muslTargets)[number],
  output: string,
  cache: string,
): Promise<void> {
  const build = await mkdtemp(join(tmpdir(), "offsetof-musl-"));
  try {
    await generateHeaders(source, arch, build);
    const common = ["-target", `${arch}-linux-musl`, ...flags, ...includes(arch, build)].concat([
      `-ffile-prefix-map=${build}=.`,
    ]);
    const compiled: string[] = [];
    const tasks = (await sourcesOf(source, arch)).flat().map((file) => {
      const object = join(build, `${file.replaceAll("/", "_")}.o`);
      compiled.push(object);
      return () => zig(["clang", ...common, "-c", file, "-o", object], { cwd: source, cache });
    });
    await inParallel(tasks);
    await mkdir(dirname(output), { recursive: true });
    const helpers = await compilerHelpers(arch, build, cache);
    const link = [
      "-shared",
      "-e",
      "_dlstart",
      "-s",
      "-O2",
      "--gc-sections",
      "--sort-section=alignment",
    ].concat(
      ["-Bsymbolic-functions", "--dynamic-list=dynamic.list", "--exclude-libs=ALL", "-soname=libc.so"],
      ["--build-id=none", "-z", "noexecstack", "-z", "norelro", "--no-undefined", "-o", output],
    );
    await zig(["ld.lld", ...link, ...compiled, helpers], { cwd: source, cache });
  } finally {
    await rm(build, { recursive: true });
  }
}
