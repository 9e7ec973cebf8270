import { statSync } from "node:fs";
import { openPath, statusOf } from "../../../ffi/descriptors.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import { Elf } from "../../elf/elf.ts";
import { DeadMountError } from "../../host/mounts.ts";
import { isOthers } from "../../host/others.ts";
import { Root } from "../../host/root.ts";
import { InputError, InputFile, identityOf, largestFile } from "../../input/input.ts";
import { bytesOf, lastOf, shownName } from "../../input/name.ts";
import { Failure } from "../../output/failure.ts";
import type { Diagnostic } from "../../output/schema-parts.ts";
import { codeOf, isGone, messageOf } from "../../self/thrown.ts";
import { during, share } from "../../self/whereabouts.ts";
import { Budget } from "./budget.ts";
import { type Candidate, candidateAt } from "./candidate.ts";
import { FolderWalk } from "./folder-walk.ts";
import { holdsTls } from "./holds.ts";
import { linkedBy, type ReachedPlace, withoutTls } from "./linked.ts";
import { type Companion, type Handle, type Located, Locator, openAt, type Place } from "./locate.ts";
import { pathsOf, shownPath } from "./maps.ts";
import { type MappedFile, type Processes, readProcesses } from "./processes.ts";
import { findLibraries, libraryCalled, readSearchPath, type SearchPath } from "./search-path.ts";

/** A file with a TLS library in it. */
export interface FoundLibrary extends Place {
  /** As the user named it, where that was absolute. */
  readonly named: string | null;
  /** Opens that very file: it is held from when it was found. @throws InputError, SystemError */
  open(): Located;
  readonly searchPath: SearchPath;
  /** Processes that execute it, ascending, this one excluded. */
  readonly usedBy: readonly number[];
  /** How those have it mapped. */
  readonly mapped: readonly MappedFile[];
  /** The libcryptos those have mapped. */
  readonly companions: readonly Companion[];
  /** Only processes of other users, who are not root, lead to it. */
  readonly isOthers: boolean;
  /** Whether it lies in a tree that this machine does not run, of which nothing is executed. */
  readonly isImage: boolean;
}

/** What is looked at. */
export type Scope =
  /** Where dynamic linkers look, and what processes have mapped; `deep`: all folders with programs too. */
  | { readonly kind: "machine"; readonly deep: boolean }
  /** What one process has mapped. */
  | { readonly kind: "process"; readonly pid: number }
  /** Of the mapped files that were read of processes before, those that are wanted. */
  | {
      readonly kind: "mapped";
      readonly processes: Processes;
      readonly isWanted: (file: MappedFile) => boolean;
    }
  /** Files that the user named, or the library they use; `folders`: a folder is looked through, as an image. */
  | { readonly kind: "files"; readonly paths: readonly string[]; readonly folders?: boolean };

export interface ScanOptions {
  /** The machine's tree; absolute. */
  readonly root: string;
  /** Where procfs is mounted; null: no process is looked at. */
  readonly proc: string | null;
  readonly scope: Scope;
  /** The tree is none that runs here: an unpacked image, a mounted disk. The user's paths are of it. */
  readonly isImage?: boolean;
  /** Told after each file that was looked into. */
  readonly progress?: (done: number, total: number) => void;
}

/** Holds what was found until it is disposed. */
export interface ScanResult extends Disposable {
  /** Each file once, in order of path. */
  readonly found: readonly FoundLibrary[];
  readonly diagnostics: Diagnostic[];
  /** Whether a path of the user's leads to that very file. */
  isAt(path: string, identity: string): boolean;
  /** The tree that the user's paths are of. */
  readonly here: Root;
}

/** How many of the libcryptos that processes have mapped beside one libssl are asked for their version. */
const mostCompanions = 64;
/** How many TLS libraries that only processes of other users have are looked at: they may make any number, and each is held open. */
const mostOfOthers = 256;

const rootAdvice = (): string => (process.geteuid?.() === 0 ? "" : "; run as root to look at more");
const files = (count: number): string => `${count} file${count === 1 ? "" : "s"}`;

/** Finds TLS libraries. Files are read, never executed. @throws Failure where the one process asked for cannot be read */
export function scan({ root: host, proc, scope, isImage = false, progress }: ScanOptions): ScanResult {
  using held = new DisposableStack();
  const result = new Scan(host, isImage ? null : proc, { progress, held, isImage }).run(scope);
  const kept = held.move();
  return { ...result, [Symbol.dispose]: () => kept.dispose() };
}

/** A candidate that holds a TLS library: held. */
interface Chosen {
  readonly fd: FileDescriptor;
  readonly identity: string;
  readonly place: Place;
  readonly named: string | null;
  readonly isOthers: boolean;
}

/** A libcrypto that processes have mapped; the lower its number, the earlier it was heard of. */
interface Crypto {
  readonly number: number;
  readonly name: string;
  readonly file: MappedFile;
}

class Scan {
  readonly #held: DisposableStack;
  readonly #main: Root;
  /** The main tree's own place, where this machine does not run it. */
  readonly #container: string | null;
  /** Trees that this machine does not run. */
  readonly #images = new Set<Root>();
  /** The tree that the user's paths are of. */
  readonly #here: Root;
  readonly #proc: string | null;
  readonly #locator: Locator;
  readonly #progress: (done: number, total: number) => void;
  readonly #diagnostics: Diagnostic[] = [];
  readonly #searchPaths = new Map<Root, SearchPath>();
  #processes: Processes = { files: [], count: 0, read: [], denied: [], cut: [], unread: [] };
  /**
   * The time for finding what processes of other users have: half of a share of the run, since looking at what is found takes the other
   * half (tls.ts).
   */
  readonly #budget = new Budget(share() / 2);
  /** How many of their files were not looked at. */
  #passedOver = 0;
  /** Mapped files by identity, filled as they are asked for. */
  readonly #handles = new Map<MappedFile, Handle | "denied" | null>();

  /** @param held takes over what is to be closed at the end */
  constructor(
    host: string,
    proc: string | null,
    {
      progress,
      held,
      isImage,
    }: { progress: ScanOptions["progress"]; held: DisposableStack; isImage: boolean },
  ) {
    this.#held = held;
    this.#main = held.use(new Root(host));
    this.#container = isImage ? host : null;
    if (isImage) this.#images.add(this.#main);
    this.#here = host === "/" || isImage ? this.#main : held.use(new Root("/"));
    this.#proc = proc;
    this.#locator = held.use(new Locator(proc ?? "/proc", { root: this.#main, host }, this.#here));
    this.#progress = progress ?? (() => {});
  }

  run(scope: Scope): Omit<ScanResult, typeof Symbol.dispose> {
    if (scope.kind === "mapped") this.#processes = scope.processes;
    else if (this.#proc !== null) this.#readProcesses(this.#proc, scope);
    const candidates = new Map<string, Candidate>();
    // A file has the name by which it was found first, unless that came from another user's process and there is another name.
    for (const one of this.#candidates(scope)) {
      const known = candidates.get(one.handle.identity);
      if (known === undefined || (known.isOthers === true && one.isOthers !== true))
        candidates.set(one.handle.identity, one);
    }
    const chosen = this.#sift([...candidates.values()]);
    const mapped = this.#mappedBy(new Set(chosen.map(({ identity }) => identity)), scope);
    const found = chosen.flatMap((one) => {
      const finding = () => this.#finding(one, mapped.get(one.identity) ?? []);
      return this.#bounded(one.isOthers, finding) ?? [];
    });
    this.#tellUnread(scope);
    const order = ({ container, path }: FoundLibrary): string => `${container ?? ""}\0${path}`;
    return {
      found: found.sort((a, b) => (order(a) < order(b) ? -1 : 1)),
      diagnostics: this.#diagnostics,
      isAt: (path, identity) => this.#isAt(path, identity),
      here: this.#here,
    };
  }

  #isAt(path: string, identity: string): boolean {
    try {
      using reached = this.#locator.named(this.#here, path);
      return reached.identity === identity;
    } catch {
      return false;
    }
  }

  #candidates(scope: Scope): readonly Candidate[] {
    if (scope.kind === "files")
      return scope.paths.flatMap((path) => this.#named(path, scope.folders === true));
    if (scope.kind === "process") {
      return this.#mapped(
        ({ uses }) => uses.some(({ pid }) => pid === scope.pid),
        () => false,
      );
    }
    if (scope.kind === "mapped") return this.#mapped(scope.isWanted, this.#isOthers);
    const standard = this.#standard(this.#main, this.#container);
    const mapped = this.#mapped(
      () => true,
      (file) => this.#isOthers(file),
    );
    if (!scope.deep) return [...standard, ...mapped];
    // The trees of processes of root or of this user come first.
    const containers = new Map<Root, { readonly container: string; readonly isOthers: boolean }>();
    for (const { handle, place, isOthers = false } of mapped) {
      const at = this.#bounded(isOthers, () => place(handle.identity));
      const { root, container } = at ?? { root: this.#main, container: this.#container };
      if (container !== null && !containers.has(root)) containers.set(root, { container, isOthers });
    }
    const others = [...containers].flatMap(([root, { container, isOthers }]) => {
      const candidates = this.#bounded(isOthers, () => this.#standard(root, container)) ?? [];
      return candidates.map((one) => ({ ...one, isOthers }));
    });
    return [...standard, ...mapped, ...others, ...this.#walk(this.#main, this.#container).programs()];
  }

  /** Where a tree's dynamic linkers look. */
  #standard(root: Root, container: string | null): readonly Candidate[] {
    return findLibraries(root, this.#searchPath(root, container)).flatMap((path) =>
      this.#inTree(root, path, container, true),
    );
  }

  #inTree(root: Root, path: string, container: string | null, isSure: boolean): readonly Candidate[] {
    using reached = root.reach(path);
    if (reached === null || !reached.stat.isFile()) return [];
    const place = { root, path: reached.path, container, deleted: false };
    return [candidateAt(place, reached.stat, { isSure, isImage: this.#images.has(root) })];
  }

  #mapped(
    isWanted: (file: MappedFile) => boolean,
    isOthersFile: (file: MappedFile) => boolean,
  ): readonly Candidate[] {
    return this.#processes.files.filter(isWanted).flatMap((file) => {
      const isOthers = isOthersFile(file);
      const handle = this.#bounded(isOthers, () => this.#handle(file));
      if (handle === null || handle === "denied") return [];
      const isSure = libraryCalled(lastOf(file.path)) !== null;
      const name = `${shownName(file.path)}, which process ${file.uses[0]?.pid} has mapped`;
      return [{ handle, name, isSure, isOthers, place: (identity) => this.#locator.place(file, identity) }];
    });
  }

  /** Does it at the cost of other users' time where it is for their files; null where nothing of that is left. */
  #bounded<Result>(isOthers: boolean, act: () => Result): Result | null {
    if (!isOthers) return act();
    if (!this.#budget.isSpent) return this.#budget.spend(act);
    this.#passedOver += 1;
    return null;
  }

  /** Whether no process of root's or this user's has it mapped: those come first. */
  #isOthers = ({ uses: [first] }: MappedFile): boolean => first !== undefined && !this.#isOwn(first.pid);

  #handle(file: MappedFile): Handle | "denied" | null {
    const known = this.#handles.get(file);
    if (known !== undefined) return known;
    const handle = this.#locator.handle(file);
    this.#handles.set(file, handle);
    return handle;
  }

  /** The candidates that hold a TLS library. */
  #sift(candidates: readonly Candidate[]): readonly Chosen[] {
    const huge = candidates.filter(({ handle }) => handle.size > largestFile);
    const [first] = huge;
    if (first !== undefined) {
      const those = huge.length === 1 ? "" : ` and ${files(huge.length - 1)} more`;
      const path = shownName(first.place(first.handle.identity).path);
      this.#diagnostics.push({ code: "W_TLS_LARGE", message: `${path}${those} not read: more than 16 GiB` });
    }
    let ofOthers = 0;
    let [ofImages, left] = [0, 0];
    const chosen = candidates.flatMap((one, index) => {
      this.#progress(index + 1, candidates.length);
      const { isOthers = false, isImage = false } = one;
      if (isOthers && ofOthers >= mostOfOthers) {
        this.#passedOver += 1;
        return [];
      }
      if (isImage && ofImages >= mostOfOthers) {
        left += 1;
        return [];
      }
      const chosen = this.#bounded(isOthers, () => this.#chosen(one)) ?? [];
      if (isOthers) ofOthers += chosen.length;
      if (isImage) ofImages += chosen.length;
      return chosen;
    });
    if (left > 0) {
      const message = `${files(left)} not looked at: ${mostOfOthers} before hold TLS libraries; name what is missing`;
      this.#diagnostics.push({ code: "E_TLS_MANY", message });
    }
    return chosen;
  }

  /** Opens a candidate for good where it holds a TLS library, or is to. */
  #chosen({ handle, name, place, named, isSure, isOthers = false }: Candidate): readonly Chosen[] {
    if (!isSure && handle.size > largestFile) return [];
    using taken = new DisposableStack();
    using _ = during(name);
    try {
      const fd = taken.use(handle.reach());
      if (!isSure && !holds(fd)) return [];
      const identity = identityOf(statusOf(fd.fd, name));
      this.#held.use(taken.move());
      return [{ fd, identity, place: place(identity), named: named ?? null, isOthers }];
    } catch (error) {
      // A file that was reached through a process is gone when the process is, which is no fault.
      if (isSure && !isGone(error)) this.#diagnostics.push({ code: "W_TLS_FILE", message: messageOf(error) });
      return [];
    }
  }

  /** Which mapped files are which, for those that matter: the inode alone rules nearly all out. */
  #mappedBy(identities: ReadonlySet<string>, scope: Scope): ReadonlyMap<string, readonly MappedFile[]> {
    const inodes = new Set([...identities].map((identity) => identity.split(":")[1]));
    const mapped = new Map<string, MappedFile[]>();
    for (const file of this.#processes.files) {
      // A machine's files have all been looked at: where stat(2) tells another inode than maps, that counts too.
      if (scope.kind !== "machine" && !inodes.has(file.inode)) continue;
      const handle = this.#bounded(this.#isOthers(file), () => this.#handle(file));
      if (handle === null || handle === "denied" || !identities.has(handle.identity)) continue;
      const known = mapped.get(handle.identity);
      if (known === undefined) mapped.set(handle.identity, [file]);
      else known.push(file);
    }
    return mapped;
  }

  #finding({ fd, place, named, isOthers }: Chosen, mapped: readonly MappedFile[]): FoundLibrary {
    const pids = new Set(mapped.flatMap(({ uses }) => uses.map(({ pid }) => pid)));
    const cryptos = [...new Set([...pids].flatMap((pid) => this.#cryptosOf(pid)))];
    const companions = cryptos
      .sort((one, other) => one.number - other.number)
      .slice(0, mostCompanions)
      .map(({ name, file }): Companion => {
        const isSure = file.uses.some(({ pid }) => pids.has(pid) && this.#isOwn(pid));
        return { name, isSure, open: () => this.#openMapped(file) };
      });
    const searchPath = this.#searchPath(place.root, place.container);
    const open = () => openAt(fd.fd, place, shownName(named ?? place.path));
    const usedBy = [...pids].sort((a, b) => a - b);
    const isImage = this.#images.has(place.root);
    return { ...place, named, open, searchPath, companions, usedBy, mapped, isOthers, isImage };
  }

  readonly #own = new Map<number, boolean>();
  /** Whether a process is root's or this user's. */
  #isOwn(pid: number): boolean {
    const known = this.#own.get(pid);
    if (known !== undefined) return known;
    let isOwn = false;
    try {
      isOwn = !isOthers(`${this.#proc}/${pid}`);
    } catch {}
    this.#own.set(pid, isOwn);
    return isOwn;
  }

  /** @throws InputError, SystemError */
  #openMapped(file: MappedFile): Located {
    const handle = this.#handle(file);
    const path = shownName(shownPath(pathsOf(file.path)).path);
    if (handle === null || handle === "denied") throw new InputError(path, 0, "no process has it any more");
    using fd = handle.reach();
    return openAt(fd.fd, this.#locator.place(file, identityOf(statusOf(fd.fd, path))));
  }

  #cryptos: ReadonlyMap<number, readonly Crypto[]> | undefined;
  /** The libcryptos that a process has mapped, by name: of a file in memory, whose own name says nothing, by that which it gives itself. */
  #cryptosOf(process: number): readonly Crypto[] {
    if (this.#cryptos === undefined) {
      const cryptos = new Map<number, Crypto[]>();
      for (const [number, file] of this.#processes.files.entries()) {
        const isInMemory = file.path.startsWith("/memfd:");
        const soname = () => this.#soname(file);
        const name = isInMemory ? this.#bounded(this.#isOthers(file), soname) : lastOf(file.path);
        if (name === null || !/^libcrypto[-.]/.test(name)) continue;
        const crypto = { number, name, file };
        for (const { pid } of file.uses) {
          const known = cryptos.get(pid);
          if (known === undefined) cryptos.set(pid, [crypto]);
          else known.push(crypto);
        }
      }
      this.#cryptos = cryptos;
    }
    return this.#cryptos.get(process) ?? [];
  }

  /** The soname that a mapped file gives itself; empty where it is no library. */
  #soname(file: MappedFile): string {
    try {
      using located = this.#openMapped(file);
      return located.elf.dynamic().soname ?? "";
    } catch {
      return "";
    }
  }

  #searchPath(root: Root, container: string | null): SearchPath {
    const known = this.#searchPaths.get(root);
    if (known !== undefined) return known;
    const { searchPath, diagnostics } = readSearchPath(root);
    const where = container === null ? "" : `${container}: `;
    for (const { code, message } of diagnostics) this.#diagnostics.push({ code, message: where + message });
    this.#searchPaths.set(root, searchPath);
    return searchPath;
  }

  /** A file the user named, or where it only imports TLS, the library it would be linked with. */
  #named(name: string, folders: boolean): readonly Candidate[] {
    const shown = shownName(name);
    const refuse = (why: string): readonly Candidate[] => {
      this.#diagnostics.push({ code: "E_TLS_PATH", message: `${shown}: ${why}` });
      return [];
    };
    try {
      const reached = this.#held.use(this.#reachNamed(name));
      const { place, stat, identity } = reached;
      if (folders && stat.isDirectory()) {
        const inside = this.#folder(reached);
        return inside.length > 0 ? inside : refuse("no library or program lies in or below it");
      }
      if (!stat.isFile()) return refuse("not a regular file");
      const { found, others, missing } = linkedBy(
        reached,
        shown,
        this.#searchPath(place.root, place.container),
      );
      const at = (path: string): string => shownName(place.root.name(path));
      for (const { what, path } of others) {
        const where = path === place.path ? "" : `, which it uses: ${at(path)}`;
        const message = `${shown}: ${what}: not supported${where}`;
        this.#diagnostics.push({ code: "E_TLS_UNSUPPORTED", message });
      }
      if (found === null) return others.length > 0 ? [] : refuse(withoutTls(place.path, missing));
      if (found !== place.path) {
        const message = `${shown}: only uses TLS; the library it is linked with is ${at(found)}`;
        this.#diagnostics.push({ code: "W_TLS_IMPORTS", message });
        return this.#inTree(place.root, found, place.container, true);
      }
      const handle = { identity, size: Number(stat.size), reach: () => reached.handle };
      // A relative name says nothing to who is in another folder.
      return [
        {
          handle,
          name: shown,
          isSure: true,
          isImage: this.#images.has(place.root),
          place: () => place,
          ...(name.startsWith("/") && { named: name }),
        },
      ];
    } catch (error) {
      if (error instanceof InputError) return refuse(error.message.replace(`${error.path}: `, ""));
      if (error instanceof DeadMountError) return refuse(error.reason);
      return refuse(codeOf(error) === undefined ? messageOf(error) : `cannot be read: ${codeOf(error)}`);
    }
  }

  /** @throws SystemError where there is nothing, or no permission to look */
  #reachNamed(name: string): ReachedPlace {
    if (!this.#images.has(this.#here)) return this.#locator.named(this.#here, name);
    // A link in an image's own procfs is not followed: it would lead out of the image.
    const reached = this.#here.find(name);
    const place = { root: this.#here, path: reached.path, container: this.#container, deleted: false };
    return Object.assign(reached, { place });
  }

  /** What could be a program or a library in a folder: it is a root of its own, so that no link leads out of it. */
  #folder({ place: { root: outer, path }, handle }: ReachedPlace): Candidate[] {
    const host = outer.name(path);
    const root = this.#held.use(new Root(host, openPath(handle.fd, bytesOf("."), true, shownName(host))));
    this.#images.add(root);
    using start = root.find("/");
    return [...this.#standard(root, host), ...this.#walk(root, host).within(start)];
  }

  #walk(root: Root, container: string | null): FolderWalk {
    const tell = (message: string) => void this.#diagnostics.push({ code: "W_TLS_WALK", message });
    return new FolderWalk({ root, container, isImage: this.#images.has(root), tell });
  }

  #readProcesses(proc: string, scope: Scope): void {
    try {
      const isOwn = (pid: number) => (scope.kind === "process" && pid === scope.pid) || this.#isOwn(pid);
      this.#processes = readProcesses(proc, { isOwn, budget: this.#budget });
    } catch (error) {
      const message = `${proc} cannot be listed, so no process was looked at: ${messageOf(error)}`;
      this.#diagnostics.push({ code: "W_TLS_PROCESSES", message });
    }
    if (scope.kind !== "process") return;
    const { pid } = scope;
    if (this.#processes.denied.includes(pid)) {
      throw new Failure("E_PERMISSION", `process ${pid} may not be looked at${rootAdvice()}`, "impossible");
    }
    if (statSync(`${proc}/${pid}`, { throwIfNoEntry: false }) === undefined)
      throw new Failure("E_TLS_PID", `there is no process ${pid} in ${proc}`);
  }

  /** One line for all that was refused, however much it was. */
  #tellUnread(scope: Scope): void {
    const { count, denied, cut, unread } = this.#processes;
    const refusedHandles = [...this.#handles].filter(([, handle]) => handle === "denied");
    const refusedFiles = refusedHandles.length;
    const refused = [
      ...(denied.length === 0 ? [] : [`${denied.length} of ${count} processes`]),
      ...(refusedFiles === 0 ? [] : [`${files(refusedFiles)} that they have mapped`]),
    ];
    if (refused.length > 0) {
      const message = `${refused.join(" and ")} may not be looked at${rootAdvice()}`;
      // Where one process was asked for, what could not be read may be the very library that was meant.
      const isAsked =
        scope.kind === "process" &&
        refusedHandles.some(([{ uses }]) => uses.some(({ pid }) => pid === scope.pid));
      this.#diagnostics.push({ code: isAsked ? "E_TLS_DENIED" : "W_TLS_DENIED", message });
    }
    if (unread.length > 0 || this.#passedOver > 0) {
      const parts = [
        ...(unread.length === 0 ? [] : [`${unread.length} of their processes`]),
        ...(this.#passedOver === 0 ? [] : [`${files(this.#passedOver)} that they have mapped`]),
      ];
      const message = `other users have so much mapped that ${parts.join(" and ")} were not looked at; name what is missing, by --pid or its path, or allow more with --deadline`;
      this.#diagnostics.push({ code: "E_TLS_OTHERS", message });
    }
    if (cut.length > 0) {
      const message = `of process ${cut.join(", ")} only the first 16 MiB of maps were read`;
      this.#diagnostics.push({ code: "W_TLS_MAPS", message });
    }
  }
}

/** Whether a file holds TLS; no where it is not ELF, is damaged, or cannot be read. */
function holds({ fd }: FileDescriptor): boolean {
  try {
    using elf = Elf.of(InputFile.of(fd, "a candidate"));
    return holdsTls(elf);
  } catch {
    return false;
  }
}
