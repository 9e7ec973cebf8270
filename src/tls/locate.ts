import { readlinkSync, statSync } from "node:fs";
import { Elf } from "../elf/elf.ts";
import { identityOf } from "../elf/input.ts";
import { pathsOf, shownPath } from "./maps.ts";
import { isDenied, type MappedFile } from "./processes.ts";
import { Root } from "./root.ts";

/** How the very file is reached, whatever lies at its path now. */
export interface Handle {
  /** Path on this host. */
  readonly host: string;
  /** It is one of the kernel's own links in /proc. */
  readonly follow: boolean;
  readonly identity: string;
  /** Bytes. */
  readonly size: number;
}

/** Opens the file. @param shown name used in errors @throws as Elf.open */
export const openHandle = ({ host, follow }: Handle, shown: string): Elf => Elf.open(host, shown, { follow });

/** Where a mapped file lies, for people and for looking up what it needs. */
export interface Place {
  readonly root: Root;
  /** The real path inside the root, or the one it had. */
  readonly path: string;
  /** The root's own place on this host, where it is not the machine's. */
  readonly container: string | null;
  readonly deleted: boolean;
}

/** The tree that a process sees. `prefix`: where it begins in the paths of maps. */
interface Tree {
  readonly root: Root;
  readonly container: string | null;
  readonly prefix: string;
}

/** Processes tried for one file, where the first are gone. */
const mostTries = 8;

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

const keyOf = (path: string): string => identityOf(statSync(path, { bigint: true }));

/** A tree and the mount namespace it is seen in: two processes may share the one and not the other. */
function treeKey(host: string, namespace: string): string | null {
  try {
    return `${keyOf(`${host}/.`)} ${readlinkSync(namespace)}`;
  } catch {
    return null;
  }
}

/** Finds mapped files again: by the mapping itself, which nothing can swap, or by path where that is not permitted. */
export class Locator {
  readonly #proc: string;
  readonly #main: { root: Root; key: string | null };
  readonly #trees = new Map<number, Tree>();
  readonly #containers = new Map<string, Tree>();

  /** @param proc where procfs is mounted @param main the machine's tree, and where it lies on this host */
  constructor(proc: string, main: { root: Root; host: string }) {
    this.#proc = proc;
    const namespace = main.host === "/" ? "/proc/self/ns/mnt" : `${proc}/1/ns/mnt`;
    this.#main = { root: main.root, key: treeKey(main.host, namespace) };
  }

  /** Null where it is no regular file, or no process that has it mapped is left; `denied` where it may not be reached. */
  handle(file: MappedFile): Handle | "denied" | null {
    let isRefused = false;
    for (const { pid, range } of file.uses.slice(0, mostTries)) {
      try {
        return regular(`${this.#proc}/${pid}/map_files/${range}`, true);
      } catch (error) {
        if (!isDenied(error)) continue;
        isRefused = true;
        const other = this.#withoutMapFiles(file, pid);
        if (other !== null) return other;
      }
    }
    return isRefused ? "denied" : null;
  }

  /** Where it lies in the machine's tree, if one of the processes that use it is of that; else in theirs. */
  place(file: MappedFile, { identity }: Handle): Place {
    const trees = file.uses.slice(0, mostTries).map(({ pid }) => this.#treeOf(pid));
    const main: Tree = { root: this.#main.root, container: null, prefix: "/" };
    const own = trees.find(({ container }) => container === null) ?? trees[0] ?? main;
    for (const { root, container, prefix } of own === main ? [main] : [own, main]) {
      for (const { path, deleted } of pathsOf(file.path)) {
        for (const inner of deleted ? [] : inside(path, prefix)) {
          const real = same(root, inner, identity);
          if (real !== null) return { root, path: real, container, deleted };
        }
      }
    }
    const { path, deleted } = shownPath(file.path);
    return { root: own.root, path: inside(path, own.prefix)[0] ?? path, container: own.container, deleted };
  }

  /** A process's tree; one that cannot be looked at is taken for the machine's, as nearly all are. */
  #treeOf(pid: number): Tree {
    const known = this.#trees.get(pid);
    if (known !== undefined) return known;
    const host = `${this.#proc}/${pid}/root`;
    const key = treeKey(host, `${this.#proc}/${pid}/ns/mnt`);
    let tree: Tree = { root: this.#main.root, container: null, prefix: "/" };
    if (key !== null && key !== this.#main.key) {
      tree = this.#containers.get(key) ?? {
        root: new Root(host),
        container: host,
        prefix: linkOf(host) ?? "/",
      };
      this.#containers.set(key, tree);
    }
    this.#trees.set(pid, tree);
    return tree;
  }

  /** An ordinary user may not use map_files, but has its own files by path and its programs by /proc/PID/exe. */
  #withoutMapFiles(file: MappedFile, pid: number): Handle | null {
    try {
      const exe = `${this.#proc}/${pid}/exe`;
      if (linkOf(exe) === file.path) return regular(exe, true);
      const { root, prefix } = this.#treeOf(pid);
      for (const { path, deleted } of pathsOf(file.path)) {
        for (const inner of inside(path, prefix)) {
          const real = root.resolve(inner);
          const stat = real === null || deleted ? null : root.stat(real);
          if (real === null || stat === null || stat.ino.toString() !== file.inode) continue;
          return regular(root.host(real), false);
        }
      }
    } catch {}
    return null;
  }
}

/** @throws the system's error */
function regular(host: string, follow: boolean): Handle | null {
  // A file that is no link gains nothing by being followed, and Root has resolved the others.
  const stat = statSync(host, { bigint: true });
  return stat.isFile() ? { host, follow, identity: identityOf(stat), size: Number(stat.size) } : null;
}

/** The real path inside the root where that very file is found; null where it is not. */
function same(root: Root, path: string, identity: string): string | null {
  const real = root.resolve(path);
  if (real === null) return null;
  try {
    const stat = root.stat(real);
    return stat !== null && identityOf(stat) === identity ? real : null;
  } catch {
    return null;
  }
}

/** What a path of this host may be inside a root: a changed root's prefix goes, a container's path stays. */
const inside = (path: string, prefix: string): readonly string[] =>
  prefix !== "/" && path.startsWith(`${prefix}/`) ? [path.slice(prefix.length), path] : [path];
