import { type BigIntStats, type Dirent, fstatSync, lstatSync, readdirSync } from "node:fs";
import {
  AT_FDCWD,
  fileSystem,
  openPath,
  PROC_SUPER_MAGIC,
  readLink,
  statusOf,
} from "../../ffi/descriptors.ts";
import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { InputFile, identityOf } from "../input/input.ts";
import { below, bytesOf, nameOf, shownName } from "../input/name.ts";
import { during } from "../self/whereabouts.ts";
import { checkHandle, checkPath } from "./mounts.ts";
import type { PathStep, Tree } from "./trusted.ts";

/** As many links as the kernel follows (path_resolution(7)). */
const mostLinks = 40;
const [ENOTDIR, ELOOP] = [20, 40];

/** Whether a name that was decoded as UTF-8 may have been of other bytes. */
const isLossy = (name: string): boolean => name.includes("\ufffd");

const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/** A folder or file on the way, held. */
export interface HeldStep extends PathStep {
  readonly handle: FileDescriptor;
}

/** A link of the kernel's own, which leads to a file and not to a name: those of a process's folder in procfs. */
export interface MagicLink {
  readonly name: string;
  /** The link itself. */
  readonly handle: FileDescriptor;
  /** The folders above it, the root first. */
  readonly above: readonly HeldStep[];
  /** The root that those are of. */
  readonly root: Root;
}

/** Where a {@link MagicLink} leads; null where the link is an ordinary one. What it holds lives as long as `held`. */
export type Jump = (
  link: MagicLink,
  held: DisposableStack,
) => { readonly root: Root; readonly steps: readonly HeldStep[]; readonly isLost?: boolean } | null;

/** Inside one root no link leads out of it. */
const refuse: Jump = ({ name, above }) => {
  if (processFolder(above) === null) return null;
  throw new SystemError(`open ${shownName(name)}`, ELOOP);
};

/** A file or folder that was reached: held by a handle (O_PATH), as is each folder on the way to it, until disposed. */
export class Reached implements Disposable {
  readonly #held: DisposableStack;

  constructor(
    readonly root: Root,
    /** The folders on the way, the root first, and then itself. */
    readonly steps: readonly [HeldStep, ...HeldStep[]],
    /** Whether it is not known where in the root it lies. */
    readonly isLost: boolean,
    held: DisposableStack,
  ) {
    this.#held = held;
  }

  get #last(): HeldStep {
    return this.steps.at(-1) ?? this.steps[0];
  }
  /** The real path inside the root. */
  get path(): string {
    return this.#last.path;
  }
  get stat(): BigIntStats {
    return this.#last.stat;
  }
  get identity(): string {
    return identityOf(this.stat);
  }
  get handle(): FileDescriptor {
    return this.#last.handle;
  }
  /** The descriptor of {@link handle}. */
  get fd(): number {
    return this.handle.fd;
  }

  /** Names in this folder; none where it cannot be read. */
  names(): readonly string[] {
    const folder = `/proc/self/fd/${this.fd}`;
    try {
      const names = readdirSync(folder);
      // A name of other bytes than UTF-8 was lost: all are read again as bytes.
      return names.some(isLossy) ? readdirSync(folder, { encoding: "buffer" }).map(nameOf) : names;
    } catch {
      return [];
    }
  }

  /** What is in this folder, by its names; none where it cannot be read. */
  entries(): readonly Pick<Dirent, "name" | "isFile" | "isDirectory">[] {
    try {
      const entries = readdirSync(`/proc/self/fd/${this.fd}`, { withFileTypes: true });
      // As of names; what each is is asked.
      if (!entries.some(({ name }) => isLossy(name))) return entries;
      return this.names().flatMap((name) => {
        const stat = this.statOf(name);
        return stat === null
          ? []
          : [{ name, isFile: () => stat.isFile(), isDirectory: () => stat.isDirectory() }];
      });
    } catch {
      return [];
    }
  }

  /** What lies in this folder, no link followed; null where nothing does. Only while this is held. */
  child(name: string): Reached | null {
    const path = below(this.path, name);
    using held = new DisposableStack();
    try {
      checkPath(this.root.name(path));
      const handle = held.use(openPath(this.fd, bytesOf(name), false, shownName(path)));
      const step = { path, handle, stat: statOf(handle, this.root.name(path)) };
      return new Reached(this.root, [...this.steps, step], this.isLost, held.move());
    } catch {
      return null;
    }
  }

  /** What a name in this folder is, no link followed; null where there is nothing to be seen. */
  statOf(name: string): BigIntStats | null {
    try {
      checkPath(this.root.name(below(this.path, name)));
      return lstatSync(bytesOf(`/proc/self/fd/${this.fd}/${name}`), { bigint: true });
    } catch {
      return null;
    }
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}

/**
 * A file system tree seen from its root, such as a container's `/proc/PID/root`. All paths given and returned are
 * absolute inside it; links are followed inside it too, so that an absolute link never leads to the host's file.
 *
 * The root is held by a handle, and a path is gone step by step, each step a handle from the one before: nobody who
 * changes names meanwhile leads out of the tree. The kernel's own RESOLVE_IN_ROOT does no more, and does not tell the
 * folders on the way, which whoever is to trust the file asks for.
 */
export class Root implements Tree, Disposable {
  readonly #host: string;
  readonly #step: HeldStep;

  /**
   * @param host where the tree lies on this host; absolute
   * @param handle the tree's first folder, which this takes over. Default: what lies at `host`
   * @throws Error when `host` is relative, SystemError where it cannot be looked at
   */
  constructor(host: string, handle?: FileDescriptor) {
    if (!host.startsWith("/")) throw new Error(`root ${host} is relative: give an absolute path`);
    this.#host = host.replace(/\/+$/, "");
    const held = handle ?? openPath(AT_FDCWD, bytesOf(`${host}/.`), true, shownName(host));
    this.#step = { path: "/", handle: held, stat: statOf(held, host) };
  }

  /** How this host calls a path inside the root. For people, and for what is asked by name: no file is opened by it. */
  name(path: string): string {
    return this.#host + path;
  }

  get identity(): string {
    return identityOf(this.#step.stat);
  }

  /**
   * What lies at a path.
   *
   * @param jump what to do with the kernel's own links in procfs. Default: none is followed
   * @param visit told each folder before a name is looked up in it, and each link before it is followed
   * @throws SystemError where there is nothing, a loop, or no permission to look
   */
  find(path: string, jump: Jump = refuse, visit: (step: HeldStep) => void = () => {}): Reached {
    using held = new DisposableStack();
    const shown = shownName(this.name(path));
    using _ = during(shown);
    let at: ReturnType<Jump> & object = { root: this, steps: [this.#step] };
    let links = 0;
    const todo = parts(path).reverse();
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      const { root, steps } = at;
      const folder = steps.at(-1) ?? this.#step;
      if (part === "..") {
        if (!folder.stat.isDirectory()) throw new SystemError(`open ${shown}`, ENOTDIR);
        if (steps.length > 1) at = { ...at, steps: steps.slice(0, -1) };
        continue;
      }
      visit(folder);
      const next = below(folder.path, part);
      checkPath(root.name(next));
      const handle = held.use(openPath(folder.handle.fd, bytesOf(part), false, shown));
      const stat = statOf(handle, root.name(next));
      if (!stat.isSymbolicLink()) {
        at = { ...at, steps: [...steps, { path: next, handle, stat }] };
        continue;
      }
      visit({ path: next, handle, stat });
      links += 1;
      if (links > mostLinks) throw new SystemError(`open ${shown}`, ELOOP);
      const jumped = isProc(handle) ? jump({ name: part, handle, above: steps, root }, held) : null;
      if (jumped !== null) {
        at = jumped;
        continue;
      }
      const target = nameOf(readLink(handle.fd));
      if (target.startsWith("/")) at = { root, steps: [root.#step] };
      todo.push(...parts(target).reverse());
    }
    const [first = this.#step, ...rest] = at.steps;
    return new Reached(at.root, [first, ...rest], at.isLost === true, held.move());
  }

  /** What lies at a path; null where there is nothing, a loop, or no permission to look. @param visit as of {@link find} */
  reach(path: string, visit?: (step: HeldStep) => void): Reached | null {
    try {
      return this.find(path, refuse, visit);
    } catch (error) {
      if (error instanceof SystemError) return null;
      throw error;
    }
  }

  /** The real path inside the root; null as of {@link reach}. */
  resolve(path: string): string | null {
    using reached = this.reach(path);
    return reached?.path ?? null;
  }

  /** Opens the file at a path. @throws InputError, SystemError */
  open(path: string): InputFile {
    using reached = this.find(path);
    return InputFile.of(reached.fd, shownName(path));
  }

  /** Names in the folder at a path; none where it cannot be read. */
  list(path: string): readonly string[] {
    using reached = this.reach(path);
    return reached?.names() ?? [];
  }

  /** The folders that lead to a path, the root first, and then what lies there; null as of {@link reach}. */
  way(path: string): readonly PathStep[] | null {
    using reached = this.reach(path);
    return reached?.steps.map(({ path: at, stat }) => ({ path: at, stat })) ?? null;
  }

  /** Itself as if reached: its first folder alone. */
  get start(): readonly [HeldStep] {
    return [this.#step];
  }

  [Symbol.dispose](): void {
    this.#step.handle[Symbol.dispose]();
  }
}

/** Whether a handle leads into a procfs. @throws SystemError */
export const isProc = ({ fd }: FileDescriptor): boolean => fileSystem(fd).type === PROC_SUPER_MAGIC;
/** What a handle leads to. @throws DeadMountError where its file system could not say, SystemError where it does not */
export function statOf(handle: FileDescriptor, path: string): BigIntStats {
  checkHandle(handle.fd, path);
  return statusOf(handle.fd, shownName(path));
}

/** The index of the folder that a process (or thread) has in procfs, among folders; null where none is one. */
export function processFolder(folders: readonly HeldStep[]): number | null {
  for (const [index, { handle }] of [...folders.entries()].reverse()) {
    if (!isProc(handle)) return null;
    try {
      using root = openPath(handle.fd, Buffer.from("root"), false, "root");
      if (fstatSync(root.fd).isSymbolicLink()) return index;
    } catch {}
  }
  return null;
}
