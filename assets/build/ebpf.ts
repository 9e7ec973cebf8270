import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { architectures, repository } from "./paths.ts";
import { zig, zigInclude } from "./zig.ts";

const SOURCE_SUFFIX = ".bpf.c";

/** The objects that are made of a source: how their names end, what they define, and of which sources there is none. */
const variants: readonly { suffix: string; defines: readonly string[]; without: readonly string[] }[] = [
  { suffix: "", defines: [], without: [] },
  // See bpf/offsetof.h. The programs of tp_btf came with Linux 5.5, which ends what is old.
  { suffix: "_old", defines: ["OFFSETOF_OLD_KERNEL"], without: ["socket_typed"] },
];

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
  return sources.sort().flatMap((source) => {
    const name = source.slice(0, -SOURCE_SUFFIX.length);
    const made = variants.filter(({ without }) => !without.includes(name));
    return architectures.flatMap((arch) =>
      made.map(({ suffix, defines }) => ({
        path: `bpf/${arch.name}/${name}${suffix}.o`,
        source: `bpf/${source}`,
        defines: [arch.define, ...defines],
        arch,
      })),
    );
  });
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
