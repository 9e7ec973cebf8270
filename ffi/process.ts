import { linkSymbols, type Pointer, ptr } from "bun:ffi";
import { bind, lastErrno } from "./bind.ts";
import {
  type Capabilities,
  capabilities,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_SET_PDEATHSIG,
  SIGKILL,
  setCapabilities,
} from "./confinement.ts";
import { O_CLOEXEC, O_RDONLY, O_RDWR, open } from "./descriptors.ts";
import { SystemError } from "./error.ts";
import { check, FileDescriptor, terminated } from "./libc.ts";
import { globalSymbol } from "./library.ts";
import { FaultingPage } from "./perf.ts";

// Only symbols that glibc had by 2.17 may stand here, as in libc.ts.
const c = bind("libc.so.6", {
  chdir: { args: ["buffer"], returns: "i32" },
  clock_gettime: { args: ["i32", "buffer"], returns: "i32" },
  clone: { args: ["ptr", "u64", "i32", "u64"], returns: "i32" },
  fchdir: { args: ["i32"], returns: "i32" },
  fchown: { args: ["i32", "u32", "u32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" },
  kill: { args: ["i32", "i32"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  mkdir: { args: ["buffer", "u32"], returns: "i32" },
  pipe2: { args: ["buffer", "i32"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  rmdir: { args: ["buffer"], returns: "i32" },
  syscall: { args: ["i64", "u64", "u64", "u64"], returns: "i32" },
  waitpid: { args: ["i32", "buffer", "i32"], returns: "i32" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64. */
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWCGROUP = 0x2000000;
export const SIGSTOP = 19;
export const SIGCONT = 18;
export const O_WRONLY = 1;
export const O_APPEND = 0x400;
export const O_NONBLOCK = 0x800;
export const O_DIRECTORY = process.arch === "arm64" ? 0x4000 : 0x10000;
const CLOCKS = { monotonic: 1, boottime: 7 } as const;
const O_NOCTTY = 0x100;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const WALL = 0x40000000;
const PR_SET_KEEPCAPS = 8;
const PR_CAP_AMBIENT_RAISE = 2;
const SYS_SETRESUID = process.arch === "arm64" ? 147 : 117;
const SYS_SETRESGID = process.arch === "arm64" ? 149 : 119;
const SYS_SETFSUID = process.arch === "arm64" ? 151 : 122;
const SYS_SETFSGID = process.arch === "arm64" ? 152 : 123;
const SYS_CLOSE_RANGE = 436;
const ENOENT = 2;
const STACK = 65536;
/** More than a ucontext_t has: 968 bytes on x86-64, 4,560 on arm64. */
const CONTEXT = 8192;
/** In ucontext_t, on both: where to go on afterwards (uc_link), and the stack (uc_stack.ss_sp, ss_size). */
const [UC_LINK, UC_STACK, UC_STACK_SIZE] = [1, 2, 4];

/** A function of the C library, by which a child or a thread of ours does nothing but wait. */
function functionNamed(name: string): Pointer {
  const address = globalSymbol(name);
  if (address === null) throw new Error(`the C library has no ${name}`);
  return Number(address) as Pointer;
}

/** A call of the C library that a copy of this process makes before it sleeps: numbers, and bytes by where they are. */
export interface ChildCall {
  readonly name: "_exit" | "close" | "open" | "prctl" | "read" | "rmdir" | "setsid" | "sleep" | "syscall";
  readonly values: readonly (number | Uint8Array)[];
}

/** Whether a child that sleeps ends when this process does, however that ends. */
export const endsWithUs = (): boolean =>
  ["getcontext", "makecontext", "setcontext"].every((name) => globalSymbol(name) !== null);

const DIE_WITH_US: ChildCall = { name: "prctl", values: [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0] };

/**
 * What a copy of this process does, by functions of the C library alone: it asks to be killed with the thread that made it,
 * makes calls, and sleeps. A C library without contexts (musl) has it sleep alone.
 *
 * @returns what clone(2) calls and what with, and what has to be kept until then
 */
function sleeping(
  seconds: number,
  calls: readonly ChildCall[],
  diesWithUs: boolean,
): { readonly call: Pointer; readonly argument: bigint; readonly kept: unknown } {
  const sleep = functionNamed("sleep");
  const alone = { call: sleep, argument: BigInt(seconds), kept: null };
  if (!endsWithUs()) return alone;
  const { getcontext, makecontext } = linkSymbols({
    getcontext: { ptr: functionNamed("getcontext"), args: ["ptr"], returns: "i32" },
    makecontext: {
      ptr: functionNamed("makecontext"),
      args: ["ptr", "ptr", "i32", "u64", "u64", "u64", "u64", "u64"],
      returns: "void",
    },
  }).symbols;
  const contexts: unknown[] = [];
  const context = (next: Pointer | null, call: Pointer, values: ChildCall["values"]): Pointer => {
    const [words, stack] = [new BigUint64Array(CONTEXT / 8), new Uint8Array(STACK)];
    contexts.push(words, stack, values);
    const at = ptr(words);
    getcontext(at);
    words[UC_LINK] = BigInt(next ?? 0);
    words[UC_STACK] = BigInt(ptr(stack));
    words[UC_STACK_SIZE] = BigInt(STACK);
    const all = values.map((value) => BigInt(typeof value === "number" ? value : ptr(value)));
    const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n] = all;
    makecontext(at, call, values.length, a, b, c, d, e);
    return at;
  };
  const first = [...(diesWithUs ? [DIE_WITH_US] : []), ...calls].reduceRight(
    (next, { name, values }) => context(next, functionNamed(name), values),
    context(null, sleep, [seconds]),
  );
  return { call: functionNamed("setcontext"), argument: BigInt(first), kept: contexts };
}

/**
 * A copy of this process that sleeps, and nothing else: it runs none of our code. It ends when it is disposed of, with the
 * thread that made it, or else by itself.
 */
export class Sleeper implements Disposable {
  #pid: number;

  /**
   * @param namespaces CLONE_NEW* of those that it is the first one in @param seconds after which it ends by itself
   * @param calls what it does before @param diesWithUs false: it outlives this process @throws SystemError
   */
  constructor(namespaces: number, seconds: number, calls: readonly ChildCall[] = [], diesWithUs = true) {
    // A copy has a stack of its own in a copy of this memory. Without a signal at its end the runtime does not hear of it.
    const stack = new Uint8Array(STACK);
    const top = BigInt(ptr(stack) + STACK) & ~15n;
    const { call, argument, kept } = sleeping(seconds, calls, diesWithUs);
    this.#pid = check(c.clone(call, top, namespaces, argument), "clone");
    void [stack.length, kept];
  }

  /** Its number in the pid namespace of this process. */
  get pid(): number {
    return this.#pid;
  }

  /** Has it end, and does not wait for that. */
  end(): void {
    if (this.#pid !== 0) c.kill(this.#pid, SIGKILL);
  }

  /** kill(2). @param signal its number in signal(7) @throws SystemError */
  signal(signal: number): void {
    check(c.kill(this.#pid, signal), "kill");
  }

  [Symbol.dispose](): void {
    if (this.#pid === 0) return;
    this.end();
    const status = new Int32Array(1);
    while (c.waitpid(this.#pid, status, WALL) < 0 && lastErrno() === 4);
    this.#pid = 0;
  }
}

/** How often, a second after another, an heir tries to remove what it is left. */
const ATTEMPTS = 5;

/**
 * A copy of this process that waits for its end, however that comes, and removes folders then; it runs none of our code.
 * Where it is disposed of it has nothing to do. A C library without contexts (musl) has none.
 */
export class Heir implements Disposable {
  readonly #child: Sleeper;
  readonly #end: FileDescriptor;

  /** @param folders in which order they are removed, there or not @throws SystemError */
  constructor(folders: readonly string[]) {
    const [reading, writing] = openPipe();
    using waited = reading;
    const paths = folders.map((path) => terminated(path));
    const removal: readonly ChildCall[] = [
      { name: "sleep", values: [1] },
      ...paths.map((path): ChildCall => ({ name: "rmdir", values: [path] })),
    ];
    const calls: readonly ChildCall[] = [
      // It leaves our session, so that a terminal's signals (^C) do not reach it, and closes what is open here.
      { name: "setsid", values: [] },
      { name: "close", values: [writing.fd] },
      { name: "syscall", values: [SYS_CLOSE_RANGE, 0, waited.fd - 1, 0] },
      { name: "syscall", values: [SYS_CLOSE_RANGE, waited.fd + 1, 0x7fffffff, 0] },
      { name: "read", values: [waited.fd, new Uint8Array(8), 1] },
      ...Array.from({ length: ATTEMPTS }, () => removal).flat(),
      { name: "_exit", values: [0] },
    ];
    this.#end = writing;
    this.#child = new Sleeper(0, 1, calls, false);
  }

  [Symbol.dispose](): void {
    this.#child[Symbol.dispose]();
    this.#end[Symbol.dispose]();
  }
}

/** Makes a folder, for its owner alone. @param shown what an error calls it @throws SystemError */
export const makeFolder = (path: string, shown: string): void =>
  void check(c.mkdir(terminated(path), 0o700), `mkdir ${shown}`);

/** Removes a folder. @returns whether it is gone, by us or another; a control group stays as long as somebody is in it */
export const removeFolder = (path: string): boolean =>
  c.rmdir(terminated(path)) === 0 || lastErrno() === ENOENT;

/** Functions of threads, which older C libraries have in a library of their own. */
const bindThreads = () =>
  linkSymbols({
    pthread_create: {
      ptr: functionNamed("pthread_create"),
      args: ["ptr", "ptr", "ptr", "u64"],
      returns: "i32",
    },
    pthread_join: { ptr: functionNamed("pthread_join"), args: ["u64", "ptr"], returns: "i32" },
    sem_init: { ptr: functionNamed("sem_init"), args: ["ptr", "i32", "u32"], returns: "i32" },
    sem_post: { ptr: functionNamed("sem_post"), args: ["ptr"], returns: "i32" },
  }).symbols;
let bound: ReturnType<typeof bindThreads> | undefined;
function threads(): ReturnType<typeof bindThreads> {
  bound ??= bindThreads();
  return bound;
}

/** A thread of this process that calls a function of the C library, and ends. */
class CallingThread implements Disposable {
  #thread: bigint | null;

  /** @param argument of the function: a number, or where something lies @throws SystemError */
  constructor(name: string, argument: bigint) {
    const thread = new BigUint64Array(1);
    const errno = threads().pthread_create(ptr(thread), null, functionNamed(name), argument);
    if (errno !== 0) throw new SystemError("pthread_create", errno);
    this.#thread = thread[0] ?? 0n;
  }

  get isThere(): boolean {
    return this.#thread !== null;
  }

  /** Waits for its end. */
  [Symbol.dispose](): void {
    if (this.#thread === null) return;
    threads().pthread_join(this.#thread, null);
    this.#thread = null;
  }
}

/**
 * A thread of this process that waits, and nothing else, until it is disposed of. It begins with a page fault, and not with a
 * system call alone, as a thread whose stack was another's before may.
 */
export class Waiter implements Disposable {
  readonly #semaphore = new FaultingPage();
  readonly #thread: CallingThread;

  /** @throws SystemError */
  constructor() {
    threads().sem_init(this.#semaphore.address, 0, 0);
    this.#semaphore.drop();
    this.#thread = new CallingThread("sem_wait", BigInt(this.#semaphore.address));
  }

  [Symbol.dispose](): void {
    if (!this.#thread.isThere) return;
    threads().sem_post(this.#semaphore.address);
    this.#thread[Symbol.dispose]();
    this.#semaphore[Symbol.dispose]();
  }
}

/**
 * Closes descriptors, each in a thread of its own, as far as there may be so many: the kernel may wait at the end of what they
 * are, as at that of a socket of AF_PACKET until no processor is at work with it, and waits for all of them at once so.
 *
 * @returns what waits for that
 */
export function closeBeside(descriptors: readonly FileDescriptor[]): Disposable {
  const owned = new DisposableStack();
  for (const descriptor of descriptors.filter(({ isOpen }) => isOpen)) {
    const { fd } = descriptor;
    try {
      owned.use(new CallingThread("close", BigInt(fd)));
      descriptor.release();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      descriptor[Symbol.dispose]();
    }
  }
  return owned;
}

/** Users and groups of a thread, as the kernel's struct cred has them. */
export interface ThreadIds {
  readonly uid: number;
  readonly euid: number;
  readonly suid: number;
  readonly fsuid: number;
  readonly gid: number;
  readonly egid: number;
  readonly sgid: number;
  readonly fsgid: number;
}

/**
 * Runs `act` with this thread alone, not the process, having other users, groups and capabilities, and takes it back. What it
 * starts meanwhile keeps them.
 *
 * @param keep which capabilities are in effect and inheritable, of those that this thread has
 * @throws SystemError where that is not permitted
 */
export function asOther<Result>(
  identity: ThreadIds,
  keep: (all: bigint) => Pick<Capabilities, "effective" | "inheritable">,
  act: () => Result,
): Result {
  const before = capabilities();
  const set = (call: number, name: string, ...ids: readonly [number, number, number]) =>
    check(c.syscall(call, ...ids), name);
  const { uid, euid, suid, fsuid, gid, egid, sgid, fsgid } = identity;
  try {
    check(c.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)");
    set(SYS_SETRESGID, "setresgid", gid, egid, sgid);
    set(SYS_SETFSGID, "setfsgid", fsgid, 0, 0);
    set(SYS_SETRESUID, "setresuid", uid, euid, suid);
    setCapabilities(before);
    set(SYS_SETFSUID, "setfsuid", fsuid, 0, 0);
    const { effective, inheritable } = keep(before.permitted);
    setCapabilities({ permitted: before.permitted, effective, inheritable });
    // Every second capability is put into the ambient set, which Linux before 4.3 does not have, so that this set differs from the others.
    for (let bit = 0; bit < 64; bit += 2)
      if (((inheritable >> BigInt(bit)) & 1n) === 1n)
        c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0);
    return act();
  } finally {
    c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    setCapabilities(before);
    set(SYS_SETRESUID, "setresuid", 0, 0, 0);
    set(SYS_SETRESGID, "setresgid", 0, 0, 0);
    setCapabilities(before);
    c.prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  }
}

/** Nanoseconds of a clock: of CLOCK_MONOTONIC, or of CLOCK_BOOTTIME, which goes on while the machine is suspended. @throws SystemError */
export function clock(name: "monotonic" | "boottime"): bigint {
  const time = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  check(c.clock_gettime(CLOCKS[name], time), "clock_gettime");
  return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
}

/** A child of ours leads a session. @param terminal the one that it has, if it has one */
export const inSession = (terminal: string | undefined): readonly ChildCall[] => [
  { name: "setsid", values: [] },
  ...(terminal === undefined
    ? []
    : [{ name: "open", values: [terminated(terminal), O_RDWR | O_CLOEXEC] } as const]),
];

/** A terminal of our own: what it is made by, and its number below /dev/pts. @throws SystemError */
export function openTerminal(): { readonly descriptor: FileDescriptor; readonly number: number } {
  const descriptor = open("/dev/ptmx", "/dev/ptmx", O_RDWR | O_NOCTTY);
  const word = new Int32Array(1);
  check(c.ioctl(descriptor.fd, TIOCSPTLCK, word), "ioctl(TIOCSPTLCK)"); // 0: not locked
  check(c.ioctl(descriptor.fd, TIOCGPTN, word), "ioctl(TIOCGPTN)");
  return { descriptor, number: word[0] ?? 0 };
}

/** Opens a file close-on-exec. @throws SystemError */
export const openFile = (name: string, flags: number): FileDescriptor => open(name, name, flags);

/** Another descriptor of the same open file, numbered `least` or above (close-on-exec). @throws SystemError */
export const duplicateAbove = ({ fd }: FileDescriptor, least: number): FileDescriptor =>
  new FileDescriptor(check(c.fcntl(fd, F_DUPFD_CLOEXEC, least), "fcntl(F_DUPFD_CLOEXEC)"), "a duplicate");

/** The O_* bits of an open file. @throws SystemError */
export const flagsOf = ({ fd }: FileDescriptor): number => check(c.fcntl(fd, F_GETFL, 0), "fcntl(F_GETFL)");

/** Moves an open file's position. @returns where it is now, in bytes @throws SystemError */
export const seek = ({ fd }: FileDescriptor, position: number): number =>
  check(c.lseek(fd, position, 0), "lseek");

/** Sets the size of an open file, in bytes. @throws SystemError */
export const resize = ({ fd }: FileDescriptor, size: number): void =>
  void check(c.ftruncate(fd, size), "ftruncate");

/** Sets the user and group that an open file belongs to. @throws SystemError */
export const changeOwner = ({ fd }: FileDescriptor, uid: number, gid: number): void =>
  void check(c.fchown(fd, uid, gid), "fchown");

/** The two ends of a pipe: for reading, for writing (close-on-exec). @throws SystemError */
export function openPipe(): readonly [FileDescriptor, FileDescriptor] {
  const ends = new Int32Array(2);
  check(c.pipe2(ends, O_CLOEXEC), "pipe2");
  const [reading = -1, writing = -1] = ends;
  return [new FileDescriptor(reading, "a pipe"), new FileDescriptor(writing, "a pipe")];
}

/** Runs `act` while this process works in another folder. @throws SystemError */
export function inFolder<Result>(folder: string, act: () => Result): Result {
  using home = openFile(".", O_RDONLY | O_DIRECTORY);
  try {
    check(c.chdir(terminated(folder)), `chdir ${folder}`);
    return act();
  } finally {
    check(c.fchdir(home.fd), "fchdir");
  }
}
