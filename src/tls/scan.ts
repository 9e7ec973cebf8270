import { type Dirent, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { Elf } from "../elf/elf.ts";
import { InputError, identityOf, largestFile } from "../elf/input.ts";
import type { Diagnostic } from "../output/document.ts";
import { exitCodes, Failure } from "../output/failure.ts";
import { findLibssl, findNeeded, isLibssl, readSearchPath, type SearchPath } from "./find.ts";
import { type Handle, Locator, openHandle, type Place } from "./locate.ts";
import { namesakeOf, otherInside, otherLibrary } from "./others.ts";
import { type MappedFile, type Processes, readProcesses } from "./processes.ts";
import { Root } from "./root.ts";
import { type Companion, holdsTls } from "./version.ts";

/** A file with a TLS library in it. */
export interface Found extends Place {
  readonly handle: Handle;
  readonly searchPath: SearchPath;
  /** Processes that execute it, ascending, this one excluded. */
  readonly usedBy: readonly number[];
  /** The libcryptos those have mapped. */
  readonly companions: readonly Companion[];
}

/** What is looked at. */
export type Scope =
  /** Where dynamic linkers look, and what processes have mapped; `deep`: all folders with programs too. */
  | { readonly kind: "machine"; readonly deep: boolean }
  /** What one process has mapped. */
  | { readonly kind: "process"; readonly pid: number }
  /** Files that the user named, or the library they use. */
  | { readonly kind: "files"; readonly paths: readonly string[] };

export interface ScanOptions {
  /** The machine's tree; absolute. */
  readonly root: string;
  /** Where procfs is mounted; null: no process is looked at. */
  readonly proc: string | null;
  readonly scope: Scope;
  /** Told after each file that was looked into. */
  readonly progress?: (done: number, total: number) => void;
}

export interface ScanResult {
  /** Each file once, in order of path. */
  readonly found: readonly Found[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Where programs are installed. Walked only when all is asked for. */
const programFolders = ["/bin", "/sbin", "/lib", "/lib64", "/usr", "/opt", "/srv", "/home", "/root", "/snap"];
const mostEntries = 2_000_000;
/** Files that `holdsTls` could say yes to are larger; bytes. */
const smallestFile = 16 << 10;
/** How many libraries deep a program's own are searched for the one with TLS. */
const mostNeeded = 512;
/** How many that were not found are named. */
const mostMissing = 5;

const rootAdvice = (): string => (process.geteuid?.() === 0 ? "" : "; run as root to look at more");
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const files = (count: number): string => `${count} file${count === 1 ? "" : "s"}`;

/** Finds TLS libraries. Files are read, never executed. @throws Failure where the one process asked for cannot be read */
export function scan({ root: host, proc, scope, progress }: ScanOptions): ScanResult {
  return new Scan(host, proc, progress).run(scope);
}

/** What a file that the user named leads to. */
interface Linked {
  /** The library; null where there is none of a kind that is known here. */
  readonly found: string | null;
  /** TLS libraries of other kinds that were met before it, and the files they are. */
  readonly others: readonly { readonly what: string; readonly at: string }[];
  /** Names of libraries that are needed and were not found. */
  readonly missing: ReadonlySet<string>;
}

/** Why there is nothing to look at in a named file. */
function withoutTls(path: string, missing: ReadonlySet<string>): string {
  const inside = isLibssl(basename(path))
    ? "a libssl by its name, but it defines no SSL_new"
    : "no TLS library is inside";
  if (missing.size === 0) return `${inside}, and none that it links was found`;
  const first = [...missing]
    .slice(0, mostMissing)
    .map((soname) =>
      namesakeOf(soname) === null ? soname : `${soname} (${namesakeOf(soname)}: not supported)`,
    );
  const others = missing.size > mostMissing ? ` and ${missing.size - mostMissing} more` : "";
  return `${inside}; it needs ${first.join(", ")}${others}, not found here`;
}

/** A candidate and how it was come by. */
interface Candidate {
  readonly handle: Handle;
  readonly place: () => Place;
  /** Its name or its finder says that it is one, so that what is wrong with it is told. */
  readonly isSure: boolean;
}

class Scan {
  readonly #main: Root;
  /** The tree that the user's paths are of. */
  readonly #here: Root;
  readonly #proc: string | null;
  readonly #locator: Locator;
  readonly #progress: (done: number, total: number) => void;
  readonly #diagnostics: Diagnostic[] = [];
  readonly #searchPaths = new Map<Root, SearchPath>();
  #processes: Processes = { files: [], count: 0, denied: [], cut: [] };
  /** Mapped files by identity, filled as they are asked for. */
  readonly #handles = new Map<MappedFile, Handle | "denied" | null>();

  constructor(host: string, proc: string | null, progress: ScanOptions["progress"]) {
    this.#main = new Root(host);
    this.#here = host === "/" ? this.#main : new Root("/");
    this.#proc = proc;
    this.#locator = new Locator(proc ?? "/proc", { root: this.#main, host });
    this.#progress = progress ?? (() => {});
  }

  run(scope: Scope): ScanResult {
    if (this.#proc !== null) this.#readProcesses(this.#proc, scope);
    const candidates = new Map<string, Candidate>();
    // The first finder of a file names it.
    for (const one of this.#candidates(scope)) {
      if (!candidates.has(one.handle.identity)) candidates.set(one.handle.identity, one);
    }
    const chosen = this.#sift([...candidates.values()]);
    const mapped = this.#mappedBy(new Set(chosen.map((one) => one.handle.identity)), scope);
    const found = chosen.map(({ handle, place }) =>
      this.#finding(handle, place(), mapped.get(handle.identity) ?? []),
    );
    this.#tellUnread();
    const order = ({ container, path }: Found): string => `${container ?? ""}\0${path}`;
    return {
      found: found.sort((a, b) => (order(a) < order(b) ? -1 : 1)),
      diagnostics: this.#diagnostics,
    };
  }

  #candidates(scope: Scope): readonly Candidate[] {
    if (scope.kind === "files") return scope.paths.flatMap((path) => this.#named(path));
    if (scope.kind === "process") {
      return this.#mapped(({ uses }) => uses.some(({ pid }) => pid === scope.pid));
    }
    const standard = this.#standard(this.#main, null);
    const mapped = this.#mapped(() => true);
    if (!scope.deep) return [...standard, ...mapped];
    const containers = new Map<Root, string>();
    for (const { place } of mapped) {
      const { root, container } = place();
      if (container !== null) containers.set(root, container);
    }
    const others = [...containers].flatMap(([root, container]) => this.#standard(root, container));
    return [...standard, ...mapped, ...others, ...this.#walk()];
  }

  /** Where a tree's dynamic linkers look. */
  #standard(root: Root, container: string | null): readonly Candidate[] {
    return findLibssl(root, this.#searchPath(root, container)).flatMap((path) =>
      this.#inTree(root, path, container, true),
    );
  }

  #inTree(root: Root, path: string, container: string | null, isSure: boolean): readonly Candidate[] {
    try {
      const stat = root.stat(path);
      if (stat === null || !stat.isFile()) return [];
      const handle = {
        host: root.host(path),
        follow: false,
        identity: identityOf(stat),
        size: Number(stat.size),
      };
      return [{ handle, isSure, place: () => ({ root, path, container, deleted: false }) }];
    } catch {
      return [];
    }
  }

  #mapped(isWanted: (file: MappedFile) => boolean): readonly Candidate[] {
    return this.#processes.files.filter(isWanted).flatMap((file) => {
      const handle = this.#handle(file);
      if (handle === null || handle === "denied") return [];
      const isSure = isLibssl(basename(file.path));
      return [{ handle, isSure, place: () => this.#locator.place(file, handle) }];
    });
  }

  #handle(file: MappedFile): Handle | "denied" | null {
    const known = this.#handles.get(file);
    if (known !== undefined) return known;
    const handle = this.#locator.handle(file);
    this.#handles.set(file, handle);
    return handle;
  }

  /** The candidates that hold a TLS library. */
  #sift(candidates: readonly Candidate[]): readonly Candidate[] {
    const huge = candidates.filter(({ handle }) => handle.size > largestFile);
    const [first] = huge;
    if (first !== undefined) {
      const those = huge.length === 1 ? "" : ` and ${files(huge.length - 1)} more`;
      const message = `${first.place().path}${those} not read: more than 512 MiB`;
      this.#diagnostics.push({ code: "W_TLS_LARGE", message });
    }
    return candidates.filter((one, index) => {
      this.#progress(index + 1, candidates.length);
      return one.isSure || (one.handle.size <= largestFile && holds(one.handle));
    });
  }

  /** Which mapped files are which, for those that matter: the inode alone rules nearly all out. */
  #mappedBy(identities: ReadonlySet<string>, scope: Scope): ReadonlyMap<string, readonly MappedFile[]> {
    const inodes = new Set([...identities].map((identity) => identity.split(":")[1]));
    const mapped = new Map<string, MappedFile[]>();
    for (const file of this.#processes.files) {
      // A machine's files have all been looked at: where stat(2) tells another inode than maps, that counts too.
      if (scope.kind !== "machine" && !inodes.has(file.inode)) continue;
      const handle = this.#handle(file);
      if (handle === null || handle === "denied" || !identities.has(handle.identity)) continue;
      mapped.set(handle.identity, [...(mapped.get(handle.identity) ?? []), file]);
    }
    return mapped;
  }

  #finding(handle: Handle, place: Place, mapped: readonly MappedFile[]): Found {
    const pids = new Set(mapped.flatMap(({ uses }) => uses.map(({ pid }) => pid)));
    const companions = this.#cryptos().flatMap((file): Companion[] => {
      if (!file.uses.some(({ pid }) => pids.has(pid))) return [];
      const crypto = this.#handle(file);
      if (crypto === null || crypto === "denied") return [];
      return [{ name: basename(file.path), open: () => openHandle(crypto, file.path) }];
    });
    const searchPath = this.#searchPath(place.root, place.container);
    return { ...place, handle, searchPath, companions, usedBy: [...pids].sort((a, b) => a - b) };
  }

  #cryptoFiles: readonly MappedFile[] | undefined;
  #cryptos(): readonly MappedFile[] {
    this.#cryptoFiles ??= this.#processes.files.filter(({ path }) => /^libcrypto[-.]/.test(basename(path)));
    return this.#cryptoFiles;
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
  #named(name: string): readonly Candidate[] {
    const refuse = (why: string): readonly Candidate[] => {
      this.#diagnostics.push({ code: "E_TLS_PATH", message: `${name}: ${why}` });
      return [];
    };
    try {
      const real = realpathSync(resolve(name));
      const stat = statSync(real, { bigint: true });
      if (!stat.isFile()) return refuse("not a regular file");
      const root = this.#here;
      const { found, others, missing } = this.#linked(root, real);
      for (const { what, at } of others) {
        const where = at === real ? "" : `, which it uses: ${at}`;
        const message = `${name}: ${what}: not supported${where}`;
        this.#diagnostics.push({ code: "E_TLS_UNSUPPORTED", message });
      }
      if (found === null) return others.length > 0 ? [] : refuse(withoutTls(real, missing));
      if (found !== real) {
        const message = `${name}: only uses TLS; the library it is linked with is ${found}`;
        this.#diagnostics.push({ code: "W_TLS_IMPORTS", message });
      }
      return this.#inTree(root, found, null, true);
    } catch (error) {
      if (error instanceof InputError) return refuse(error.message.replace(`${error.path}: `, ""));
      return refuse(
        error instanceof Error && "code" in error ? `cannot be read: ${error.code}` : messageOf(error),
      );
    }
  }

  /** The first file with TLS inside among a file and all that it needs, in the linker's order. @throws InputError */
  #linked(root: Root, path: string): Linked {
    const searchPath = this.#searchPath(root, null);
    const others: { what: string; at: string }[] = [];
    const missing = new Set<string>();
    const seen = new Set([path]);
    // A set is walked in order of insertion, with what is added meanwhile.
    for (const each of seen) {
      try {
        using elf = Elf.open(root.host(each), each);
        const { needed, soname: own, rpath, runpath } = elf.dynamic();
        if (namesakeOf(own) === null && holdsTls(elf)) return { found: each, others, missing };
        const what = otherLibrary(elf) ?? (each === path ? otherInside(elf) : null);
        if (what !== null) {
          others.push({ what, at: each });
          continue;
        }
        const from = { folder: dirname(each), machine: elf.machine, rpath, runpath };
        for (const soname of needed.filter((one) => !one.includes("/"))) {
          const there = findNeeded(root, searchPath, soname, from).find(
            (candidate) => machineOf(root, candidate) === elf.machine,
          );
          if (there === undefined) missing.add(soname);
          else if (seen.size < mostNeeded) seen.add(there);
        }
      } catch (error) {
        if (each === path) throw error;
      }
    }
    return { found: null, others, missing };
  }

  /** Every file of the program folders that could be a program or a library. */
  *#walk(): Generator<Candidate> {
    const seen = new Set<string>();
    let entries = 0;
    for (const start of programFolders) {
      const real = this.#main.resolve(start);
      const device = real === null ? undefined : this.#main.stat(real)?.dev;
      const todo = real === null ? [] : [real];
      for (let folder = todo.pop(); folder !== undefined; folder = todo.pop()) {
        try {
          const stat = this.#main.stat(folder);
          // Other mounts may be remote, and a bind mount would show the same files again.
          if (stat === null || !stat.isDirectory() || stat.dev !== device) continue;
          if (seen.has(identityOf(stat))) continue;
          seen.add(identityOf(stat));
          for (const entry of list(this.#main.host(folder))) {
            entries += 1;
            if (entries > mostEntries) {
              const message = `the walk ended at ${folder}: more than ${mostEntries} files; name the others`;
              this.#diagnostics.push({ code: "W_TLS_WALK", message });
              return;
            }
            const path = `${folder === "/" ? "" : folder}/${entry.name}`;
            if (entry.isDirectory()) todo.push(path);
            else if (entry.isFile()) yield* this.#program(path);
          }
        } catch {}
      }
    }
  }

  #program(path: string): readonly Candidate[] {
    const stat = this.#main.stat(path);
    if (stat === null || stat.size < smallestFile) return [];
    const isLibrary = /\.so(\.|$)/.test(basename(path));
    if (!isLibrary && (stat.mode & 0o111n) === 0n) return [];
    return this.#inTree(this.#main, path, null, isLibssl(basename(path)));
  }

  #readProcesses(proc: string, scope: Scope): void {
    try {
      this.#processes = readProcesses(proc);
    } catch (error) {
      const message = `${proc} cannot be listed, so no process was looked at: ${messageOf(error)}`;
      this.#diagnostics.push({ code: "W_TLS_PROCESSES", message });
    }
    if (scope.kind !== "process") return;
    const { pid } = scope;
    if (this.#processes.denied.includes(pid)) {
      throw new Failure(
        "E_PERMISSION",
        `process ${pid} may not be looked at${rootAdvice()}`,
        exitCodes.impossible,
      );
    }
    if (statSync(`${proc}/${pid}`, { throwIfNoEntry: false }) === undefined)
      throw new Failure("E_TLS_PID", `there is no process ${pid} in ${proc}`);
  }

  /** One line for all that was refused, however much it was. */
  #tellUnread(): void {
    const { count, denied, cut } = this.#processes;
    const refusedFiles = [...this.#handles].filter(([, handle]) => handle === "denied").length;
    const refused = [
      ...(denied.length === 0 ? [] : [`${denied.length} of ${count} processes`]),
      ...(refusedFiles === 0 ? [] : [`${files(refusedFiles)} that they have mapped`]),
    ];
    if (refused.length > 0) {
      const message = `${refused.join(" and ")} may not be looked at${rootAdvice()}`;
      this.#diagnostics.push({ code: "W_TLS_DENIED", message });
    }
    if (cut.length > 0) {
      const message = `of process ${cut.join(", ")} only the first 16 MiB of maps were read`;
      this.#diagnostics.push({ code: "W_TLS_MAPS", message });
    }
  }
}

function list(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

/** Whether a file holds TLS; no where it is not ELF, is damaged, or cannot be read. */
function holds(handle: Handle): boolean {
  try {
    using elf = openHandle(handle, handle.host);
    return holdsTls(elf);
  } catch {
    return false;
  }
}

/** Null where it is no library. */
function machineOf(root: Root, path: string): Elf["machine"] | null {
  try {
    using elf = Elf.open(root.host(path), path);
    return elf.machine;
  } catch {
    return null;
  }
}
