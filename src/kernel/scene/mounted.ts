import { dentry, type MountFacts, mount, vfsmount } from "../members/file.ts";
import type { Thing } from "../members/row.ts";
import { defined, type Mutable } from "./known-facts.ts";
import { read } from "./procfs.ts";

/** A mount, and what may be added to what is known of it. */
export interface Mount {
  readonly id: string;
  readonly facts: Mutable<Partial<MountFacts>>;
  /** Its struct vfsmount. */
  readonly thing: Thing;
}

interface Line {
  readonly id: string;
  readonly parent: string;
  readonly root: string;
  readonly place: string;
}

/** SOCKFS_MAGIC, PIPEFS_MAGIC: they are mounted where nobody sees it. */
const internal: ReadonlySet<number> = new Set([0x534f434b, 0x50495045]);

/** A line of mountinfo: proc_pid_mountinfo(5). */
function lineOf(text: string): Line {
  const [id = "", parent = "", , root = "", place = ""] = text.split(" ");
  return { id, parent, root, place };
}

/** The mounts that a process sees, by their numbers. */
export class Mounts {
  readonly #lines: ReadonlyMap<string, Line>;
  readonly #mounts = new Map<string, Mount & { readonly whole: Thing }>();

  /** @param namespace what is known of the mount namespace @param folders by path: names that mounts lie over */
  constructor(
    pid: number | "self",
    private readonly namespace: Thing | undefined,
    private readonly folders = new Map<string, Thing>(),
  ) {
    const text = read(`/proc/${pid}/mountinfo`) ?? "";
    const lines = text.split("\n").slice(0, -1).map(lineOf);
    this.#lines = new Map(lines.map((line) => [line.id, line]));
  }

  /** Whether a mount shows all of its file system. */
  isWhole(id: string | null): boolean {
    return this.#lines.get(id ?? "")?.root === "/";
  }

  /** @param magic of its file system (statfs) */
  get(id: string, magic: number): Mount {
    const made = this.#get(id);
    if (!this.#lines.has(id) && internal.has(magic)) made.facts.isInternal = true;
    return made;
  }

  #get(id: string): Mount & { readonly whole: Thing } {
    const before = this.#mounts.get(id);
    if (before !== undefined) return before;
    const line = this.#lines.get(id);
    const facts: Mutable<Partial<MountFacts>> = { id: Number(id) };
    const whole = mount.of(facts);
    const made = { id, facts, whole, thing: vfsmount.of(facts, { whole }) };
    this.#mounts.set(id, made);
    if (line === undefined) return made; // one of the kernel's own, or one that this process does not see
    Object.assign(facts, defined({ namespace: this.namespace }));
    if (!this.#lines.has(line.parent)) return made;
    facts.parent = this.#get(line.parent).whole;
    if (line.parent !== id) facts.over = this.#folder(line.place);
    return made;
  }

  /** In the file system below. */
  #folder(path: string): Thing {
    const name = new TextEncoder().encode(path.slice(path.lastIndexOf("/") + 1));
    // mountinfo writes blanks and the like as their numbers.
    const folder = this.folders.get(path) ?? dentry.of(path.includes("\\") ? {} : { name });
    this.folders.set(path, folder);
    return folder;
  }

  /**
   * Gives, by the number of a mount, the same mount in the namespace of another process, a copy of this one; undefined where there is
   * none.
   */
  copyOf(pid: number, namespace: Thing | undefined): (id: string) => Mount | undefined {
    const copy = new Mounts(pid, namespace, this.folders);
    const ids = new Map([...copy.#lines.keys()].map((id) => [copy.#way(id), id]));
    return (id) => {
      const other = ids.get(this.#way(id));
      if (other === undefined) return undefined;
      const [{ facts }, made] = [this.#get(id), copy.#get(other)];
      Object.assign(made.facts, defined({ root: facts.root, superBlock: facts.superBlock }));
      return made;
    };
  }

  /** The way from the first mount to this one, as text. It is the same in a copy, where the mounts have other numbers. */
  #way(id: string, below = ""): string {
    const line = this.#lines.get(id);
    if (line === undefined) return below;
    const way = `${line.root} ${line.place}\n${below}`;
    return line.parent === id ? way : this.#way(line.parent, way);
  }
}
