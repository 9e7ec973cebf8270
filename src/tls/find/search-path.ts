import type { Machine } from "../../elf/elf.ts";
import type { Root } from "../../host/root.ts";
import { InputFile } from "../../input/input.ts";
import { nameOf, shownName } from "../../input/name.ts";
import type { Diagnostic } from "../../output/schema-parts.ts";
import { messageOf } from "../../self/thrown.ts";
import { type CacheEntry, cacheFlags, cacheIn } from "./ldcache.ts";
import { configured } from "./ldconf.ts";

const triples = ["x86_64-linux-gnu", "aarch64-linux-gnu", "x86_64-linux-musl", "aarch64-linux-musl"];

/** Folders searched for libraries beside the cache. Only absolute ones: the working directory is never searched. */
const standardFolders = [
  "/lib",
  "/usr/lib",
  "/lib64",
  "/usr/lib64",
  "/usr/local/lib",
  "/usr/local/lib64",
  ...triples.flatMap((triple) => [`/lib/${triple}`, `/usr/lib/${triple}`, `/usr/local/lib/${triple}`]),
  // Debian keeps its BoringSSL apart, so that no one links with it by chance.
  ...triples.map((triple) => `/usr/lib/${triple}/android`),
];

export const cachePath = "/etc/ld.so.cache";
/** musl's dynamic linker has no cache but a list of folders, one or several a line. */
export const muslPath = (machine: Machine): string => `/etc/ld-musl-${machine}.path`;
const largestMuslPath = 64 << 10;
/** Bytes that one of ldconfig's files may have. */
const largestConf = 64 << 10;
/** The folders that such a list of musl's names. @throws InputError */
export const muslFoldersIn = (file: InputFile): readonly string[] =>
  nameOf(file.read(0, file.size, "list of folders", largestMuslPath)).split(/[:\n]/);
/** The folders in which musl's dynamic linker looks where there is no such list. */
export const muslFolders: readonly string[] = ["/lib", "/usr/local/lib", "/usr/lib"];

/** Folders in which glibc's dynamic linker itself looks, behind its cache: Debian's first, then what most others have. */
export const glibcFolders = (machine: Machine): readonly string[] =>
  [`/${machine}-linux-gnu`, "64", ""].flatMap((end) => [`/lib${end}`, `/usr/lib${end}`]);

/**
 * How files of TLS libraries are called, and a function that each defines: `libssl.so.3`, `libssl.so.1.0.2k`, `libgnutls.so.30`; not
 * NSS's `libssl3.so`, not a link for compilers, not a debugger's script.
 */
const libraries = [
  { stem: "libssl", name: /^libssl\.so(\.\d+)+[a-z]{0,2}$/, defines: "SSL_new" },
  { stem: "libgnutls", name: /^libgnutls\.so(\.\d+)+$/, defines: "gnutls_init" },
] as const;
/** What a file is by its name: a TLS library that defines that function; null for any other. */
export const libraryCalled = (name: string): (typeof libraries)[number] | null =>
  libraries.find((one) => one.name.test(name)) ?? null;
/** Functions that make a connection: each TLS library that is known defines one of them. */
export const constructors: readonly string[] = libraries.map(({ defines }) => defines);

/** Where a tree's dynamic linkers look for libraries. Read once for all the libraries in it. */
export interface SearchPath {
  readonly cache: readonly CacheEntry[];
  /** Real paths inside the root, each once. One is looked for when it is asked for: the cache names most libraries. */
  readonly folders: () => IteratorObject<string>;
}

/** Reads where libraries may lie. What cannot be read is left out and told. */
export function readSearchPath(root: Root): { searchPath: SearchPath; diagnostics: readonly Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const refuse = (path: string, why: string): void => {
    diagnostics.push({ code: "W_TLS_SEARCH_PATH", message: `${shownName(path)} is not used: ${why}` });
  };
  const attempt = <T>(path: string, none: T, read: (file: InputFile) => T): T => {
    using reached = root.reach(path);
    if (reached === null) return none;
    try {
      using file = InputFile.of(reached.fd, shownName(reached.path));
      return read(file);
    } catch (error) {
      refuse(path, messageOf(error));
      return none;
    }
  };
  const cache = attempt(cachePath, [], cacheIn);
  const musl = (["x86_64", "aarch64"] as const).flatMap((machine) =>
    attempt(muslPath(machine), [], muslFoldersIn),
  );
  // What ldconfig makes the cache of: an image may have been built without it.
  const conf = configured(
    (path) => attempt(path, null, (file) => nameOf(file.read(0, file.size, "configuration", largestConf))),
    (folder) => root.list(folder),
    refuse,
  );
  const named = [...musl, ...conf, ...standardFolders].filter((folder) => folder.startsWith("/"));
  const todo = named.values();
  const found: string[] = [];
  const searchPath = {
    cache,
    // Each walk counts by itself, so that another may begin while one is paused.
    *folders() {
      for (let at = 0; ; at++) {
        while (at === found.length) {
          const { value: folder, done } = todo.next();
          if (done === true) return;
          const real = root.resolve(folder);
          if (real !== null && !found.includes(real)) found.push(real);
        }
        yield found[at] ?? "";
      }
    },
  };
  return { searchPath, diagnostics };
}

/** The real paths of all TLS libraries of a tree, by their names: each file once, however many names lead to it; in order of path. */
export function findLibraries(root: Root, { cache, folders }: SearchPath): readonly string[] {
  const names = [
    ...cache.filter((entry) => libraryCalled(entry.soname) !== null).map((entry) => entry.path),
    ...[...folders()].flatMap((folder) =>
      root
        .list(folder)
        .filter((name) => libraryCalled(name) !== null)
        .map((name) => `${folder}/${name}`),
    ),
  ].filter((path) => path.startsWith("/"));
  const files = new Map<string, string>();
  for (const name of new Set(names)) {
    using reached = root.reach(name);
    if (reached === null || !reached.stat.isFile()) continue;
    if (!files.has(reached.identity)) files.set(reached.identity, reached.path);
  }
  return [...files.values()].sort();
}

/** Folders of an RPATH or RUNPATH; some may be relative, or need `$LIB` or `$PLATFORM`. */
export const runFolders = (path: string | null, origin: string): string[] =>
  path === null || path === ""
    ? []
    : path.split(":").map((folder) => folder.replace(/\$(ORIGIN\b|\{ORIGIN\})/g, () => origin));

/**
 * Real paths a needed library may have, best first, looked up only as far as they are asked for: the order of ld.so(8),
 * without the environment of a process, which we do not know.
 */
export function* findNeeded(
  root: Root,
  { cache, folders }: SearchPath,
  soname: string,
  from: { folder: string; machine: Machine; rpath: string | null; runpath: string | null },
): Generator<string> {
  function* paths(): Generator<string> {
    for (const folder of runFolders(from.runpath ?? from.rpath, from.folder))
      if (!folder.includes("$")) yield `${folder}/${soname}`;
    for (const one of cache)
      if (one.soname === soname && one.flags === cacheFlags[from.machine]) yield one.path;
    for (const folder of folders()) yield `${folder}/${soname}`;
  }
  for (const path of paths()) {
    const real = path.startsWith("/") ? root.resolve(path) : null;
    if (real !== null) yield real;
  }
}
