import { readdirSync, readFileSync } from "node:fs";
import {
  CLONE_NEWIPC,
  CLONE_NEWNS,
  CLONE_NEWUTS,
  changeUser,
  clearEnvironment,
  dieWithParent,
  exitOnFault,
  lowerLimit,
  RLIMIT_AS,
  RLIMIT_CORE,
  RLIMIT_CPU,
  RLIMIT_FSIZE,
  RLIMIT_NOFILE,
  RLIMIT_NPROC,
  setNoNewPrivileges,
  setSystemCallFilter,
  setUndumpable,
  unshare,
} from "../../../ffi/confinement.ts";
import { setInherited } from "../../../ffi/descriptors.ts";
import { CLONE_NEWNET } from "../../../ffi/thread.ts";
import { parseStatus } from "../../host/capabilities.ts";
import { arch } from "../../self/assets.ts";
import { systemCallFilter } from "./seccomp.ts";
import { childUser, firstOwn } from "./user.ts";

/** Bytes of address space for foreign code, its files and threads' stacks included. */
const memory = 512 << 20;
const descriptors = 64;
/** Threads for foreign code, beside the runtime's. */
const threads = 64;

/**
 * Ends with the process that started this one, also where that is gone already.
 * @param parent its number in /proc, which inside a pid namespace only /proc knows
 * @throws Error where this process has another parent
 */
export function dieWith(parent: string): void {
  dieWithParent();
  const actual = /^PPid:\s*(\d+)$/m.exec(ownStatus())?.[1];
  if (actual !== parent) throw new Error(`started by process ${actual}, not by ${parent}`);
}

/** A program that this process executes inherits the descriptors below `end` and no others. The runtime had set them otherwise. */
export function inheritBelow(end: number): void {
  for (const fd of readdirSync("/proc/self/fd").map(Number)) setInherited(fd, fd < end);
}

/**
 * Whether this thread may leave the machine's namespaces: no network device, no process but its own to be seen, nothing
 * shared. The system call filter alone refuses all that too; where there is no privilege it is not tried, as some kernels log a
 * refusal.
 */
export const mayLeaveNamespaces = (): boolean => parseStatus(ownStatus()).effective.includes("CAP_SYS_ADMIN");

/** Moves this thread, and the programs that it starts, out of them; that of pids is left by those alone, and the last. */
export function leaveNamespaces(): void {
  // Each by itself: a kernel may be without one of them.
  for (const flag of [CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS]) unshare(flag);
}

/**
 * Takes from all threads of this process what foreign code could do harm with, for good, and then has the kernel say
 * that it is so.
 * @throws SystemError, or Error where a thread is not confined: then nothing foreign may run
 */
export function confine(parent: string, seconds: number): void {
  clearEnvironment(); // of what the launcher tells the runtime, too
  const user = childUser();
  if (user !== null) changeUser(user, user);
  const ids = {
    uid: user ?? process.getuid?.() ?? 0,
    gid: user ?? process.getgid?.() ?? 0,
    groups: user === null ? groupsIn(ownStatus()) : "",
  };
  dieWith(parent); // after the change of user, which clears the signal
  setUndumpable();
  exitOnFault();
  for (const [resource, limit] of limits(seconds)) lowerLimit(resource, limit);
  // RLIMIT_NPROC counts all processes of the user: only for a user of the child's own does it count the child alone.
  if (ids.uid >= firstOwn && user !== null) {
    lowerLimit(RLIMIT_NPROC, readdirSync("/proc/self/task").length + threads);
  }
  setNoNewPrivileges();
  setSystemCallFilter(systemCallFilter(arch, process.pid));
  for (const thread of readdirSync("/proc/self/task")) {
    const open = unconfined(readFileSync(`/proc/self/task/${thread}/status`, "latin1"), ids);
    if (open !== undefined) throw new Error(`thread ${thread} is not confined: ${open}`);
  }
}

/**
 * The engine reserves gigabytes of address space when it starts, so memory is limited by what comes after that. Not
 * RLIMIT_DATA: the kernel logs where that is reached (may_expand_vm).
 */
function limits(seconds: number): readonly (readonly [resource: number, limit: number])[] {
  return [
    [RLIMIT_CORE, 0],
    [RLIMIT_FSIZE, 0],
    [RLIMIT_CPU, seconds],
    [RLIMIT_NOFILE, descriptors],
    [RLIMIT_AS, addressSpace() + memory],
  ];
}

const ownStatus = (): string => readFileSync("/proc/self/status", "latin1");
const groupsIn = (status: string): string => /^Groups:[ \t]*(.*)$/m.exec(status)?.[1]?.trim() ?? "";

/** The address space that this process uses, in bytes: VmSize of /proc/PID/status. */
function addressSpace(): number {
  const kilobytes = /^VmSize:\s*(\d+) kB$/m.exec(ownStatus())?.[1];
  if (kilobytes === undefined) throw new Error("/proc/self/status has no VmSize");
  return Number(kilobytes) * 1024;
}

/** The user and groups that every thread must have. */
export interface Ids {
  readonly uid: number;
  readonly gid: number;
  /** Further groups, as status has them: numbers with blanks between. */
  readonly groups: string;
}

/** What /proc/PID/status must say of each thread: these ids and no others, no capability, no way to one. */
const demands = ({ uid, gid, groups }: Ids): readonly (readonly [key: string, is: RegExp])[] => [
  ["Uid", new RegExp(`^(?:${uid}\\s*){4}$`)],
  ["Gid", new RegExp(`^(?:${gid}\\s*){4}$`)],
  ["Groups", new RegExp(`^${groups}\\s*$`)],
  ["CapPrm", /^0+$/],
  ["CapEff", /^0+$/],
  ["CapInh", /^0+$/],
  ["NoNewPrivs", /^1$/],
  ["Seccomp", /^2$/],
];

/** The first line that says otherwise. */
export function unconfined(status: string, ids: Ids): string | undefined {
  const failing = demands(ids).find(([key, is]) => {
    const value = new RegExp(`^${key}:[ \\t]*(.*)$`, "m").exec(status)?.[1];
    return value === undefined || !is.test(value);
  });
  return failing && (new RegExp(`^${failing[0]}:.*$`, "m").exec(status)?.[0] ?? `no ${failing[0]}`);
}
