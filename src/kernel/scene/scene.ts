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
import { isWithoutNamespaces, LOOPBACK, NO_NAMESPACES } from "../../net/namespace.ts";
import { masked } from "../../offsets/values.ts";
import { randomInt } from "../../self/random.ts";
import { left, share } from "../../self/whereabouts.ts";
import { filesStruct, fsStruct, type TableFacts } from "../members/file.ts";
import { type DeviceFacts, netDevice } from "../members/packet.ts";
import type { Thing } from "../members/row.ts";
import { type TaskFacts, taskStruct } from "../members/task.ts";
import { NamedThread } from "../running/named-thread.ts";
import { CurrentNetwork, type Network, PrivateNetwork } from "../stimulus/private-network.ts";
import { Devices } from "./devices.ts";
import { openFrames } from "./frames.ts";
import { type Groups, openGroups } from "./groups.ts";
import type { Mutable } from "./known-facts.ts";
import { Mounts } from "./mounted.ts";
import { Files, type OpenFile } from "./open-files.ts";
import { isFirstTime, ProcessFacts, sizeOfTable, switchesOf } from "./process-facts.ts";
import { read, statFieldsOf, statusLinesOf } from "./procfs.ts";
import { SocketMaker } from "./socket-maker.ts";
import { openSockets } from "./sockets.ts";
import { type Terminal, Terminals } from "./terminals.ts";
import { waitForEvents } from "./waiting-reads.ts";

/** Of include/linux/sched.h. */
const TASK_INTERRUPTIBLE = 1;
const TASK_STOPPED = 4;
const TASK_DEAD = 0x80;
/** Bits of a task's state that mean the same in every kernel; above them are flags. */
const STATE_BITS = 0xff;

/** So many threads are begun until one is met. */
const THREADS = 3;
/**
 * Descriptors from here on lie beyond the table inside struct files_struct (NR_OPEN_DEFAULT, 64 of them), and the second ones beyond
 * all that children of ours have.
 */
const FIRST_NUMBER = 300;
const SECOND_NUMBER = 600;

/** Children of ours, which differ in all that they can. */
const children: readonly Child[] = [
  {
    folder: "/proc/sys/kernel",
    spaces: CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP,
    isApart: false,
    state: TASK_INTERRUPTIBLE,
    capabilities: 0x5555555555555555n,
  },
  {
    folder: "/sys/kernel",
    spaces: CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID,
    isApart: true,
    state: TASK_STOPPED,
    capabilities: 0x3333333333333333n,
  },
  {
    folder: "/proc/sys/kernel/random",
    spaces: CLONE_NEWUSER,
    isApart: true,
    state: TASK_INTERRUPTIBLE,
    capabilities: 0x0f0f0f0f0f0f0f0fn,
  },
];

interface Child {
  /** Where it works. */
  readonly folder: string;
  /** CLONE_* bits: the namespaces of its own. */
  readonly spaces: number;
  /** Whether it has a session, with a terminal, and a control group of its own. */
  readonly isApart: boolean;
  readonly state: typeof TASK_INTERRUPTIBLE | typeof TASK_STOPPED;
  /** Bits of those that are effective, of all that there are; the others are inheritable. */
  readonly capabilities: bigint;
}

/** A child of ours ends with the time that this run has, in seconds; the sooner where nothing else ends it should we be killed. */
const lifetime = (): number =>
  Math.max(1, Math.ceil(Math.min(left(), endsWithUs() ? 600_000 : 60_000) / 1000));

/** What a crawl begins with: tasks of ours, whose addresses the kernel told. */
export interface Scene {
  readonly roots: readonly (readonly [Thing, bigint])[];
  /** Why less is known than could be. */
  readonly limits: readonly string[];
  /** To be called once nothing of it is looked at any more: what takes long to end begins to, and is not waited for. */
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

/** What a child has of this process, and of the scene. */
interface Surroundings {
  readonly files: Files;
  readonly mounts: Mounts;
  readonly groups: Groups | null;
  readonly root: OpenFile | null;
  readonly table: ReadonlyMap<number, Thing | null>;
  readonly leader: Thing;
  /** The file that it executes. */
  readonly exe: Thing | undefined;
  readonly nsproxy: Thing;
  /** Whether it is started as another user. */
  readonly isOther: boolean;
}

class SceneMaker {
  readonly #limits: string[] = [];
  readonly #facts = new ProcessFacts();
  readonly #children: Sleeper[] = [];

  constructor(
    private readonly crawler: Meets,
    private readonly owned: DisposableStack,
  ) {}

  make(): Scene {
    const self = process.pid;
    const ownCred = this.#facts.credOf(self);
    const mounts = new Mounts("self", this.#facts.namespace(self, "mnt"));
    const files = new Files(this.owned, ownCred, mounts);
    files.openAll();
    const devices = new Devices(files);
    devices.lookAtAll();
    files.deviceOf = (dev) => devices.of(dev);
    waitForEvents(this.owned, files, this.#limits);
    const groups = openGroups(this.owned, files, this.#limits);
    const sockets = new SocketMaker(this.owned, files);
    const network = this.#network();
    openSockets(
      sockets,
      network,
      network.inode === null ? undefined : this.#facts.namespaceOf("net", network.inode),
    );
    const maker = new Terminals(this.owned, files);
    const terminals = children.map(({ isApart }) => (isApart ? maker.open() : null));
    const root = files.openFolder("/");
    const folders = children.map(({ folder }) => files.openFolder(folder));
    const [ownExe, parentExe] = [self, process.ppid].map((pid) => files.executableOf(pid) ?? undefined);
    const table = files.pattern(FIRST_NUMBER);
    const ownTable: Mutable<Partial<TableFacts>> = { files: table };
    const shared = {
      mm: this.#facts.mmOf(self, ownExe),
      files: filesStruct.of(ownTable),
      fs: fsStruct.of({ ...(root !== null && { root }) }),
      nsproxy: this.#facts.nsproxyOf(self),
      signal: this.#facts.signalOf(self),
      ...(groups !== null && { groups: groups.own }),
    };
    const roots: [Thing, bigint][] = [];
    const leaderFacts: Mutable<Partial<TaskFacts>> = {
      ...idsOf(this.crawler.self),
      comm: threadName(),
      ...this.#facts.flags(self),
      threadPid: this.#facts.pidOf(self, this.crawler.self.tid),
      parent: this.#facts.parent(process.ppid, parentExe),
      ...this.#facts.times(self),
      ...shared,
    };
    const leader = taskStruct.of(leaderFacts, {
      again: () => ({ ...leaderFacts, ...this.#facts.flags(self) }),
    });
    leaderFacts.leader = leader;
    roots.push([leader, this.crawler.self.task]);

    // A thread shares what its process has, and is another task.
    const met = this.#thread();
    if (met !== null) {
      const { walker, name } = met;
      roots.push([
        taskStruct.of({
          ...idsOf(walker),
          comm: name,
          state: masked(4, TASK_INTERRUPTIBLE, STATE_BITS),
          leader,
          cred: ownCred,
          ...shared,
        }),
        walker.task,
      ]);
    }

    // Only who is root in every way can become another user and root again; and the ids of that user have to be the kernel's, too.
    const isOther = this.#facts.isNumbered && isAllRoot();
    const around = {
      files,
      mounts,
      groups,
      root,
      table,
      leader,
      exe: ownExe,
      nsproxy: shared.nsproxy,
      isOther,
    };
    for (const [index, child] of children.entries()) {
      const made = this.#child(
        child,
        `child ${index}`,
        folders[index] ?? null,
        terminals[index] ?? null,
        around,
      );
      if (made !== null) roots.push(made);
    }
    // A thread that took on another user's rights and gave them back has another struct cred than before, with the same ids.
    if (isOther) files.cred = this.#facts.credOf(self);
    leaderFacts.cred = files.cred;
    const dead = this.#zombie(leader);
    if (dead !== null) roots.push(dead);
    // Opened behind all children: what a child inherits stays open until it is gone.
    const areOpen = this.#openFrames(sockets);
    // A thread that was in another network namespace has another struct nsproxy afterwards. Where it could not go there, none is told.
    delete leaderFacts.nsproxy;
    if (areOpen) leaderFacts.nsproxy = this.#facts.nsproxyOf(self);
    for (const [number, one] of files.pattern(SECOND_NUMBER)) table.set(number, one);
    Object.assign(ownTable, sizeOfTable(self));
    const leave = () => {
      for (const child of this.#children) child.end();
      this.owned.use(closeBeside(sockets.packets));
    };
    return { roots, limits: this.#limits, leave };
  }

  /**
   * Starts a child, and meets it.
   * @param place the folder that it works in, opened @param around what it has of this process, and of the scene
   */
  #child(
    { folder, spaces, isApart, state, capabilities }: Child,
    called: string,
    place: OpenFile | null,
    terminal: Terminal | null,
    { files, mounts, groups, root, table, leader, exe, nsproxy, isOther }: Surroundings,
  ): [Thing, bigint] | null {
    let sleeper: Sleeper | null = null;
    const start = () => {
      sleeper = this.#sleeper(spaces, isApart ? inSession(terminal?.path) : []);
    };
    const began = clock("monotonic");
    const within = () => {
      if (isOther) files.openAs(this.#facts.credOf(process.pid));
      if (place === null) start();
      else inFolder(folder, start);
    };
    const met = this.#attempt(called, () =>
      isOther ? asOther(someIds(), (all) => subsets(all, capabilities), within) : within(),
    );
    const made = sleeper as Sleeper | null;
    if (met === null || made === null) return null;
    const { pid } = made;
    const { walker, name } = met;
    const started = [began, clock("monotonic")] as const;
    const settled = this.#settle(made, state);
    const group = isApart ? this.#tried(`control group of ${called}`, () => groups?.enter(pid)) : groups?.own;
    // A child in a mount namespace of its own works in the same folders, by other mounts.
    const isMoved = (spaces & CLONE_NEWNS) !== 0;
    const copies = isMoved ? mounts.copyOf(pid, this.#facts.namespace(pid, "mnt")) : null;
    const byItsMount = ({ dentry, mount, known }: OpenFile) => {
      const own = isMoved ? (known.id === null ? undefined : copies?.(known.id)?.thing) : mount;
      return { dentry, ...(own !== undefined && { mount: own }) };
    };
    const facts: Mutable<Partial<TaskFacts>> = {
      ...idsOf(walker),
      ...this.#facts.flags(pid),
      exitCode: 0,
      comm: name,
      ...(settled && { state: masked(4, state, STATE_BITS) }),
      parent: leader,
      cred: this.#facts.credOf(pid),
      mm: this.#facts.mmOf(pid, exe),
      files: filesStruct.of({ files: new Map(table), ...sizeOfTable(pid) }),
      fs: fsStruct.of({
        ...(root !== null && { root: byItsMount(root) }),
        ...(place !== null && { pwd: byItsMount(place) }),
      }),
      nsproxy: spaces === CLONE_NEWUSER ? nsproxy : this.#facts.nsproxyOf(pid),
      threadPid: this.#facts.pidOf(pid, walker.tid),
      signal: this.#facts.signalOf(pid, terminal),
      ...(group != null && { groups: group }),
      ...this.#facts.times(pid),
      ...(isFirstTime() && { started }),
      ...switchesOf(pid),
    };
    const again = () => ({ ...facts, ...this.#facts.flags(pid), ...switchesOf(pid) });
    const task = taskStruct.of(facts, { again });
    facts.leader = task;
    return [task, walker.task];
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
  #openFrames(sockets: SocketMaker): boolean {
    let areOpen = true;
    for (const least of [2 ** 17, 2 ** 18]) {
      try {
        const network = this.owned.use(new PrivateNetwork());
        const facts: Mutable<Partial<DeviceFacts>> = {
          name: "lo",
          mtu: randomInt(least, least + 2 ** 16),
          index: LOOPBACK,
        };
        const loopback = netDevice.of(facts);
        facts.network = this.#facts.namespaceOf("net", network.inode, { loopback });
        openFrames(sockets, network, facts);
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
      if (met === null || !this.#facts.arePidsFirst) return met;
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

  /** Has a child come to the state that it is to be in. @returns whether it did in time */
  #settle(child: Sleeper, state: Child["state"]): boolean {
    if (!comesTo(child, "S")) return false;
    if (state !== TASK_STOPPED) return true;
    child.signal(SIGSTOP);
    return comesTo(child, "T");
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
        ...idsOf(met.walker),
        comm: met.name,
        ...this.#facts.flags(child.pid),
        exitCode: SIGKILL,
        signal: this.#facts.signalOf(child.pid),
        state: masked(4, TASK_DEAD, STATE_BITS),
        parent,
      }),
      met.walker.task,
    ];
  }
}

/** Waits until a child is in a state, as /proc/PID/stat writes it. @returns whether it came to it in time */
function comesTo({ pid }: Sleeper, state: string): boolean {
  const until = performance.now() + share();
  while (statFieldsOf(pid)(3) !== state) {
    if (performance.now() > until) return false;
    sleep(100);
  }
  return true;
}

/** Whether a name as the kernel has it is what procfs says. */
const isNamed = (name: Uint8Array, text: string): boolean =>
  text.trimEnd() === new TextDecoder("latin1").decode(name.subarray(0, name.indexOf(0)));

/** By which a child may have namespaces of its own. */
const CAP_SYS_ADMIN = 1n << 21n;

/** Sets of capabilities, of `all` that there are. @param chosen bits of those that are effective */
const subsets = (all: bigint, chosen: bigint) => ({
  effective: all & (chosen | CAP_SYS_ADMIN),
  inheritable: all & ~chosen,
});

/** Users and groups that nobody is, each another. */
function someIds(): ThreadIds {
  const one = () => randomInt(100_000, 2 ** 30);
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
}

const idsOf = ({ tid, tgid }: Walker): Pick<TaskFacts, "pid" | "tgid"> => ({ pid: tid, tgid });

/** Whether this thread is root in every way, so that it can become that again. */
const isAllRoot = (): boolean =>
  ["Uid", "Gid"].every((name) => /^0\s+0\s+0\s+0$/.test(statusLinesOf("self").get(name) ?? ""));
