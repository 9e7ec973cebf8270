import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { muslHeaders } from "./musl.ts";
import { architectures } from "./paths.ts";
import { zig } from "./zig.ts";

/** Every launcher: the entry of an executable, see launcher/launcher.h. */
export const launcherTargets = architectures.map(({ name, zig: arch }) => ({
  path: `launcher/${name}/launcher`,
  arch,
}));

const folder = join(import.meta.dir, "launcher");
const sources = ["launcher", "library", "doorman", "isolate", "guard", "watch"];

/** Runs before any C library and at any address: no calls into one, no relocations, no guard of the stack. */
const flags = [
  ...[
    "-std=gnu11",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fpie",
    "-fvisibility=hidden",
    "-Os",
  ],
  ...["-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror"],
];

/**
 * Builds one launcher.
 *
 * @param musl the folder of musl's sources, of which headers are taken
 * @param output path of the program; the same sources and compiler give the same bytes
 */
export async function buildLauncher(
  musl: string,
  { arch }: (typeof launcherTargets)[number],
  output: string,
  cache: string,
): Promise<void> {
  const build = await mkdtemp(join(tmpdir(), "offsetof-launcher-"));
  try {
    const headers = await muslHeaders(musl, arch, build);
    const common = ["-target", `${arch}-linux-musl`, ...flags, ...headers];
    const objects = sources.map((name) => join(build, `${name}.o`));
    for (const [index, object] of objects.entries()) {
      const source = join(folder, `${sources[index]}.c`);
      await zig(["clang", ...common, "-c", source, "-o", object], { cwd: musl, cache });
    }
    await mkdir(dirname(output), { recursive: true });
    const link = [
      "-static",
      "-s",
      "-z",
      "max-page-size=4096",
      "--build-id=none",
      "-T",
      join(folder, "launcher.ld"),
      "-o",
      output,
    ];
    await zig(["ld.lld", ...link, ...objects], { cwd: build, cache });
  } finally {
    await rm(build, { recursive: true });
  }
}
