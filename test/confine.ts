import { join } from "node:path";
import { CachedFolder } from "../assets/build/cache.ts";
import type { Architecture } from "../assets/build/debian.ts";
import { zig } from "../assets/build/zig.ts";

const SOURCE = join(import.meta.dir, "confine.c");

/** Numbers of linux/capability.h, for `confine -c`. */
export const CAP = { netAdmin: 12, sysAdmin: 21, perfmon: 38, bpf: 39 } as const;

/** With a glibc that each guest has: to link it with musl, zig compiles all of that first. */
const TARGETS = { amd64: "x86_64-linux-gnu.2.28", arm64: "aarch64-linux-gnu.2.28" } as const;

/** An executable for glibc that runs a command with less than its caller may do: see confine.c. */
export async function buildConfine(architecture: Architecture = "amd64"): Promise<string> {
  const source = await Bun.file(SOURCE).bytes();
  const target = TARGETS[architecture];
  const cached = await CachedFolder.open(
    `confine-${target}-${Bun.hash(source).toString(16)}`,
    async (folder) => {
      const args = ["cc", "-target", target, "-O2", "-Wall", "-Werror"];
      await zig([...args, "-o", join(folder, "confine"), SOURCE], {
        cwd: folder,
        cache: join(folder, "zig"),
      });
    },
  );
  return cached.path("confine");
}
