import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "./run.ts";

/** Where what was fetched is kept, outside any checkout: `$XDG_CACHE_HOME/offsetof` or `~/.cache/offsetof`. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "offsetof");
}

/** A file with its permission bits, or a symbolic link. */
export type CachedEntry =
  | { readonly path: string; readonly mode: number }
  | { readonly path: string; readonly target: string };

/** A folder filled once, and the SHA-256 of each file in it (`SHA256SUMS`, as the sha256sum tool writes it). */
export class CachedFolder {
  readonly folder: string;
  readonly #sums: ReadonlyMap<string, string>;

  private constructor(folder: string, sums: ReadonlyMap<string, string>) {
    this.folder = folder;
    this.#sums = sums;
  }

  /**
   * The folder `name` of the cache; `fill` makes it when it is not there. A folder is there whole or not at
   * all: it is filled under another name first, so two processes at once do no harm.
   */
  static async open(name: string, fill: (folder: string) => Promise<void>): Promise<CachedFolder> {
    const folder = join(cacheFolder(), name);
    if (!(await Bun.file(join(folder, "SHA256SUMS")).exists())) await fillOnce(folder, fill);
    const sums = (await Bun.file(join(folder, "SHA256SUMS")).text()).trimEnd().split("\n");
    return new CachedFolder(folder, new Map(sums.map((line) => [line.slice(66), line.slice(0, 64)])));
  }

  /** The files and symbolic links below a folder in it, with paths as `read` takes them. */
  async entries(below: string): Promise<CachedEntry[]> {
    const format = ["-type", "f,l", "-printf", "%p\\t%m\\t%l\\n"];
    const { stdout } = await run(["find", below, ...format], { cwd: this.folder });
    const lines = stdout.split("\n").filter((line) => line !== "");
    return lines.sort().map((line) => {
      const [path = "", mode = "", target = ""] = line.split("\t");
      return target === "" ? { path, mode: Number.parseInt(mode, 8) } : { path, target };
    });
  }

  /** The bytes of a file, checked against the sum taken when it was fetched. */
  async read(path: string): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await Bun.file(join(this.folder, path)).bytes();
    if (new Bun.CryptoHasher("sha256").update(bytes).digest("hex") !== this.#sums.get(path))
      throw new Error(`${join(this.folder, path)} is not what was fetched: delete ${this.folder}`);
    return bytes;
  }

  /** The absolute path of a file, for a tool that reads it itself, after the same check. */
  async path(path: string): Promise<string> {
    await this.read(path);
    return join(this.folder, path);
  }
}

async function fillOnce(folder: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const fresh = await mkdtemp(`${folder}.`);
  try {
    await fill(fresh);
    const sums = "find . -type f -printf '%P\\0' | sort -z | xargs -0 sha256sum";
    const { stdout } = await run(["sh", "-c", sums], { cwd: fresh });
    await Bun.write(join(fresh, "SHA256SUMS"), stdout);
    await rename(fresh, folder);
  } catch (error) {
    await rm(fresh, { recursive: true });
    // Another process was faster: its folder serves as well.
    if (!(await Bun.file(join(folder, "SHA256SUMS")).exists())) throw error;
  }
}
