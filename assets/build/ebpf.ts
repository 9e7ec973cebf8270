import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { architectures, repository } from "./paths.ts";
import { zig, zigInclude } from "./zig.ts";

const SOURCE_SUFFIX = ".bpf.c";

/** The objects that are made of every source: how their names end, and what they define. */
const variants = [
  { suffix: "", defines: [] },
  { suffix: "_old", defines: ["OFFSETOF_OLD_KERNEL"] }, // see bpf/offsetof.h
] as const;

export interface EbpfTarget {
  /** Of the object, below assets/. */
  readonly path: string;
  readonly source: string;
  readonly defines: readonly string[];
  readonly arch: (typeof architectures)[number];
}

/** Every `bpf/<arch>/<name><suffix>.o` and what it is compiled from. */
export async function ebpfTargets(): Promise<EbpfTarget[]> {
  const sources = await Array.fromAsync(
    new Bun.Glob(`*${SOURCE_SUFFIX}`).scan({ cwd: join(repository, "bpf") }),
  );
  return sources.sort().flatMap((source) =>
    architectures.flatMap((arch) =>
      variants.map(({ suffix, defines }) => ({
        path: `bpf/${arch.name}/${source.slice(0, -SOURCE_SUFFIX.length)}${suffix}.o`,
        source: `bpf/${source}`,
        defines: [arch.define, ...defines],
        arch,
      })),
    ),
  );
}

/**
 * Compiles one eBPF object with its BTF, of which libbpf reads the maps; to kernels without BTF it hands none on.
 *
 * The instruction set is the first one (`v1`), which every kernel knows. The compiler, Linux's headers (zig's) and
 * libbpf's (bpf/include) are pinned and no path gets into the object, so the same source gives the same bytes.
 */
export async function compileEbpf(
  { source, defines, arch }: EbpfTarget,
  output: string,
  cache: string,
): Promise<void> {
  await mkdir(dirname(output), { recursive: true });
  const includes = ["bpf/include", zigInclude("any-linux-any"), zigInclude(arch.headers)].flatMap(
    (folder) => ["-isystem", folder],
  );
  const reproducible = [`-ffile-prefix-map=${repository}=.`, "-fdebug-compilation-dir=."];
  const flags = [
    "-target",
    "bpf",
    "-O2",
    "-g",
    "-mcpu=v1",
    "-Wall",
    "-Werror",
    ...defines.map((define) => `-D${define}`),
    ...reproducible,
  ];
  await zig(["clang", ...flags, ...includes, "-c", source, "-o", output], { cwd: repository, cache });
}
