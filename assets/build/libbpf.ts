import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { SourcePackage } from "./debian.ts";
import { architectures } from "./paths.ts";
import { inParallel, zig } from "./zig.ts";

/** The unpacked source folders, side by side in one folder. */
const LIBBPF = "libbpf-1.7.0";
const ELFUTILS = "elfutils-0.192";
export const ZLIB = "zlib-1.3.dfsg+really1.3.2";

export const zlibPackage: SourcePackage = {
  suite: "forky",
  name: "zlib",
  version: "1:1.3.dfsg+really1.3.2-3",
};

/** Debian source packages that hold them. A new libbpf knows the BTF of new kernels, and trixie's is older. */
export const sourcePackages: readonly SourcePackage[] = [
  { suite: "forky", name: "libbpf", version: "1.7.0-1" },
  { suite: "trixie", name: "elfutils", version: "0.192-4" },
  zlibPackage,
];

/** Every `<arch>/libbpf.so` and the zig target it is built for; glibc 2.17 is what Bun itself asks for. */
export const libbpfTargets = architectures.map((arch) => ({
  path: `lib/${arch.name}/libbpf.so`,
  target: `${arch.zig}-linux-gnu.2.17`,
}));

/** Sources of one component, and how they are compiled. Paths are relative to the folder of the sources. */
interface Component {
  readonly sources: readonly string[];
  readonly flags: readonly string[];
}

async function components(sources: string): Promise<Component[]> {
  const inFolder = async (folder: string) =>
    (await readdir(join(sources, folder)))
      .filter((name) => name.endsWith(".c"))
      .sort()
      .map((name) => `${folder}/${name}`);
  const config = join(import.meta.dir, "libelf");
  return [
    {
      sources: [...(await libelfSources(sources)), `${ELFUTILS}/lib/eu-search.c`],
      flags: ["-include", join(config, "config.h"), "-DHAVE_CONFIG_H", "-D_GNU_SOURCE"].concat(
        [config, `${ELFUTILS}/lib`, `${ELFUTILS}/libelf`, ZLIB].map((folder) => `-I${folder}`),
      ),
    },
    {
      sources: await inFolder(ZLIB),
      flags: ["-DHAVE_UNISTD_H", "-DHAVE_HIDDEN", "-D_LARGEFILE64_SOURCE=1", `-I${ZLIB}`],
    },
    {
      sources: await inFolder(`${LIBBPF}/src`),
      flags: ["-D_GNU_SOURCE", "-D_LARGEFILE64_SOURCE", "-D_FILE_OFFSET_BITS=64"].concat(
        ["src", "include", "include/uapi"].map((folder) => `-I${LIBBPF}/${folder}`),
        [`-I${ELFUTILS}/libelf`, `-I${ZLIB}`],
      ),
    },
  ];
}

/** The files of libelf_a_SOURCES in elfutils' own Makefile.am. */
async function libelfSources(sources: string): Promise<string[]> {
  const makefile = await Bun.file(join(sources, ELFUTILS, "libelf/Makefile.am")).text();
  const list = /^libelf_a_SOURCES = ((?:.*\\\n)*.*)/m.exec(makefile)?.[1];
  if (list === undefined) throw new Error(`${ELFUTILS}/libelf/Makefile.am names no libelf_a_SOURCES`);
  const names = list.split(/[\s\\]+/).filter((name) => name.endsWith(".c"));
  return names.map((name) => `${ELFUTILS}/libelf/${name}`);
}

/**
 * Builds one self-contained libbpf.so: libelf and zlib are inside, and it needs nothing but libc.
 *
 * @param sources folder that holds the unpacked sourcePackages
 * @param output path of the library; the same sources and compiler give the same bytes
 */
export async function buildLibbpf(
  sources: string,
  { target }: (typeof libbpfTargets)[number],
  output: string,
  cache: string,
): Promise<void> {
  const objects = await mkdtemp(join(tmpdir(), "offsetof-libbpf-"));
  try {
    const common = [
      "-target",
      target,
      "-O2",
      "-g0",
      "-fPIC",
      "-ffunction-sections",
      "-fdata-sections",
    ].concat(
      ["-std=gnu11", "-fno-sanitize=all", "-w", `-ffile-prefix-map=${sources}=.`],
      [`-ffile-prefix-map=${import.meta.dir}=.`],
    );
    const compiled: string[] = [];
    const tasks = (await components(sources)).flatMap((component) =>
      component.sources.map((source) => {
        const object = join(objects, `${source.replaceAll(/[/+]/g, "_")}.o`);
        compiled.push(object);
        const args = ["cc", ...common, ...component.flags, "-c", source, "-o", object];
        return () => zig(args, { cwd: sources, cache });
      }),
    );
    await inParallel(tasks);
    await mkdir(dirname(output), { recursive: true });
    const link = [
      "-shared",
      "-s",
      "-O2",
      `-Wl,--version-script=${LIBBPF}/src/libbpf.map`,
      "-Wl,-soname,libbpf.so.1",
    ].concat([
      "-Wl,--gc-sections",
      "-Wl,--build-id=none",
      "-Wl,-z,relro,-z,now",
      "-Wl,--no-undefined",
      "-o",
      output,
    ]);
    await zig(["cc", "-target", target, ...link, ...compiled.sort()], { cwd: sources, cache });
  } finally {
    await rm(objects, { recursive: true });
  }
}
