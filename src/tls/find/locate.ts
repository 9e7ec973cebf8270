import { type BigIntStats, readlinkSync, statSync } from "node:fs";
import { AT_FDCWD, openPath, readLink } from "../../../ffi/descriptors.ts";
import { SystemError } from "../../../ffi/error.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import { Elf } from "../../elf/elf.ts";
import { checkDevice, DeadMountError } from "../../host/mounts.ts";
import { type Jump, type MagicLink, processFolder, type Reached, Root, statOf } from "../../host/root.ts";
import { InputFile, identityOf } from "../../input/input.ts";
import { bytesOf, nameOf, shownName } from "../../input/name.ts";
import { isDenied } from "../../self/thrown.ts";
import { during } from "../../self/whereabouts.ts";
import { pathsOf, pathsOfLink, shownPath, type WrittenPath } from "./maps.ts";
import type { MappedFile } from "./processes.ts";

/** How the very file is reached, whatever lies at its path now. */
export interface Handle {
  readonly identity: string;
  /** Bytes. */
  readonly size: number;
  /** A handle (O_PATH) to the file, which the caller closes. @throws SystemError */
  reach(): FileDescriptor;
}

/** Where a file lies, for people and for looking up what it needs. */
export interface Place {
  readonly root: Root;
  /** The real path inside the root, or the one it had. */
  readonly path: string;
  /** The root's own place on this host, where it is not the machine's. */
  readonly container: string | null;
  readonly deleted: boolean;
}

/** An open library or program, and where it lies. */
export interface Located extends Disposable {
  readonly elf: Elf;
  readonly place: Place;
}

/** A file that processes have mapped beside the library; `open` is how the very file is reached. */
export interface Companion {
  /** Last part of its path. */
  readonly name: string;
  /**
   * Whether a process of root or of this user has it mapped: what another user's process loads proves nothing of a library that others
   * use.
   */
  readonly isSure: boolean;
  readonly open: () => Located;
}

/** Opens what a handle leads to, and leaves the handle open. @throws InputError, SystemError */
export function openAt(fd: number, place: Place, shown = shownName(place.path)): Located {
  const elf = Elf.of(InputFile.of(fd, shown));
  return { elf, place, [Symbol.dispose]: () => elf[Symbol.dispose]() };
}

/** Opens the file at a path of a root. @throws InputError, SystemError */
export function openIn(root: Root, container: string | null, path: string): Located {
  using reached = root.find(path);
  return openAt(reached.fd, { root, path: reached.path, container, deleted: false });
}

/** The tree that a process sees. `prefix`: where it begins in the paths of maps. */
interface Tree {
  readonly root: Root;
  readonly container: string | null;
  readonly prefix: string;
}

const [EACCES, ELOOP] = [13, 40];

/** How many of the processes that have a file mapped are tried: the first may be gone. */
const mostTries = 8;

function linkOf(path: string): string | null {
  try {
    return nameOf(readlinkSync(path, "buffer"));
  } catch {
    return null;
  }
}

/** A tree and the mount namespace it is seen in: two processes may share the one and not the other. */
function treeKey(identity: string, namespace: string): string | null {
  try {
    return `${identity} ${readlinkSync(namespace)}`;
  } catch {
    return null;
  }
}

/** Finds files again: by the mapping itself, which nothing can swap, or by path where that is not permitted. */
export class Locator implements Disposable {
  readonly #proc: string;
  readonly #main: Tree;
  readonly #trees = new Map<number, Tree>();
  /** By root and mount namespace. */
  readonly #known = new Map<string, Tree>();
  readonly #held = new DisposableStack();

  /** @param proc where procfs is mounted @param main the machine's tree @param here the one that the user's paths are of */
  constructor(proc: string, main: { root: Root; host: string }, here: Root) {
    this.#proc = proc;
    this.#main = { root: main.root, container: null, prefix: "/" };
    const namespace = main.host === "/" ? "/proc/self/ns/mnt" : `${proc}/1/ns/mnt`;
    for (const [tree, where] of [
      [{ ...this.#main, root: here }, "/proc/self/ns/mnt"],
      [this.#main, namespace],
    ] as const) {
      const key = treeKey(tree.root.identity, where);
      if (key !== null) this.#known.set(key, tree);
    }
  }

  /** Null where it is no regular file, or no process that has it mapped is left; `denied` where it may not be reached. */
  handle(file: MappedFile): Handle | "denied" | null {
    let isRefused = false;
    for (const { pid, range } of file.uses.slice(0, mostTries)) {
      using _ = during(`${shownName(file.path)}, which process ${pid} has mapped`);
      try {
        checkDevice(file.device, shownName(file.path));
        return regular(`${this.#proc}/${pid}/map_files/${range}`);
      } catch (error) {
        if (error instanceof DeadMountError) return null;
        if (!isDenied(error)) continue;
        isRefused = true;
        const other = this.#withoutMapFiles(file, pid);
        if (other !== null) return other;
      }
    }
    return isRefused ? "denied" : null;
  }

  /** Where the file lies: in the machine's tree, where one of the processes that use it sees that one; else in the tree that they see. */
  place(file: MappedFile, identity: string): Place {
    const uses = file.uses.slice(0, mostTries);
    const trees = uses.map(({ pid }) => this.#treeOf(pid));
    const own = trees.find(({ container }) => container === null) ?? trees[0] ?? this.#main;
    const [{ pid, range } = { pid: 0, range: "" }] = uses;
    const link = linkOf(`${this.#proc}/${pid}/map_files/${range}`);
    const paths = link === null ? pathsOf(file.path) : pathsOfLink(link);
    for (const tree of own === this.#main ? [own] : [own, this.#main]) {
      using reached = sameIn(tree, paths, identity);
      if (reached !== null) return placeIn(tree, reached);
    }
    return nowhere(own, paths);
  }

  /**
   * What the user named: by a path that counts from the working directory, and that may go through the kernel's own links in
   * procfs. Behind one of those, links are followed inside the root of the process.
   *
   * @param here the tree that the user's paths are of @throws SystemError where there is nothing, or no permission to look
   */
  named(here: Root, name: string): Reached & { readonly place: Place } {
    const path = name.startsWith("/") ? name : `/proc/self/cwd/${name}`;
    const reached = here.find(path, this.#jump);
    const { root, isLost } = reached;
    const container = [...this.#known.values()].find((tree) => tree.root === root)?.container ?? null;
    const place = { root, path: reached.path, container, deleted: isLost };
    return Object.assign(reached, { place });
  }

  readonly #jump: Jump = (link, held) => {
    const { name, above } = link;
    const index = processFolder(above);
    const folder = above.at(-1);
    const process = index === null ? undefined : above[index];
    if (process === undefined || folder === undefined) return null;
    const handle = held.use(openPath(folder.handle.fd, bytesOf(name), true, shownName(name)));
    const tree = this.#treeBelow(process.handle, link.root.name(process.path));
    if (tree === null) throw new SystemError(`open ${link.root.name(process.path)}/root`, EACCES);
    if (process === folder && name === "root") return { root: tree.root, steps: tree.root.start };
    const at = `${link.root.name(folder.path)}/${name}`;
    return this.#behind(link, held, { handle, tree, at });
  };

  /** Where in a process's tree the file or folder lies that one of its links leads to. */
  #behind(
    { name, handle: link }: MagicLink,
    held: DisposableStack,
    { handle, tree, at }: { handle: FileDescriptor; tree: Tree; at: string },
  ): ReturnType<Jump> {
    const stat = statOf(handle, shownName(name));
    // Only a handle to a link is reached so.
    if (stat.isSymbolicLink()) throw new SystemError(`open ${shownName(name)}`, ELOOP);
    const paths = pathsOfLink(nameOf(readLink(link.fd)));
    const itself = (path: string) => ({ path, handle, stat });
    for (const each of [() => tree, () => this.#treeAbove({ handle, stat, at })]) {
      const reached = sameIn(each(), paths, identityOf(stat));
      if (reached === null) continue;
      held.use(reached);
      return { root: reached.root, steps: [...reached.steps.slice(0, -1), itself(reached.path)] };
    }
    return { root: tree.root, steps: [itself(nowhere(tree, paths).path)], isLost: true };
  }

  /** The tree of a folder that lies outside the process's own root, as a working directory does that was entered before the root was changed. */
  #treeAbove({ handle, stat, at }: { handle: FileDescriptor; stat: BigIntStats; at: string }): Tree {
    using taken = new DisposableStack();
    let [top, identity, host] = [handle, stat.isDirectory() ? identityOf(stat) : null, at];
    while (identity !== null) {
      const above = taken.use(openPath(top.fd, bytesOf(".."), false, shownName(host)));
      const next = identityOf(statOf(above, host));
      host += "/..";
      top = above;
      identity = next === identity ? null : next;
    }
    if (top === handle) return this.#main;
    const known = this.#known.get(host);
    if (known !== undefined) return known;
    const own = openPath(top.fd, bytesOf("."), false, shownName(host));
    const tree = { root: this.#held.use(new Root(host, own)), container: host, prefix: "/" };
    this.#known.set(host, tree);
    return tree;
  }

  /** A process's tree; one that cannot be looked at is taken for the machine's, as nearly all are. */
  #treeOf(pid: number): Tree {
    const known = this.#trees.get(pid);
    if (known !== undefined) return known;
    const host = `${this.#proc}/${pid}`;
    let tree: Tree | null = null;
    try {
      using folder = openPath(AT_FDCWD, bytesOf(host), true, host);
      tree = this.#treeBelow(folder, host);
    } catch {}
    this.#trees.set(pid, tree ?? this.#main);
    return tree ?? this.#main;
  }

  /** The tree of the process that has this folder in procfs; null where it may not be looked at. */
  #treeBelow(folder: FileDescriptor, host: string): Tree | null {
    using taken = new DisposableStack();
    try {
      const handle = taken.use(openPath(folder.fd, bytesOf("root"), true, "root"));
      const key = treeKey(identityOf(statOf(handle, `${host}/root`)), `/proc/self/fd/${folder.fd}/ns/mnt`);
      if (key === null) return null;
      const known = this.#known.get(key);
      if (known !== undefined) return known;
      taken.move();
      const container = `${host}/root`;
      const root = this.#held.use(new Root(container, handle));
      using link = openPath(folder.fd, bytesOf("root"), false, "root");
      const tree = { root, container, prefix: nameOf(readLink(link.fd)) };
      this.#known.set(key, tree);
      return tree;
    } catch {
      return null;
    }
  }

  /** An ordinary user may not use map_files, but has its own files by path and its programs by /proc/PID/exe. */
  #withoutMapFiles(file: MappedFile, pid: number): Handle | null {
    try {
      const exe = `${this.#proc}/${pid}/exe`;
      const program = linkOf(exe);
      if (pathsOf(file.path).some(({ path, deleted }) => !deleted && path === program)) return regular(exe);
      const { root, prefix } = this.#treeOf(pid);
      for (const { path, deleted } of pathsOf(file.path)) {
        for (const inner of deleted ? [] : inside(path, prefix)) {
          using reached = root.reach(inner);
          if (reached === null || !reached.stat.isFile()) continue;
          if (reached.stat.ino.toString() !== file.inode) continue;
          const { path: real, identity, stat } = reached;
          return { identity, size: Number(stat.size), reach: () => handleAt(root, real) };
        }
      }
    } catch {}
    return null;
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}

/** A handle of its own to what lies at a path. @throws SystemError */
export function handleAt(root: Root, path: string): FileDescriptor {
  using reached = root.find(path);
  return openPath(AT_FDCWD, bytesOf(`/proc/self/fd/${reached.fd}`), true, shownName(path));
}

/** What one of the kernel's own links in procfs leads to. @throws the system's error */
function regular(host: string): Handle | null {
  const stat = statSync(host, { bigint: true });
  return stat.isFile()
    ? {
        identity: identityOf(stat),
        size: Number(stat.size),
        reach: () => openPath(AT_FDCWD, bytesOf(host), true, host),
      }
    : null;
}

/** The first of the paths at which that very file lies in a tree, reached; null where none is. */
function sameIn({ root, prefix }: Tree, paths: readonly WrittenPath[], identity: string): Reached | null {
  for (const { path, deleted } of paths) {
    for (const inner of deleted ? [] : inside(path, prefix)) {
      const reached = root.reach(inner);
      if (reached?.identity === identity) return reached;
      reached?.[Symbol.dispose]();
    }
  }
  return null;
}

const placeIn = ({ root, container }: Tree, { path }: Reached): Place => ({
  root,
  path,
  container,
  deleted: false,
});

/** The place of a file that lies at none of its paths. */
function nowhere({ root, container, prefix }: Tree, paths: readonly WrittenPath[]): Place {
  const { path, deleted } = shownPath(paths);
  return { root, path: inside(path, prefix)[0] ?? path, container, deleted };
}

/** What a path of this host may be inside a root: a changed root's prefix goes, a container's path stays. */
const inside = (path: string, prefix: string): readonly string[] =>
  prefix !== "/" && `${path}/`.startsWith(`${prefix}/`) ? [path.slice(prefix.length) || "/", path] : [path];
