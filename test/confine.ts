import { join } from "node:path";
import { CachedFolder } from "../assets/build/cache.ts";
import { zig } from "../assets/build/zig.ts";

const SOURCE = join(import.meta.dir, "confine.c");

/** Numbers of linux/capability.h, for `confine -c`. */
export const CAP = { netAdmin: 12, sysAdmin: 21, perfmon: 38, bpf: 39 } as const;

/** A static executable that runs a command with less than its caller may do: see confine.c. */
export async function buildConfine(): Promise<string> {
  const source = await Bun.file(SOURCE).bytes();
  const cached = await CachedFolder.open(`confine-${Bun.hash(source).toString(16)}`, async (folder) => {
    const args = ["cc", "-target", "x86_64-linux-musl", "-static", "-O2", "-Wall", "-Werror"];
    await zig([...args, "-o", join(folder, "confine"), SOURCE], { cwd: folder, cache: join(folder, "zig") });
  });
  return cached.path("confine");
}
