import { mkdir, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CachedFolder } from "../../assets/build/cache.ts";
import type { Architecture } from "../../assets/build/debian.ts";
import { run } from "../../assets/build/run.ts";
import lock from "../../package-lock.json" with { type: "json" };

const REPOSITORY = join(import.meta.dir, "../..");
const RUNTIME = "node_modules/@oven/bun-linux-aarch64";

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

async function buildForArm64(): Promise<string> {
  await installRuntime();
  await run([process.execPath, "build.ts", "--target", "arm64-glibc"], { cwd: REPOSITORY });
  return join(REPOSITORY, "dist/arm64-glibc/offsetof");
}

/** Puts Bun for arm64, of the locked version, where build.ts looks for it: npm installs that of this machine alone. */
async function installRuntime(): Promise<void> {
  const link = join(REPOSITORY, RUNTIME);
  if (await Bun.file(join(link, "bin/bun")).exists()) return;
  const { version, integrity } = lock.packages[RUNTIME];
  const name = RUNTIME.slice("node_modules/".length);
  const cached = await CachedFolder.open(`npm/${name}-${version}`, async (folder) => {
    const { stdout } = await run(["npm", "pack", "--silent", `${name}@${version}`], { cwd: folder });
    const archive = join(folder, stdout.trim());
    const sum = new Bun.CryptoHasher("sha512").update(await Bun.file(archive).bytes()).digest("base64");
    if (`sha512-${sum}` !== integrity)
      throw new Error(`${name}@${version} is not what package-lock.json names`);
    await run(["tar", "--extract", "--file", archive, "--directory", folder]);
    await rm(archive);
  });
  await mkdir(dirname(link), { recursive: true });
  await rm(link, { force: true });
  await symlink(join(cached.folder, "package"), link);
}
