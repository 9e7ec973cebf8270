import type { BigIntStats } from "node:fs";
import type { Reached, Root } from "../../host/root.ts";
import { below, lastOf, shownName } from "../../input/name.ts";
import { type Candidate, candidateAt } from "./candidate.ts";
import { libraryCalled } from "./search-path.ts";

/** Where programs are installed. Walked only when all is asked for. */
const programFolders = ["/bin", "/sbin", "/lib", "/lib64", "/usr", "/opt", "/srv", "/home", "/root", "/snap"];
const mostEntries = 2_000_000;
/** How deep folders are walked: each on the way is held open meanwhile. */
const mostDepth = 100;
/** Bytes. Every file with a TLS library in it is larger. */
const smallestFile = 16 << 10;

/** What is walked, and who hears of what was left out. */
export interface WalkedTree {
  readonly root: Root;
  /** The root's own place on this host, where it is not the machine's. */
  readonly container: string | null;
  /** Whether it is a tree that this machine does not run. */
  readonly isImage: boolean;
  readonly tell: (message: string) => void;
}

/** Finds every file in folders of one tree that could be a program or a library. */
export class FolderWalk {
  readonly #options: WalkedTree;
  /** Folders that were walked, by device and inode. */
  readonly #seen = new Set<string>();
  #entries = 0;
  #isOver = false;
  /** Something lies too deep, which was told. */
  #isDeep = false;

  constructor(options: WalkedTree) {
    this.#options = options;
  }

  /** Those of the folders where programs are installed. */
  *programs(): Generator<Candidate> {
    for (const start of programFolders) {
      using folder = this.#options.root.reach(start);
      if (folder !== null) yield* this.within(folder);
    }
  }

  /** Those in and below one folder, on one file system: other mounts may be remote, and a bind mount would show the same files again. */
  *within(folder: Reached, device = folder.stat.dev): Generator<Candidate> {
    if (!folder.stat.isDirectory() || folder.stat.dev !== device || this.#seen.has(folder.identity)) return;
    this.#seen.add(folder.identity);
    if (folder.steps.length > mostDepth) {
      const what = `more than ${mostDepth} folders inside each other; name what lies below`;
      if (!this.#isDeep) this.#tellEnd(folder, what);
      this.#isDeep = true;
      return;
    }
    for (const entry of folder.entries()) {
      if (this.#isOver) return;
      this.#entries += 1;
      if (this.#entries > mostEntries) {
        this.#tellEnd(folder, `more than ${mostEntries} files; name the others`);
        this.#isOver = true;
        return;
      }
      if (entry.isDirectory()) {
        using next = folder.child(entry.name);
        if (next !== null) yield* this.within(next, device);
      } else if (entry.isFile()) {
        yield* this.#program(below(folder.path, entry.name), folder.statOf(entry.name));
      }
    }
  }

  #tellEnd({ path }: Reached, what: string): void {
    const { root, tell } = this.#options;
    tell(`the walk ended at ${shownName(root.name(path))}: ${what}`);
  }

  #program(path: string, stat: BigIntStats | null): readonly Candidate[] {
    if (stat === null || stat.size < smallestFile) return [];
    const name = lastOf(path);
    if (!/\.so(\.|$)/.test(name) && (stat.mode & 0o111n) === 0n) return [];
    const { root, container, isImage } = this.#options;
    const place = { root, path, container, deleted: false };
    return [candidateAt(place, stat, { isSure: libraryCalled(name) !== null, isImage })];
  }
}
