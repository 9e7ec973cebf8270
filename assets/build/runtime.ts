import { mkdir, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import lock from "../../package-lock.json" with { type: "json" };
import { CachedFolder } from "./cache.ts";
import { repository } from "./paths.ts";
import { run } from "./run.ts";

/** Where Bun for arm64 is, from the repository's root. */
export const RUNTIME = "node_modules/@oven/bun-linux-aarch64";

/** Puts Bun for arm64, of the locked version, where build.ts looks for it: npm installs that of this machine alone. @returns its path */
export async function installRuntime(): Promise<string> {
  const link = join(repository, RUNTIME);
  const path = join(link, "bin/bun");
  if (await Bun.file(path).exists()) return path;
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
  return path;
}
