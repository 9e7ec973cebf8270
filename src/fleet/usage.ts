/** What changed between two looks at processes. */
export interface Changes {
  /** Files that are used now and were not before, or only by other processes than now: it may be another file by the same name. */
  readonly begun: readonly string[];
  /** Files that no process uses any more. */
  readonly ended: readonly string[];
}

/** Which processes use which files, by the keys that maps have for them. Only what is used now is kept. */
export class Usage {
  readonly #files = new Map<number, ReadonlySet<string>>();
  readonly #users = new Map<string, Set<number>>();

  /** Numbers of the processes of which something is known. */
  get processes(): readonly number[] {
    return [...this.#files.keys()];
  }

  has = (pid: number): boolean => this.#files.has(pid);

  /** Numbers of the processes that use one of these files, ascending. */
  usersOf(keys: Iterable<string>): number[] {
    const pids = new Set([...keys].flatMap((key) => [...(this.#users.get(key) ?? [])]));
    return [...pids].sort((a, b) => a - b);
  }

  /** @param seen by process: the files that it uses now; none where it has ended */
  update(seen: ReadonlyMap<number, ReadonlySet<string>>): Changes {
    const before = new Map<string, ReadonlySet<number>>();
    const usersOf = (key: string): Set<number> => {
      const users = this.#users.get(key) ?? new Set();
      this.#users.set(key, users);
      if (!before.has(key)) before.set(key, new Set(users));
      return users;
    };
    for (const [pid, now] of seen) {
      const then = this.#files.get(pid) ?? new Set();
      for (const key of then) if (!now.has(key)) usersOf(key).delete(pid);
      for (const key of now) if (!then.has(key)) usersOf(key).add(pid);
      if (now.size > 0) this.#files.set(pid, now);
      else this.#files.delete(pid);
    }
    const [begun, ended]: [string[], string[]] = [[], []];
    for (const [key, old] of before) {
      const users = this.#users.get(key) ?? new Set();
      if (users.size === 0) {
        this.#users.delete(key);
        if (old.size > 0) ended.push(key);
      } else if (old.isDisjointFrom(users)) begun.push(key);
    }
    return { begun, ended };
  }
}
