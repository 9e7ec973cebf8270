import { type BigIntStats, lstatSync, readdirSync, readlinkSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";

/** As many links as the kernel follows (path_resolution(7)). */
const mostLinks = 40;

const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/**
 * A file system tree seen from its root, such as a container's `/proc/PID/root`. All paths given and returned are
 * absolute inside it; links are followed inside it too, so that an absolute link never leads to the host's file.
 * A tree that is changed meanwhile may still mislead: what is read of it is only ever read, never run.
 */
export class Root {
  readonly #host: string;

  /** @param host where the tree lies on this host; absolute. @throws Error when it is relative */
  constructor(host: string) {
    if (!isAbsolute(host)) throw new Error(`root ${host} is relative: give an absolute path`);
    this.#host = host;
  }

  /** Where a path inside the root lies on this host. Follow no link of it: {@link resolve} it first. */
  host(path: string): string {
    return join(this.#host, path);
  }

  /** The real path inside the root; null where there is nothing, a loop, or no permission to look. */
  resolve(path: string): string | null {
    let real = "/";
    let links = 0;
    const todo = parts(path).reverse();
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === "..") {
        real = dirname(real);
        continue;
      }
      const next = join(real, part);
      const target = this.#link(next);
      if (target === undefined) return null;
      if (target === null) {
        real = next;
        continue;
      }
      links += 1;
      if (links > mostLinks) return null;
      if (target.startsWith("/")) real = "/";
      todo.push(...parts(target).reverse());
    }
    return real;
  }

  /** What lies at a real path; null where nothing does. */
  stat(real: string): BigIntStats | null {
    return lstatSync(this.host(real), { bigint: true, throwIfNoEntry: false }) ?? null;
  }

  /** Names in the folder at a real path; none where it cannot be read. */
  list(real: string): readonly string[] {
    try {
      return readdirSync(this.host(real));
    } catch {
      return [];
    }
  }

  /** A link's target, null for anything else, undefined where there is nothing to be seen. */
  #link(path: string): string | null | undefined {
    try {
      const stat = lstatSync(this.host(path), { throwIfNoEntry: false });
      if (stat === undefined) return undefined;
      return stat.isSymbolicLink() ? readlinkSync(this.host(path)) : null;
    } catch {
      return undefined;
    }
  }
}
