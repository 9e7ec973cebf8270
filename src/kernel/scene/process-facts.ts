import { clock } from "../../../ffi/process.ts";
import {
  type NamespaceFacts,
  type NamespaceKind,
  type NsproxyFacts,
  namespaces,
  nsproxy,
} from "../members/namespaces.ts";
import type { Thing } from "../members/row.ts";
import { signalStruct } from "../members/signal.ts";
import {
  cred,
  mmStruct,
  type PidFacts,
  pid as pidStruct,
  type TaskFacts,
  taskStruct,
} from "../members/task.ts";
import { defined, type Mutable } from "./known-facts.ts";
import { isFirstNumbering, isFirstPids, namespaceOf, read, statFieldsOf, statusLinesOf } from "./procfs.ts";
import type { Terminal } from "./terminals.ts";

/** What procfs tells of processes, as the kernel has it. */
export class ProcessFacts {
  readonly #namespaces = new Map<string, Thing>();
  readonly #pids = new Map<number, { readonly facts: Mutable<Partial<PidFacts>>; readonly thing?: Thing }>();
  /** Whether users and groups are numbered here as the kernel has them. */
  readonly isNumbered = isFirstNumbering();
  /** Whether processes and threads are. */
  readonly arePidsFirst = isFirstPids();

  /**
   * Who started a process: another program, at rest or not, with an address space of its own, and who started that. Of one
   * with several threads it is not told which of them it was.
   */
  parent(pid: number, exe?: Thing): Thing | undefined {
    if (pid === 0) return undefined;
    const again = (): Partial<TaskFacts> => ({
      ...(this.arePidsFirst && { tgid: pid }),
      ...(statusLinesOf(pid).get("Threads") === "1" && { ...switchesOf(pid), ...this.times(pid) }),
    });
    const known = {
      mm: exe && this.mmOf(pid, exe),
      parent: this.parent(parentOf(pid)),
      signal: this.signalOf(pid),
    };
    return taskStruct.of({ ...again(), ...defined(known) }, { again });
  }

  /** When a task began, and who it was that logged in. */
  times(pid: number): Partial<TaskFacts> {
    const ticks = statFieldsOf(pid)(22);
    const number = (file: string) => {
      const text = read(`/proc/${pid}/${file}`);
      return text === null || text === "" ? undefined : Number(text);
    };
    const since = ticks === undefined || !isFirstTime() ? undefined : BigInt(ticks) * TICK;
    return defined({
      startedSinceBoot: since === undefined ? undefined : ([since, since + TICK - 1n] as const),
      started: since === undefined ? undefined : ([since - suspended(), since + TICK - 1n] as const),
      // A number of the first user namespace, as those of its own are.
      loginUid: this.isNumbered ? number("loginuid") : undefined,
      sessionId: number("sessionid"),
    });
  }

  /** What its threads share. @param terminal that it may have made its own */
  signalOf(pid: number, terminal: Terminal | null = null): Thing {
    const field = statFieldsOf(pid);
    const at = (index: number) => Number(field(index));
    const numbered = (number: number) =>
      this.arePidsFirst && number > 0 ? this.#pidNumbered(number) : undefined;
    const device = at(7);
    return signalStruct.of(
      defined({
        process: numbered(pid),
        group: numbered(at(5)),
        session: numbered(at(6)),
        isLeader: at(6) === pid,
        terminal: device === 0 ? null : device === terminal?.device ? terminal.thing : undefined,
      }),
    );
  }

  /** The PF_* bits of a task. */
  flags(pid: number): Partial<TaskFacts> {
    const flags = statFieldsOf(pid)(9);
    return flags === undefined ? {} : { flags: Number(flags) };
  }

  /** Its users, groups and capabilities. */
  credOf(pid: number): Thing {
    const status = statusLinesOf(pid);
    const ids = (name: string) => (status.get(name) ?? "").split(/\s+/).map(Number);
    const set = (name: string) => {
      const text = status.get(name);
      return text === undefined ? undefined : BigInt(`0x${text}`);
    };
    const [uid, euid, suid, fsuid] = ids("Uid");
    const [gid, egid, sgid, fsgid] = ids("Gid");
    const all = {
      inheritable: set("CapInh"),
      permitted: set("CapPrm"),
      effective: set("CapEff"),
      bounding: set("CapBnd"),
      ambient: set("CapAmb"),
      ...(this.isNumbered && { uid, euid, suid, fsuid, gid, egid, sgid, fsgid }),
      userNamespace: this.namespace(pid, "user"),
    };
    return cred.of(defined(all));
  }

  /** Its address space. @param exe the file that it executes */
  mmOf(pid: number, exe: Thing | undefined): Thing {
    const field = statFieldsOf(pid);
    const at = (index: number) => {
      const text = field(index);
      return text === undefined || text === "0" ? undefined : BigInt(text);
    };
    return mmStruct.of(
      defined({
        startCode: at(26),
        endCode: at(27),
        startStack: at(28),
        startData: at(45),
        endData: at(46),
        startBrk: at(47),
        argStart: at(48),
        argEnd: at(49),
        envStart: at(50),
        envEnd: at(51),
        exe,
      }),
    );
  }

  /** Its namespaces, but for that of users. */
  nsproxyOf(pid: number): Thing {
    const one = (kind: NamespaceKind, file: string = kind) => this.namespace(pid, kind, file);
    return nsproxy.of(
      defined({
        uts: one("uts"),
        ipc: one("ipc"),
        mnt: one("mnt"),
        net: one("net"),
        time: one("time"),
        cgroup: one("cgroup"),
        pid_for_children: one("pid", "pid_for_children"),
        time_for_children: one("time", "time_for_children"),
      }) as Partial<NsproxyFacts>,
    );
  }

  /** A namespace of it; undefined where it cannot be told. @param file its name in /proc/PID/ns */
  namespace(pid: number, kind: NamespaceKind, file: string = kind): Thing | undefined {
    const inum = namespaceOf(pid, file);
    return inum === null ? undefined : this.namespaceOf(kind, inum);
  }

  /** A namespace by its inode number. @param more that is known of it, should it be the first time that it is asked for */
  namespaceOf(kind: NamespaceKind, inum: number, more: Partial<NamespaceFacts> = {}): Thing {
    const known = this.#namespaces.get(`${kind} ${inum}`) ?? namespaces[kind].of({ inum, ...more });
    this.#namespaces.set(`${kind} ${inum}`, known);
    return known;
  }

  /** The struct pid of a process. @param tid its number in the first pid namespace */
  pidOf(pid: number, tid: number): Thing {
    const numbers = (statusLinesOf(pid).get("NSpid") ?? "").split(/\s+/).map(Number);
    const isFirst = this.arePidsFirst && numbers[0] === tid;
    const facts: Partial<PidFacts> = isFirst
      ? {
          level: numbers.length - 1,
          numbers,
          namespaces: [
            this.namespace(process.pid, "pid"),
            numbers.length > 1 ? this.namespace(pid, "pid") : undefined,
          ].filter((one) => one !== undefined),
        }
      : { numbers: [tid] };
    return this.#pidNumbered(tid, facts);
  }

  /** The struct pid of a number in the first pid namespace. */
  #pidNumbered(number: number, facts: Partial<PidFacts> = {}): Thing {
    const known = this.#pids.get(number) ?? { facts: { numbers: [number] } };
    Object.assign(known.facts, facts);
    const thing = known.thing ?? pidStruct.of(known.facts);
    this.#pids.set(number, { facts: known.facts, thing });
    return thing;
  }
}

/** How often a task gave way, of itself and not. */
export function switchesOf(pid: number): Partial<TaskFacts> {
  const status = statusLinesOf(pid);
  const number = (name: string) => {
    const text = status.get(name);
    return text === undefined ? undefined : BigInt(text);
  };
  return defined({
    voluntary: number("voluntary_ctxt_switches"),
    involuntary: number("nonvoluntary_ctxt_switches"),
  });
}

/** Nanoseconds of a tick of /proc/PID/stat: USER_HZ is 100 on x86-64 and arm64. */
const TICK = 10_000_000n;

/** Whether clocks say here what they say in the first time namespace. */
export const isFirstTime = (): boolean =>
  (read("/proc/self/timens_offsets") ?? "")
    .split("\n")
    .every((line) => line === "" || /^\S+\s+0\s+0$/.test(line));

/** Nanoseconds that the machine was suspended at most, up to now. */
function suspended(): bigint {
  const before = clock("monotonic");
  return clock("boottime") - before;
}

const parentOf = (pid: number): number => Number(statFieldsOf(pid)(4) ?? 0);

/** How many descriptors a process's table has room for. */
export const sizeOfTable = (pid: number): { readonly size?: number } => {
  const size = statusLinesOf(pid).get("FDSize");
  return size === undefined ? {} : { size: Number(size) };
};
