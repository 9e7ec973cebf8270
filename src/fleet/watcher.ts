import type { BigIntStats } from "node:fs";
import { askMounts } from "../host/mounts.ts";
import { isOthers } from "../host/others.ts";
import { Root } from "../host/root.ts";
import { identityOf } from "../input/input.ts";
import { type ProcessEvent, ProcessEvents } from "../net/process-events.ts";
import type { LibraryReport } from "../output/document.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { messageOf } from "../self/thrown.ts";
import { now } from "../self/whereabouts.ts";
import { Budget } from "../tls/find/budget.ts";
import type { Place } from "../tls/find/locate.ts";
import { keyOf as keyInMaps, type MappedFile, type Processes, readProcesses } from "../tls/find/processes.ts";
import { RememberedReports } from "../tls/remembered.ts";
import { type TlsOptions, tlsReports } from "../tls/tls.ts";
import { Usage } from "./usage.ts";

/** The file that an event is about, and the processes that use it. */
export interface WatchedFile extends Pick<LibraryReport, "root" | "build_id"> {
  readonly path: string;
  readonly used_by: readonly number[];
}

/** What a watch tells. */
export type WatchEvent =
  | { readonly event: "used"; readonly library: LibraryReport }
  | ({ readonly event: "unused" } & WatchedFile)
  | ({ readonly event: "replaced"; readonly library: LibraryReport | null } & WatchedFile)
  | { readonly event: "watching"; readonly by: "process_events" | "polling"; readonly reason?: string };

export interface WatchOptions {
  /** How libraries are looked for and measured. */
  readonly tls: Pick<TlsOptions, "root" | "sources" | "allow" | "trust"> & {
    readonly proc: string;
    readonly patience: number;
  };
  readonly tell: (event: WatchEvent) => Promise<void>;
  readonly complain: (diagnostics: readonly Diagnostic[]) => void;
  /** Whether somebody ended the watch, or nobody reads any more. */
  readonly isOver: () => boolean;
}

/** Milliseconds between two looks at all processes, at least; and how many times as long as a look took. */
const [shortest, restPerLook] = [1000, 19];
/** Milliseconds after which a program that was started is looked at: it maps its libraries first, or opens them later. */
const delays = [2, 15, 60, 250];
/** How many programs that were started wait for a look of their own; any more are seen with the next look at all processes. */
const mostPending = 256;
/** Milliseconds of such looks between two looks at all, for root's and this user's programs and for all others'. */
const mostForPending = 100;
/** Milliseconds between two looks at all, at most: other users may have much measured. */
const longest = 60_000;
/** Milliseconds of a look at all that other users' processes may take. */
const forOthers = 500;
/** Milliseconds that a wait takes at most, so that whoever ends the watch need not wait longer. */
const turn = 200;

/** What maps know a file by, whether it still lies at its path or not. */
const keyOf = (file: MappedFile): string => keyInMaps(file).replace(/ \(deleted\)$/, "");

/** A file with a TLS library in it that is used. */
interface Entry {
  report: LibraryReport;
  readonly place: Place;
  /** The keys by which maps know it, several where it is mounted at several places. */
  readonly keys: Set<string>;
  /** What lies at its path, and what lay there the last time that it was another; null where nothing of it could be seen. */
  at: Stamp | null;
  next: Stamp | null;
}

interface Stamp {
  readonly identity: string;
  readonly content: string;
}
const stampOf = (stat: BigIntStats): Stamp => ({
  identity: identityOf(stat),
  content: `${identityOf(stat)} ${stat.size} ${stat.mtimeNs}`,
});

/**
 * Tells which TLS libraries, and programs with one inside, processes begin to use, cease to use, and have replaced, until it is over.
 * What is measured is remembered by its bytes. Memory grows with what is used at once.
 */
export async function watch(options: WatchOptions): Promise<void> {
  const watching = listen();
  using events = "reason" in watching ? null : watching;
  const watch = new Watch(options);
  const pending = new Map<number, Pending>();
  const spent = { own: 0, others: 0 };
  let [nextLook, isStarting] = [0, true];
  const never = new Promise<readonly ProcessEvent[]>(() => {});
  let next = events?.next() ?? never;
  while (!options.isOver()) {
    const start = now();
    if (start >= nextLook) {
      const took = await watch.look();
      if (isStarting)
        await options.tell({
          event: "watching",
          by: events === null ? "polling" : "process_events",
          ...("reason" in watching && { reason: watching.reason }),
        });
      Object.assign(spent, { own: 0, others: 0 });
      isStarting = false;
      nextLook = now() + Math.min(longest, Math.max(shortest, restPerLook * took));
      continue;
    }
    const awaited = [...pending].filter(([, { whose }]) => spent[whose] < mostForPending);
    const due = awaited.filter(([, one]) => one.due <= start);
    for (const [pid, { tries, whose }] of due) {
      const delay = delays[tries];
      if (delay === undefined) pending.delete(pid);
      else pending.set(pid, { whose, tries: tries + 1, due: start + delay });
    }
    for (const [whose, those] of Map.groupBy(due, ([, one]) => one.whose))
      spent[whose] += await watch.look(those.map(([pid]) => pid));
    if (due.length > 0) continue;
    const soonest = awaited.map(([, one]) => one.due - start);
    const wait = Math.max(1, Math.min(turn, nextLook - start, ...soonest));
    const happened = await Promise.race([next, Bun.sleep(wait)]);
    if (happened === undefined) continue;
    next = events?.next() ?? never;
    for (const event of happened) note(event);
  }
  if (events !== null) await next; // the read that goes on uses the descriptor that is closed behind this

  function note({ kind, pid }: ProcessEvent): void {
    const [delay = 0] = delays;
    if (kind === "exit" && watch.knows(pid)) pending.set(pid, { whose: "own", tries: delays.length, due: 0 });
    if (kind === "exec" && pending.size < mostPending)
      pending.set(pid, { whose: watch.isOwn(pid) ? "own" : "others", tries: 1, due: now() + delay });
  }
}

/** A process that is looked at again: the first of its looks is at `delays[0]`. */
interface Pending {
  readonly whose: "own" | "others";
  readonly tries: number;
  /** By the clock of whereabouts.ts. */
  readonly due: number;
}

/** Why processes are only asked in turn, where nobody tells of them. */
function listen(): ProcessEvents | { readonly reason: string } {
  try {
    return new ProcessEvents();
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

class Watch {
  readonly #options: WatchOptions;
  readonly #usage = new Usage();
  readonly #entries = new Map<string, Entry>();
  readonly #memory = new RememberedReports();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  knows = (pid: number): boolean => this.#usage.has(pid);

  /** Whether a process is root's or this user's; false where it is gone. */
  isOwn = (pid: number): boolean => {
    try {
      return !isOthers(`${this.#options.tls.proc}/${pid}`);
    } catch {
      return false;
    }
  };

  /**
   * Looks at these processes, or at all, and what they use.
   * @returns milliseconds of this process's own that it took, without what was measured of programs of root's and this user's
   */
  async look(only?: readonly number[]): Promise<number> {
    const start = process.cpuUsage();
    const { proc, patience } = this.#options.tls;
    if (only === undefined) await askMounts(proc, patience);
    const budget = new Budget(forOthers);
    const processes = readProcesses(proc, { isOwn: this.isOwn, budget, ...(only && { only }) });
    const { begun, ended } = this.#usage.update(this.#seen(processes, only === undefined));
    for (const key of ended) await this.#end(key);
    if (only === undefined) await this.#checkPaths();
    const took = millisecondsSince(start);
    if (begun.length === 0) return took;
    const isMeasured = await this.#begin(new Set(begun), processes);
    return isMeasured ? took : millisecondsSince(start);
  }

  /** The files of each process of which all is known, and of those that are no more. */
  #seen(
    { files, read, denied, cut, unread }: Processes,
    isAll: boolean,
  ): ReadonlyMap<number, ReadonlySet<string>> {
    const seen = new Map(read.map((pid) => [pid, new Set<string>()]));
    for (const file of files) for (const { pid } of file.uses) seen.get(pid)?.add(keyOf(file));
    if (!isAll) return seen;
    const there = new Set([...read, ...denied, ...cut, ...unread]);
    for (const pid of this.#usage.processes) if (!there.has(pid)) seen.set(pid, new Set());
    return seen;
  }

  async #end(key: string): Promise<void> {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    entry?.keys.delete(key);
    if (entry?.keys.size === 0) await this.#options.tell({ event: "unused", ...this.#fileOf(entry) });
  }

  /** @returns whether a TLS library is among them that root's or this user's programs use */
  async #begin(fresh: ReadonlySet<string>, processes: Processes): Promise<boolean> {
    let isFound = false;
    const { diagnostics } = await tlsReports({
      ...this.#options.tls,
      patience: null,
      memory: this.#memory,
      scope: { kind: "mapped", processes, isWanted: (file) => fresh.has(keyOf(file)) },
      each: async (report, { files, trust, mapped }) => {
        const place = trust.places.get(files.ssl.identity);
        const keys = new Set(mapped.map(keyOf).filter((key) => fresh.has(key)));
        if (place === undefined || keys.size === 0) return;
        isFound ||= report.used_by.some(this.isOwn);
        await this.#use({ report, place, keys, at: this.#stampAt({ place }), next: null });
      },
    });
    this.#options.complain(diagnostics);
    return isFound;
  }

  async #use(entry: Entry): Promise<void> {
    const known = [...entry.keys].map((key) => this.#entries.get(key)).find((one) => one !== undefined);
    for (const key of entry.keys) this.#entries.set(key, entry);
    if (known !== undefined && known.report.build_id === entry.report.build_id) return;
    const library = { ...entry.report, used_by: this.#usage.usersOf(entry.keys) };
    await this.#options.tell({ event: "used", library });
  }

  /** Whether another file lies at the path of one that is used, or another content in it. */
  async #checkPaths(): Promise<void> {
    for (const entry of new Set(this.#entries.values())) {
      const stamp = this.#stampAt(entry);
      if (stamp === null || entry.at === null || stamp.content === entry.at.content) continue;
      // Two looks found the same content there: whoever wrote it is done.
      const isDone = stamp.content === entry.next?.content;
      entry.next = stamp;
      if (isDone) await this.#replace(entry, stamp);
    }
  }

  async #replace(entry: Entry, stamp: Stamp): Promise<void> {
    const isSame = stamp.identity === entry.at?.identity;
    entry.at = stamp;
    entry.next = null;
    const { root, ...tls } = this.#options.tls;
    const path = hostPath(entry.place);
    const { reports, diagnostics } = await tlsReports({
      ...tls,
      ...(root !== undefined && { root }),
      patience: null,
      memory: this.#memory,
      scope: { kind: "files", paths: [path] },
    });
    this.#options.complain(diagnostics);
    const { path: shown, root: at } = entry.report;
    const [report = null] = reports;
    const library = report && { ...report, path: shown, ...(at !== undefined && { root: at }) };
    if (isSame && library !== null && library.build_id === entry.report.build_id) return; // touched, or copied over itself
    await this.#options.tell({ event: "replaced", ...this.#fileOf(entry), library });
    if (isSame && library !== null) entry.report = library;
  }

  #fileOf({ report: { path, root, build_id }, keys }: Entry): WatchedFile {
    const used_by = this.#usage.usersOf(keys);
    return { path: path ?? "", ...(root !== undefined && { root }), build_id, used_by };
  }

  /** The stamp of what lies at a file's path; null where nothing does, or its root is gone. */
  #stampAt({ place }: Pick<Entry, "place">): Stamp | null {
    if (place.deleted) return null;
    try {
      using root = new Root(place.container ?? this.#options.tls.root ?? "/");
      using reached = root.reach(place.path);
      return reached === null ? null : stampOf(reached.stat);
    } catch {
      return null;
    }
  }
}

function millisecondsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** How this host calls the file. */
const hostPath = ({ root, path }: Place): string => root.name(path);
