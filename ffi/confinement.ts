import { bind, lastErrno } from "./bind.ts";
import { SystemError } from "./error.ts";
import { check, cString, EINTR, withAddresses } from "./libc.ts";
import { globalSymbol } from "./library.ts";

// Only symbols that glibc had by 2.17 may stand here, as in libc.ts.
const c = bind("libc.so.6", {
  clearenv: { args: [], returns: "i32" },
  posix_spawn: { args: ["buffer", "cstring", "ptr", "ptr", "buffer", "buffer"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  setgroups: { args: ["u64", "ptr"], returns: "i32" },
  setresgid: { args: ["u32", "u32", "u32"], returns: "i32" },
  setresuid: { args: ["u32", "u32", "u32"], returns: "i32" },
  getrlimit: { args: ["i32", "buffer"], returns: "i32" },
  setrlimit: { args: ["i32", "buffer"], returns: "i32" },
  signal: { args: ["i32", "ptr"], returns: "ptr" },
  syscall: { args: ["i64", "u64", "u64", "u64"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  waitpid: { args: ["i32", "buffer", "i32"], returns: "i32" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64, but where it says otherwise. */
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWUTS = 0x4000000;
export const CLONE_NEWIPC = 0x8000000;
export const CLONE_NEWPID = 0x20000000;
export const RLIMIT_CPU = 0;
export const RLIMIT_FSIZE = 1;
export const RLIMIT_CORE = 4;
export const RLIMIT_NPROC = 6;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_AS = 9;
export const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
export const SIGKILL = 9;
/** capget(2) and capset(2) have no wrapper in the C library. */
const SYS_CAPGET = process.arch === "arm64" ? 90 : 125;
const SYS_CAPSET = process.arch === "arm64" ? 91 : 126;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
/** seccomp(2) has no wrapper in the C library. */
const SYS_SECCOMP = process.arch === "arm64" ? 277 : 317;

/** The signals by which the kernel and abort(3) end a process for its own mistakes: SIGILL, TRAP, ABRT, BUS, FPE, SEGV. */
export const faultSignals: readonly number[] = [4, 5, 6, 7, 8, 11];

/**
 * From now on a mistake of native code ends the process at once, with the signal's number as its exit code: without the
 * runtime's report, and without the line that the kernel logs of a process that dies by such a signal (show_signal_msg,
 * arm64_show_signal).
 * @throws Error where the C library has no _exit
 */
export function exitOnFault(): void {
  const handler = globalSymbol("_exit"); // it takes the signal's number, as a handler does
  if (handler === null) throw new Error("the C library has no _exit");
  for (const signal of faultSignals) c.signal(signal, handler);
}

/**
 * Runs a program with this environment alone and waits, blocked, for its end. It inherits this thread's namespaces,
 * no_new_privs and all descriptors that are not close-on-exec.
 *
 * @param last done when all else is ready: a thread whose children are to have a new pid namespace can start no thread any
 *   more (clone(2): EINVAL), which this runtime does whenever something became worth compiling, and crashes
 * @returns its exit code, or 128 + the signal that ended it
 * @throws SystemError
 */
export function runProgram(
  path: string,
  args: readonly string[],
  environment: readonly string[] = [],
  last?: () => void,
): number {
  const [pid, status] = [new Int32Array(1), new Int32Array(1)];
  const list = (texts: readonly number[]) => new BigUint64Array([...texts.map(BigInt), 0n]);
  const errno = withAddresses([...args, ...environment].map(cString), (...texts) => {
    const lists = [list(texts.slice(0, args.length)), list(texts.slice(args.length))] as const;
    last?.();
    return c.posix_spawn(pid, path, null, null, ...lists);
  });
  if (errno !== 0) throw new SystemError(`posix_spawn ${path}`, errno);
  while (c.waitpid(pid[0] ?? 0, status, 0) < 0) {
    const failed = lastErrno();
    if (failed !== EINTR) throw new SystemError("waitpid", failed);
  }
  const word = status[0] ?? 0; // WTERMSIG: the low 7 bits; WEXITSTATUS: the byte above
  return (word & 0x7f) === 0 ? (word >> 8) & 0xff : 128 + (word & 0x7f);
}

/** Moves this thread, or for CLONE_NEWPID its children, into a new namespace. @returns whether that was permitted */
export const unshare = (flag: number): boolean => c.unshare(flag) === 0;

/** This process is killed when the thread that started it ends. A change of the user clears this. @throws SystemError */
export function dieWithParent(): void {
  check(c.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)");
}

/** No program that this thread executes gains rights: neither by a set-uid bit nor by file capabilities. @throws SystemError */
export function setNoNewPrivileges(): void {
  check(c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
}

/** Capabilities are not handed on to a program that this thread executes. Linux before 4.3 has none to hand on. */
export function clearAmbientCapabilities(): void {
  c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/** The capability sets of a thread. */
export interface Capabilities {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

/** struct __user_cap_header_struct, of the calling thread. */
const capabilityHeader = (): Uint32Array => new Uint32Array([LINUX_CAPABILITY_VERSION_3, 0]);

/** The capability sets of this thread. @throws SystemError */
export function capabilities(): Capabilities {
  const sets = new Uint32Array(6); // effective, permitted, inheritable: the low halves, then the high ones
  withAddresses([capabilityHeader(), sets], (...at) => check(c.syscall(SYS_CAPGET, ...at, 0), "capget"));
  const of = (index: number) => BigInt(sets[index] ?? 0) | (BigInt(sets[index + 3] ?? 0) << 32n);
  return { effective: of(0), permitted: of(1), inheritable: of(2) };
}

/** Sets the capability sets of this thread. @throws SystemError, as for a capability that is not permitted */
export function setCapabilities({ effective, permitted, inheritable }: Capabilities): void {
  const all = [effective, permitted, inheritable];
  const sets = new Uint32Array([
    ...all.map((set) => Number(set & 0xffffffffn)),
    ...all.map((set) => Number(set >> 32n)),
  ]);
  withAddresses([capabilityHeader(), sets], (...at) => check(c.syscall(SYS_CAPSET, ...at, 0), "capset"));
}

/**
 * Capabilities of this thread that a program which it executes could take up again by its file's are none any more; those in
 * effect stay. Container runtimes hand them to all that they start (CVE-2022-24769).
 * @throws SystemError
 */
export const clearInheritableCapabilities = (): void =>
  setCapabilities({ ...capabilities(), inheritable: 0n });

/**
 * This thread has no capability any more. With no_new_privs a program that it executes has none either, root's in a user
 * namespace included.
 * @throws SystemError
 */
export const clearCapabilities = (): void =>
  setCapabilities({ effective: 0n, permitted: 0n, inheritable: 0n });

/** No core dump of this process, and no process of the same user may trace it. @throws SystemError */
export function setUndumpable(): void {
  check(c.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)");
}

/**
 * Makes the whole process another user's and another group's, without further groups: the C library tells all threads.
 * From 0 this gives up all capabilities.
 * @throws SystemError
 */
export function changeUser(uid: number, gid: number): void {
  check(c.setgroups(0, null), "setgroups");
  check(c.setresgid(gid, gid, gid), `setresgid(${gid})`);
  check(c.setresuid(uid, uid, uid), `setresuid(${uid})`);
}

/**
 * Lowers the soft and the hard limit of a resource: never above the hard limit that is there, which needs no privilege.
 * @throws SystemError
 */
export function lowerLimit(resource: number, limit: number): void {
  const limits = new BigUint64Array(2); // struct rlimit: the soft one, the hard one
  check(c.getrlimit(resource, limits), `getrlimit(${resource})`);
  const [, hard = 0n] = limits;
  setLimit(resource, hard < BigInt(limit) ? Number(hard) : limit);
}

/** Sets the soft and the hard limit of a resource; only lowering needs no privilege. @throws SystemError */
export function setLimit(resource: number, limit: number): void {
  check(
    c.setrlimit(resource, new BigUint64Array([BigInt(limit), BigInt(limit)])),
    `setrlimit(${resource}, ${limit})`,
  );
}

/** @param program the address of a struct sock_fprog; 0 for NULL */
const filterAllThreads = (program: number): number =>
  check(
    c.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program),
    "seccomp(SECCOMP_SET_MODE_FILTER)",
  );

/** Whether the kernel has system call filters for all threads, by seccomp(2)'s own recipe. @throws SystemError where it has none */
export function checkSystemCallFilter(): void {
  try {
    filterAllThreads(0);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== "EFAULT") throw error;
  }
}

/**
 * Puts a system call filter (an array of struct sock_filter) on all threads. Needs no_new_privs or CAP_SYS_ADMIN.
 * @throws SystemError, or Error where a thread has a filter of its own
 */
export function setSystemCallFilter(filter: Uint8Array): void {
  const unsynced = withAddresses([filter], (at) => {
    const program = new BigUint64Array([BigInt(filter.byteLength / 8), BigInt(at)]); // struct sock_fprog
    return withAddresses([program], filterAllThreads);
  });
  if (unsynced !== 0) throw new Error(`seccomp: thread ${unsynced} has a filter of its own`);
}

/** Takes all variables from this process's environment, the launcher's and the runtime's own included. @throws SystemError */
export function clearEnvironment(): void {
  check(c.clearenv(), "clearenv");
}
