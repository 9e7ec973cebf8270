import type { BigIntStats } from "node:fs";
import type { LibraryKind } from "../../../ffi/libc.ts";
import { Elf, type Machine } from "../../elf/elf.ts";
import { type HeldStep, type Reached, Root } from "../../host/root.ts";
import {
  checkExecutable,
  checkLacking,
  checkLookedIn,
  type OpenedFile,
  type PathStep,
  UntrustedError,
} from "../../host/trusted.ts";
import { InputError, InputFile, identityOf } from "../../input/input.ts";
import { folderOf, shownName } from "../../input/name.ts";
import { type CacheEntry, cacheFlags, cacheIn } from "../find/ldcache.ts";
import { type Located, openAt, type Place } from "../find/locate.ts";
import {
  cachePath,
  glibcFolders,
  muslFolders,
  muslFoldersIn,
  muslPath,
  runFolders,
} from "../find/search-path.ts";
import { isLibcrypto } from "../identify/version-nodes.ts";

/** Files to load: real libraries need ten, and the child has 64 descriptors (confine.ts). */
const mostFiles = 32;

/**
 * Parts of the GNU C library: what a library of another tree needs of them is this machine's, as is the C library that it
 * will find in the process.
 */
const ofGlibc = /^(?:ld-linux[^/]*|lib(?:c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|BrokenLocale))\.so\.\d+$/;

/** musl's own name, as musl itself and Alpine have it. All else that a program of musl's needs is in its tree. */
export const isOfMusl = (name: string): boolean => /^libc\.(?:so$|musl-)/.test(name);

/** What may be executed. */
export interface Trust {
  /** Where each of the files lies, by its identity. */
  readonly places: ReadonlyMap<string, Place>;
  /** The tree by which a place is judged: all folders from its root on. */
  readonly seenAs: (place: Place) => Omit<OpenedFile, "fd">;
  /** Whether a file or folder of this identity is trusted though others could have written it. */
  readonly isNamed: (identity: string) => boolean;
  /** Where procfs is mounted. */
  readonly proc: string;
}

/** A file cannot be loaded as it asks for. The message is a reason for a person. */
export class LoadError extends Error {
  override readonly name = "LoadError";
}

/** Files that a child loads, open as long as this is. */
export interface Loadable extends Disposable {
  /** Each comes behind all that it needs; the library is the last. */
  readonly fds: readonly number[];
  /** Which of them is the libcrypto. */
  readonly crypto: number;
  /** The C library that they are loaded beside. */
  readonly libc: LibraryKind;
}

/** How files are looked for, and what is asked of each. */
export interface Loading {
  readonly trust: Trust;
  /** @throws UntrustedError, LoadError, InputError, SystemError */
  readonly check: (elf: Elf) => void;
  readonly libc: LibraryKind;
}

/**
 * All that is loaded with a library, found as the dynamic linker finds it and held: the child loads these very files, each
 * before the one that needs it, so that the linker, which asks what is loaded by its name first, looks for none itself. What
 * this program was started with itself is in the child already.
 *
 * Not asked are the lists of audit libraries, which the linker heeds in programs alone, and ld.so.preload, of which
 * everything is in this process too.
 *
 * @throws UntrustedError, LoadError, InputError, SystemError
 */
export function closureOf(ssl: Elf, crypto: Elf, loading: Loading): Loadable {
  using held = new DisposableStack();
  const elves = new Closure(crypto, loading, held).of(ssl);
  const kept = held.move();
  return {
    fds: elves.map(({ fd }) => fd),
    crypto: elves.indexOf(crypto.identity === ssl.identity ? ssl : crypto),
    libc: loading.libc,
    [Symbol.dispose]: () => kept.dispose(),
  };
}

type Tree = Pick<Place, "root" | "container">;

/** A file that needs others. */
interface Needing {
  readonly elf: Elf;
  readonly place: Place;
  /** Which needs this; the library is needed by none. */
  readonly by: Needing | null;
}

const needs = ({ elf, by }: Needing, name: string): string =>
  `${by === null ? "it" : elf.path} needs ${shownName(name)}`;

class Closure {
  readonly #crypto: Elf;
  readonly #trust: Trust;
  readonly #check: (elf: Elf) => void;
  readonly #held: DisposableStack;
  readonly #own: Tree;
  /** Names of what this program is linked with. */
  readonly #present: ReadonlySet<string>;
  /** By soname; null while what it needs is looked for. */
  readonly #loaded = new Map<string, Elf | null>();
  readonly #caches = new Map<Root, readonly CacheEntry[]>();
  readonly #isMusl: boolean;

  constructor(crypto: Elf, { trust, check, libc }: Loading, held: DisposableStack) {
    this.#crypto = crypto;
    this.#trust = trust;
    this.#check = check;
    this.#isMusl = libc === "musl";
    this.#held = held;
    this.#own = { root: held.use(new Root("/")), container: null };
    using program = Elf.open("/proc/self/exe", "this program", { follow: true });
    this.#present = new Set(program.dynamic().needed);
  }

  /** The library and all that it needs, in the order in which they are to be loaded. */
  of(ssl: Elf): readonly Elf[] {
    this.#add({ elf: ssl, place: this.#placeOf(ssl), by: null }, ssl.dynamic().soname ?? ssl.path);
    return [...this.#loaded.values()].filter((elf) => elf !== null);
  }

  #placeOf({ identity, path }: Elf): Place {
    const place = this.#trust.places.get(identity);
    if (place === undefined) throw new UntrustedError(`nobody knows where ${path} lies`);
    return place;
  }

  #add(one: Needing, soname: string): void {
    this.#loaded.set(soname, null);
    if (this.#loaded.size > mostFiles) throw new LoadError(`it needs more than ${mostFiles - 1} libraries`);
    const { needed, filtees } = one.elf.dynamic();
    for (const name of [...needed, ...filtees]) this.#need(one, name);
    // Behind all that it needs.
    this.#loaded.delete(soname);
    this.#loaded.set(soname, one.elf);
  }

  #need(by: Needing, name: string): void {
    if (this.#isMusl ? isOfMusl(name) : this.#present.has(name)) return;
    const known = this.#loaded.get(name);
    const text = needs(by, name);
    if (known === null) throw new LoadError(`${text}, which needs it in turn`);
    if (known !== undefined) return;
    if (/[/$]/.test(name)) throw new LoadError(`${text} by a path, not by a name`);
    const located = by.by === null && isLibcrypto(name) ? this.#asCrypto() : this.#find(by, name);
    const { elf, place } = located;
    // The linker knows what is loaded by the name that it gives itself.
    if (elf.dynamic().soname !== name) {
      throw new LoadError(`${text}, but ${elf.path} gives itself another name`);
    }
    this.#add({ elf, place, by }, name);
  }

  /** The libcrypto is known: it was heard of in more ways than by the linker's search. */
  #asCrypto(): Omit<Located, keyof Disposable> {
    return { elf: this.#crypto, place: this.#placeOf(this.#crypto) };
  }

  /** The file that the linker takes for a name. What lies on the way there is trusted, and the file is. */
  #find(by: Needing, name: string): Located {
    for (const { tree, path } of this.#paths(by, name)) {
      const place = { ...tree, deleted: false, path };
      const found = this.#at(place, by, name);
      if (found === null) continue;
      const { located, way } = found;
      try {
        const { isNamed, proc, seenAs } = this.#trust;
        const seen = seenAs(located.place);
        const isWalked = seen.tree === located.place.root && seen.path === located.place.path;
        checkExecutable({ fd: located.elf.fd, ...seen, ...(isWalked && { way }) }, isNamed, proc);
        this.#check(located.elf);
      } catch (error) {
        if (!(error instanceof UntrustedError || error instanceof LoadError)) throw error;
        throw new UntrustedError(`${needs(by, name)}: ${error.message}`);
      }
      return located;
    }
    throw new LoadError(`${needs(by, name)}, which is not found`);
  }

  /** Paths in the linker's order (ld.so(8)), without the environment, of which the child has none. */
  *#paths(by: Needing, name: string): Generator<{ readonly tree: Tree; readonly path: string }> {
    const tree = by.place;
    const isOwn = tree.root.identity === this.#own.root.identity;
    if (this.#isMusl || !ofGlibc.test(name) || isOwn) {
      for (const folder of this.#runFolders(by, name)) yield { tree, path: `${folder}/${name}` };
      yield* this.#standard(tree, by.elf.machine, name);
    }
    // A tree may lack what the process has from elsewhere: of this machine's own, the linker would take it.
    if (!this.#isMusl && !isOwn) yield* this.#standard(this.#own, by.elf.machine, name);
  }

  /** RUNPATH; or RPATH, which holds for what is needed further on too (glibc), as both do in musl. */
  *#runFolders(by: Needing, name: string): Generator<string> {
    for (let one: Needing | null = by; one !== null; one = one.by) {
      const { rpath, runpath } = one.elf.dynamic();
      const isInherited = this.#isMusl || runpath === null;
      const folders = one === by || isInherited ? runFolders(runpath ?? rpath, folderOf(one.place.path)) : [];
      for (const folder of folders) {
        if (folder.startsWith("/") && !folder.includes("$")) yield folder;
        else
          throw new LoadError(
            `${needs(by, name)}, and where ${JSON.stringify(shownName(folder))} is cannot be told`,
          );
      }
      if (one === by && !isInherited) return;
    }
  }

  /** What the linker's own files say, and its own folders. */
  *#standard(tree: Tree, machine: Machine, name: string): Generator<{ tree: Tree; path: string }> {
    const { root } = tree;
    const folders = this.#isMusl
      ? (this.#read(root, muslPath(machine), muslFoldersIn) ?? muslFolders)
      : glibcFolders(machine);
    if (!this.#isMusl) {
      if (!this.#caches.has(root)) this.#caches.set(root, this.#read(root, cachePath, cacheIn) ?? []);
      const isIt = ({ soname, flags, path }: CacheEntry): boolean =>
        // The variants for newer processors are left to the linker, which knows this one.
        soname === name && flags === cacheFlags[machine] && !path.includes("/glibc-hwcaps/");
      const cached = this.#caches.get(root)?.find(isIt);
      if (cached !== undefined) yield { tree, path: cached.path };
    }
    for (const folder of folders) yield { tree, path: `${folder}/${name}` };
  }

  /** What a file of the linker's says, which is trusted as libraries are; null where there is none. */
  #read<T>(root: Root, path: string, read: (file: InputFile) => T): T | null {
    using reached = this.#reach(root, path, () => `the dynamic linker asks ${shownName(root.name(path))}`);
    if (reached === null) return null;
    const name = shownName(root.name(path));
    const fault = this.#fault(reached, () => checkLookedIn(name, reached.fd, reached.stat));
    if (fault !== null) throw new UntrustedError(`${fault}; --trust ${name} has it asked all the same`);
    using file = InputFile.of(reached.fd, shownName(root.name(reached.path)));
    return read(file);
  }

  /** The file at a place, and the way to it; null where the linker would look further. */
  #at(
    place: Place,
    by: Needing,
    name: string,
  ): { readonly located: Located; readonly way: readonly PathStep[] } | null {
    const what = () => `${needs(by, name)}, which is looked for at ${shownName(place.path)}`;
    using reached = this.#reach(place.root, place.path, what);
    if (reached === null || !reached.stat.isFile()) return null;
    try {
      const real = { ...place, path: reached.path };
      const located = openAt(reached.fd, real, shownName(place.root.name(real.path)));
      if (located.elf.machine === by.elf.machine)
        return { located: this.#held.use(located), way: reached.steps };
      located[Symbol.dispose]();
      return null;
    } catch (error) {
      if (error instanceof InputError) return null;
      throw error;
    }
  }

  /** @throws UntrustedError where others than the trusted say what a path leads to, but for a file that is trusted by name */
  #reach(root: Root, path: string, what: () => string): Reached | null {
    const faults: string[] = [];
    const seen: HeldStep[] = [];
    const note = (step: HeldStep, check: (name: string) => void): void => {
      const name = shownName(root.name(step.path) || "/");
      const fault = this.#fault(step, () => check(name));
      if (fault !== null)
        faults.push(`${what()}: ${fault}; --trust ${name} has it looked for there all the same`);
    };
    const reached = root.reach(path, (step) => {
      note(step, (name) => checkLookedIn(name, step.handle.fd, step.stat));
      seen.push(step);
    });
    const last = seen.at(-1);
    if (reached === null && last !== undefined) note(last, (name) => checkLacking(name, last.stat));
    const [fault] = faults;
    if (fault === undefined || (reached !== null && this.#trust.isNamed(reached.identity))) return reached;
    reached?.[Symbol.dispose]();
    throw new UntrustedError(fault);
  }

  /** Why something is not trusted; null where it is, or is named. */
  #fault({ stat }: { readonly stat: BigIntStats }, check: () => void): string | null {
    try {
      if (!this.#trust.isNamed(identityOf(stat))) check();
      return null;
    } catch (error) {
      if (error instanceof UntrustedError) return error.message;
      throw error;
    }
  }
}
