import { CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, SIGKILL } from "../../../ffi/confinement.ts";
import { SystemError } from "../../../ffi/error.ts";
import {
  asOther,
  type ChildCall,
  CLONE_NEWCGROUP,
  CLONE_NEWUSER,
  clock,
  closeBeside,
  endsWithUs,
  inFolder,
  inSession,
  SIGSTOP,
  Sleeper,
  type ThreadIds,
  Waiter,
} from "../../../ffi/process.ts";
import { CLONE_NEWNET, sleep, threadName } from "../../../ffi/thread.ts";
import { isWithoutNamespaces, NO_NAMESPACES } from "../../net/namespace.ts";
import { masked } from "../../offsets/values.ts";
import { left, share } from "../../self/whereabouts.ts";
import { filesStruct, fsStruct, type TableFacts } from "../members/file.ts";
import {
  type NamespaceFacts,
  type NamespaceKind,
  type NsproxyFacts,
  namespaces,
  nsproxy,
} from "../members/namespaces.ts";
import { type DeviceFacts, netDevice } from "../members/packet.ts";
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
import { NamedThread } from "../running/named-thread.ts";
import { CurrentNetwork, type Network, PrivateNetwork } from "../stimulus/private-network.ts";
import { Devices } from "./devices.ts";
import { openGroups } from "./groups.ts";
import { Mounts } from "./mounted.ts";
import { Files, type OpenFile } from "./open-files.ts";
import { defined, isFirstNumbering, isFirstPids, namespaceOf, read, statOf, statusOf } from "./procfs.ts";
import { LOOPBACK, Sockets } from "./sockets.ts";
import { type Terminal, Terminals } from "./terminals.ts";
import { waitForEvents } from "./waiting-reads.ts";

/** Of include/linux/sched.h. */
const TASK_INTERRUPTIBLE = 1;
const TASK_STOPPED = 4;
const TASK_DEAD = 0x80;

/** Where children of ours work. */
const places = ["/proc/sys/kernel", "/sys/kernel", "/proc/sys/kernel/random"] as const;
/** So many threads are begun until one is met. */
const THREADS = 3;
/** Descriptors that no table inside struct files_struct has; and such as children of ours have none of. */
const FIRST_NUMBER = 300;
const SECOND_NUMBER = 600;

/** A child of ours ends with the time that this run has, in seconds; the sooner where nothing else ends it should we be killed. */
const lifetime = (): number =>
  Math.max(1, Math.ceil(Math.min(left(), endsWithUs() ? 600_000 : 60_000) / 1000));

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** What a crawl begins with: tasks of ours, whose addresses the kernel told. */
export interface Scene {
  readonly roots: readonly (readonly [Thing, bigint])[];
  /** Why less is known than could be. */
  readonly limits: readonly string[];
  /** Once nothing of it is looked at any more: has what takes its time to end begin to, beside us. */
  readonly leave: () => void;
}

/** A thread, as the kernel knows it. */
export interface Walker {
  /** The pointer to its task_struct. */
  readonly task: bigint;
  /** In the first pid namespace, whatever this process sees. */
  readonly tgid: number;
  readonly tid: number;
}

/** Who meets threads of ours in the kernel. */
export interface Meets {
  /** The thread that asks. */
  readonly self: Walker;
  /**
   * Meets another thread of ours as it begins. Threads that the runtime makes meanwhile have its name, too, for a moment.
   *
   * @param name of that thread alone, as TASK_COMM_LEN bytes @param start has it begin
   * @param isChild whether it is a process of its own @returns null where it did not come within `milliseconds`
   */
  meet(name: Uint8Array, start: () => void, isChild: boolean, milliseconds: number): Walker | null;
}

/** Makes processes, threads and files that differ in all that is asked for. What it makes goes with `owned`. */
export function openScene(crawler: Meets, owned: DisposableStack): Scene {
  return new SceneMaker(crawler, owned).make();
}

class SceneMaker {
  readonly #limits: string[] = [];
  readonly #namespaces = new Map<string, Thing>();
  readonly #pids = new Map<number, { readonly facts: Mutable<Partial<PidFacts>>; readonly thing?: Thing }>();
  readonly #isNumbered = isFirstNumbering();
  readonly #arePidsFirst = isFirstPids();
  readonly #children: Sleeper[] = [];

  constructor(
    private readonly crawler: Meets,
    private readonly owned: DisposableStack,
  ) {}

  make(): Scene {
    const self = process.pid;
    const ownCred = this.#credOf(self);
    const mounts = new Mounts("self", this.#namespace(self, "mnt"));
    const files = new Files(this.owned, ownCred, mounts);
    files.openAll();
    const devices = new Devices(files);
    devices.lookAtAll();
    files.deviceOf = (dev) => devices.of(dev);
    waitForEvents(this.owned, files, this.#limits);
    const groups = openGroups(this.owned, files, this.#limits);
    const sockets = new Sockets(this.owned, files);
    const network = this.#network();
    sockets.openAll(network, network.inode === null ? undefined : this.#namespaceOf("net", network.inode));
    const maker = new Terminals(this.owned, files);
    const terminals = [null, maker.open(), maker.open()];
    const root = files.openFolder("/");
    const [first, second, third] = places.map((path) => files.openFolder(path));
    const [ownExe, parentExe] = [self, process.ppid].map((pid) => files.executableOf(pid) ?? undefined);
    const table = files.pattern(FIRST_NUMBER);
    const ownTable: Mutable<Partial<TableFacts>> = { files: table };
    const shared = {
      mm: this.#mmOf(self, ownExe),
      files: filesStruct.of(ownTable),
      fs: fsStruct.of({ ...(root !== null && { root }) }),
      nsproxy: this.#nsproxyOf(self),
      signal: this.#signalOf(self),
      ...(groups !== null && { groups: groups.own }),
    };
    const roots: [Thing, bigint][] = [];
    const leaderFacts: Mutable<Partial<TaskFacts>> = {
      ...this.#ids(this.crawler.self),
      comm: threadName(),
      ...this.#flags(self),
      threadPid: this.#pidOf(self, this.crawler.self),
      parent: this.#parent(process.ppid, parentExe),
      ...this.#times(self),
      ...shared,
    };
    const leader = taskStruct.of(leaderFacts, { again: () => ({ ...leaderFacts, ...this.#flags(self) }) });
    leaderFacts.leader = leader;
    roots.push([leader, this.crawler.self.task]);

    // A thread shares what its process has, and is another task.
    const met = this.#thread();
    if (met !== null) {
      const { walker, name } = met;
      roots.push([
        taskStruct.of({
          ...this.#ids(walker),
          comm: name,
          state: masked(4, TASK_INTERRUPTIBLE, 0xff),
          leader,
          cred: ownCred,
          ...shared,
        }),
        walker.task,
      ]);
    }

    const ids = (): ThreadIds => {
      const one = () => 100_000 + Math.floor(Math.random() * 2 ** 30);
      return {
        uid: one(),
        euid: one(),
        suid: one(),
        fsuid: one(),
        gid: one(),
        egid: one(),
        sgid: one(),
        fsgid: one(),
      };
    };
    const spaces = [
      CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP,
      CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID,
      CLONE_NEWUSER,
    ];
    let isChanged = false;
    for (const [index, place] of [first, second, third].entries()) {
      const terminal = terminals[index] ?? null;
      const flags = spaces[index] ?? 0;
      const identity = this.#isNumbered && isAllRoot() ? ids() : null;
      let sleeper: Sleeper | null = null;
      const start = () => {
        sleeper = this.#sleeper(flags, index === 0 ? [] : inSession(terminal?.path));
      };
      const began = clock("monotonic");
      const within = () => {
        if (identity !== null) files.openAs(this.#credOf(self));
        const folder = places[index];
        if (place == null || folder === undefined) start();
        else inFolder(folder, start);
      };
      if (identity !== null) isChanged = true;
      const child = this.#attempt(`child ${index}`, () =>
        identity === null ? within() : asOther(identity, (all) => subsets(all, index), within),
      );
      const made = sleeper as Sleeper | null;
      if (child === null || made === null) continue;
      const { walker, name } = child;
      const started = [began, clock("monotonic")] as const;
      const state = this.#settle(made, index);
      // The first stays where this process is.
      const own =
        index === 0
          ? groups?.own
          : this.#tried(`control group of child ${index}`, () => groups?.enter(made.pid));
      // A child in a mount namespace of its own works in the same folders, by other mounts.
      const isMoved = (flags & CLONE_NEWNS) !== 0;
      const copies = isMoved ? mounts.copyOf(made.pid, this.#namespace(made.pid, "mnt")) : null;
      const within2 = ({ dentry, mount, known }: OpenFile) => {
        const own = isMoved ? (known.id === null ? undefined : copies?.(known.id)?.thing) : mount;
        return { dentry, ...(own !== undefined && { mount: own }) };
      };
      const fs = fsStruct.of({
        ...(root !== null && { root: within2(root) }),
        ...(place != null && { pwd: within2(place) }),
      });
      const facts: Mutable<Partial<TaskFacts>> = {
        ...this.#ids(walker),
        ...this.#flags(made.pid),
        exitCode: 0,
        comm: name,
        ...(state !== null && { state }),
        parent: leader,
        cred: this.#credOf(made.pid),
        mm: this.#mmOf(made.pid, ownExe),
        files: filesStruct.of({ files: new Map(table), ...sizeOfTable(made.pid) }),
        fs,
        nsproxy: flags === CLONE_NEWUSER ? shared.nsproxy : this.#nsproxyOf(made.pid),
        threadPid: this.#pidOf(made.pid, walker),
        signal: this.#signalOf(made.pid, terminal),
        ...(own != null && { groups: own }),
        ...this.#times(made.pid),
        ...(isFirstTime() && { started }),
        ...switchesOf(made.pid),
      };
      const again = () => ({ ...facts, ...this.#flags(made.pid), ...switchesOf(made.pid) });
      const task = taskStruct.of(facts, { again });
      facts.leader = task;
      roots.push([task, walker.task]);
    }
    // A thread that took on another user's rights and gave them back has another struct cred than before, with the same ids.
    if (isChanged) files.cred = this.#credOf(self);
    leaderFacts.cred = files.cred;
    const dead = this.#zombie(leader);
    if (dead !== null) roots.push(dead);
    // Opened behind all children: what a child inherits stays open until it is gone.
    const areOpen = this.#openPackets(sockets);
    // A thread that was in another network namespace has another struct nsproxy afterwards. Where it could not go there, none is told.
    delete leaderFacts.nsproxy;
    if (areOpen) leaderFacts.nsproxy = this.#nsproxyOf(self);
    for (const [number, one] of files.pattern(SECOND_NUMBER)) table.set(number, one);
    Object.assign(ownTable, sizeOfTable(self));
    const leave = () => {
      for (const child of this.#children) child.end();
      this.owned.use(closeBeside(sockets.packets));
    };
    return { roots, limits: this.#limits, leave };
  }

  /** A child of ours. @throws SystemError */
  #sleeper(flags: number, calls: readonly ChildCall[] = []): Sleeper {
    const child = this.owned.use(new Sleeper(flags, lifetime(), calls));
    this.#children.push(child);
    return child;
  }

  /** Where sockets are made: nobody else's traffic comes there, if it may be. */
  #network(): Network {
    if (isWithoutNamespaces()) return this.owned.use(new CurrentNetwork(NO_NAMESPACES));
    try {
      return this.owned.use(new PrivateNetwork());
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#limits.push(`a network of its own: ${error.message}`);
      return this.owned.use(new CurrentNetwork(error.message));
    }
  }

  /**
   * Frames that wait to be read, in two networks of their own. Another name of lo would be a line in the kernel's log.
   * @returns whether this thread could go to them
   */
  #openPackets(sockets: Sockets): boolean {
    let areOpen = true;
    for (const least of [2 ** 17, 2 ** 18]) {
      try {
        const network = this.owned.use(new PrivateNetwork());
        const facts: Mutable<Partial<DeviceFacts>> = {
          name: "lo",
          mtu: least + Math.floor(Math.random() * 2 ** 16),
          index: LOOPBACK,
        };
        const loopback = netDevice.of(facts);
        facts.network = this.#namespaceOf("net", network.inode, { loopback });
        sockets.openPackets(network, facts);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        this.#limits.push(`frames of a network of its own: ${error.message}`);
        areOpen = false;
      }
    }
    return areOpen;
  }

  /** A thread of ours that waits. One that the runtime makes may be met in its place, and then has another name soon. */
  #thread(): { walker: Walker; name: Uint8Array } | null {
    for (let attempt = 0; attempt < THREADS; attempt++) {
      const met = this.#attempt("a thread", () => void this.owned.use(new Waiter()), false);
      if (met === null || !this.#arePidsFirst) return met;
      const name = read(`/proc/self/task/${met.walker.tid}/comm`);
      if (name !== null && isNamed(met.name, name)) return met;
    }
    this.#limits.push(`a thread: others began beside it, ${THREADS} times`);
    return null;
  }

  /** Starts a task of a name of its own, and meets it. @param isChild whether it is a process of its own */
  #attempt(what: string, start: () => void, isChild = true): { walker: Walker; name: Uint8Array } | null {
    using named = new NamedThread();
    try {
      const patience = share();
      const walker = this.crawler.meet(named.name, start, isChild, patience);
      if (walker === null) this.#limits.push(`${what} did not begin within ${patience} ms`);
      return walker && { walker, name: named.name };
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#limits.push(`${what}: ${error.message}`);
      return null;
    }
  }

  /** What a call gives; undefined, and a limit more, where the system refuses it. */
  #tried<Result>(what: string, call: () => Result): Result | undefined {
    try {
      return call();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#limits.push(`${what}: ${error.message}`);
      return undefined;
    }
  }

  #ids({ tid, tgid }: Walker): Pick<TaskFacts, "pid" | "tgid"> {
    return { pid: tid, tgid };
  }

  /** Waits until a child is in the state that it is to be in. @returns what the kernel has of it */
  #settle(child: Sleeper, index: number): TaskFacts["state"] | null {
    if (!comesTo(child, "S")) return null;
    if (index === 1) child.signal(SIGSTOP);
    if (index === 1 && !comesTo(child, "T")) return null;
    // Above them are flags that kernels differ in.
    return masked(4, index === 1 ? TASK_STOPPED : TASK_INTERRUPTIBLE, 0xff);
  }

  /** A child that has ended, and that nobody has asked for its status yet. */
  #zombie(parent: Thing): [Thing, bigint] | null {
    let sleeper: Sleeper | null = null;
    const met = this.#attempt("a child to be ended", () => {
      sleeper = this.#sleeper(0);
    });
    const child = sleeper as Sleeper | null;
    if (met === null || child === null) return null;
    child.signal(SIGKILL);
    if (!comesTo(child, "Z")) return null;
    return [
      taskStruct.of({
        ...this.#ids(met.walker),
        comm: met.name,
        ...this.#flags(child.pid),
        exitCode: SIGKILL,
        signal: this.#signalOf(child.pid),
        state: masked(4, TASK_DEAD, 0xff),
        parent,
      }),
      met.walker.task,
    ];
  }

  /**
   * Who started a process: another program, at rest or not, with an address space of its own, and who started that. Of one
   * with several threads it is not told which of them it was.
   */
  #parent(pid: number, exe?: Thing): Thing | undefined {
    if (pid === 0) return undefined;
    const again = (): Partial<TaskFacts> => ({
      ...(this.#arePidsFirst && { tgid: pid }),
      ...(statusOf(pid).get("Threads") === "1" && { ...switchesOf(pid), ...this.#times(pid) }),
    });
    const known = {
      mm: exe && this.#mmOf(pid, exe),
      parent: this.#parent(parentOf(pid)),
      signal: this.#signalOf(pid),
    };
    return taskStruct.of({ ...again(), ...defined(known) }, { again });
  }

  /** When a task began, and who it was that logged in. */
  #times(pid: number): Partial<TaskFacts> {
    const ticks = statOf(pid)(22);
    const number = (file: string) => {
      const text = read(`/proc/${pid}/${file}`);
      return text === null || text === "" ? undefined : Number(text);
    };
    const since = ticks === undefined || !isFirstTime() ? undefined : BigInt(ticks) * TICK;
    return defined({
      startedSinceBoot: since === undefined ? undefined : ([since, since + TICK - 1n] as const),
      started: since === undefined ? undefined : ([since - suspended(), since + TICK - 1n] as const),
      // A number of the first user namespace, as those of its own are.
      loginUid: this.#isNumbered ? number("loginuid") : undefined,
      sessionId: number("sessionid"),
    });
  }

  /** @param terminal that it may have made its own */
  #signalOf(pid: number, terminal: Terminal | null = null): Thing {
    const field = statOf(pid);
    const at = (index: number) => Number(field(index));
    const numbered = (number: number) =>
      this.#arePidsFirst && number > 0 ? this.#pidNumbered(number) : undefined;
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

  #flags(pid: number): Partial<TaskFacts> {
    const flags = statOf(pid)(9);
    return flags === undefined ? {} : { flags: Number(flags) };
  }

  #credOf(pid: number): Thing {
    const status = statusOf(pid);
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
      ...(this.#isNumbered && { uid, euid, suid, fsuid, gid, egid, sgid, fsgid }),
      userNamespace: this.#namespace(pid, "user"),
    };
    return cred.of(defined(all));
  }

  #mmOf(pid: number, exe: Thing | undefined): Thing {
    const field = statOf(pid);
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

  #nsproxyOf(pid: number): Thing {
    const one = (kind: NamespaceKind, file: string = kind) => this.#namespace(pid, kind, file);
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

  #namespace(pid: number, kind: NamespaceKind, file: string = kind): Thing | undefined {
    const inum = namespaceOf(pid, file);
    return inum === null ? undefined : this.#namespaceOf(kind, inum);
  }

  #namespaceOf(kind: NamespaceKind, inum: number, more: Partial<NamespaceFacts> = {}): Thing {
    const known = this.#namespaces.get(`${kind} ${inum}`) ?? namespaces[kind].of({ inum, ...more });
    this.#namespaces.set(`${kind} ${inum}`, known);
    return known;
  }

  #pidOf(pid: number, { tid }: Walker): Thing {
    const numbers = (statusOf(pid).get("NSpid") ?? "").split(/\s+/).map(Number);
    const isFirst = this.#arePidsFirst && numbers[0] === tid;
    const facts: Partial<PidFacts> = isFirst
      ? {
          level: numbers.length - 1,
          numbers,
          namespaces: [
            this.#namespace(process.pid, "pid"),
            numbers.length > 1 ? this.#namespace(pid, "pid") : undefined,
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

/** Waits until a child is in a state, as /proc/PID/stat writes it. @returns whether it came to it in time */
function comesTo({ pid }: Sleeper, state: string): boolean {
  const until = performance.now() + share();
  while (statOf(pid)(3) !== state) {
    if (performance.now() > until) return false;
    sleep(100);
  }
  return true;
}

/** Whether a name as the kernel has it is what procfs says. */
const isNamed = (name: Uint8Array, text: string): boolean =>
  text.trimEnd() === new TextDecoder("latin1").decode(name.subarray(0, name.indexOf(0)));

/** How often a task gave way, of itself and not. */
function switchesOf(pid: number): Partial<TaskFacts> {
  const status = statusOf(pid);
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
const isFirstTime = (): boolean =>
  (read("/proc/self/timens_offsets") ?? "")
    .split("\n")
    .every((line) => line === "" || /^\S+\s+0\s+0$/.test(line));

/** Nanoseconds that the machine was suspended at most, up to now. */
function suspended(): bigint {
  const before = clock("monotonic");
  return clock("boottime") - before;
}

const parentOf = (pid: number): number => Number(statOf(pid)(4) ?? 0);

/** By which a child may have namespaces of its own. */
const CAP_SYS_ADMIN = 1n << 21n;

/** Different sets of capabilities, of those that there are. */
function subsets(all: bigint, index: number) {
  const pick = [0x5555555555555555n, 0x3333333333333333n, 0x0f0f0f0f0f0f0f0fn][index] ?? all;
  return { effective: all & (pick | CAP_SYS_ADMIN), inheritable: all & ~pick };
}

/** Whether this thread is root in every way, so that it can become that again. */
const isAllRoot = (): boolean =>
  ["Uid", "Gid"].every((name) => /^0\s+0\s+0\s+0$/.test(statusOf("self").get(name) ?? ""));

const sizeOfTable = (pid: number): { readonly size?: number } => {
  const size = statusOf(pid).get("FDSize");
  return size === undefined ? {} : { size: Number(size) };
};
