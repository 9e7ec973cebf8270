import { join } from "node:path";
import type { Architecture } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import { installRuntime } from "../../assets/build/runtime.ts";

const REPOSITORY = join(import.meta.dir, "../..");

const built: Partial<Record<Architecture, Promise<string>>> = {};

/**
 * Path of the executable that runs on an architecture: dist/offsetof as it was built, or for arm64 one that is built
 * here, once a process.
 */
export async function executableFor(architecture: Architecture): Promise<string> {
  if (architecture === "amd64") return join(REPOSITORY, "dist/offsetof");
  built.arm64 ??= buildForArm64();
  return built.arm64;
}

/** Path of Bun itself for an architecture. */
export const runtimeFor = async (architecture: Architecture): Promise<string> =>
  architecture === "amd64" ? process.execPath : installRuntime();

async function buildForArm64(): Promise<string> {
  await installRuntime();
  await run([process.execPath, "build.ts", "--target", "arm64"], { cwd: REPOSITORY });
  return join(REPOSITORY, "dist/arm64/offsetof");
}
