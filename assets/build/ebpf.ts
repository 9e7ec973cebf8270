import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { architectures, repository } from "./paths.ts";
import { zig, zigInclude } from "./zig.ts";

const SOURCE_SUFFIX = ".bpf.c";

/** Every `bpf/<arch>/<name>.o` and what it is compiled from. */
export async function ebpfTargets(): Promise<
  { path: string; source: string; arch: (typeof architectures)[number] }[]
> {
  const sources = await Array.fromAsync(
    new Bun.Glob(`*${SOURCE_SUFFIX}`).scan({ cwd: join(repository, "bpf") }),
  );
  return sources.sort().flatMap((source) =>
    architectures.map((arch) => ({
      path: `bpf/${arch.name}/${source.slice(0, -SOURCE_SUFFIX.length)}.o`,
      source: `bpf/${source}`,
      arch,
    })),
  );
}

/**
 * Compiles one eBPF object with its BTF.
 *
 * The instruction set is the first one (`v1`), which every kernel knows. The compiler, Linux's headers (zig's) and
 * libbpf's (bpf/include) are pinned and no path gets into the object, so the same source gives the same bytes.
 */
export async function compileEbpf(
  { source, arch }: { source: string; arch: (typeof architectures)[number] },
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
    `-D${arch.define}`,
    ...reproducible,
  ];
  await zig(["clang", ...flags, ...includes, "-c", source, "-o", output], { cwd: repository, cache });
}
