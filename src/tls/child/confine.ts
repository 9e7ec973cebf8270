import { readdirSync, readFileSync } from "node:fs";
import * as libc from "../../../ffi/libc.ts";
import { target } from "../../assets.ts";
import { parseStatus } from "../../host/capabilities.ts";
import { systemCallFilter } from "./seccomp.ts";

/** The user and group that own nothing, on every Linux (overflowuid). */
const nobody = 65534;
/** Bytes of address space for foreign code, its files and threads' stacks included. */
const memory = 512 << 20;
const descriptors = 64;

/**
 * Ends with the process that started this one, also where that is gone already.
 * @param parent its number in /proc, which inside a pid namespace only /proc knows
 * @throws Error where this process has another parent
 */
export function dieWith(parent: string): void {
  libc.dieWithParent();
  const actual = /^PPid:\s*(\d+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  if (actual !== parent) throw new Error(`started by process ${actual}, not by ${parent}`);
}

/** Descriptors below `end` reach what this process executes, no others. The runtime says otherwise when it starts. */
export function inheritBelow(end: number): void {
  for (const fd of readdirSync("/proc/self/fd").map(Number)) libc.setInherited(fd, fd < end);
}

/**
 * Moves this thread, and the programs that it starts, out of the machine's namespaces, where it has the privilege: no
 * network device, no process but its own to be seen, nothing shared. The system call filter alone refuses all that too;
 * where there is no privilege it is not tried, as some kernels log a refusal.
 */
export function leaveNamespaces(): void {
  if (!parseStatus(readFileSync("/proc/self/status", "latin1")).effective.includes("CAP_SYS_ADMIN")) return;
  const { CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWPID } = libc;
  // Each by itself: a kernel may be without one of them.
  for (const flag of [CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWPID]) {
    libc.unshare(flag);
  }
}

/**
 * Takes from all threads of this process what foreign code could do harm with, for good, and then has the kernel say
 * that it is so.
 * @throws SystemError, or Error where a thread is not confined: then nothing foreign may run
 */
export function confine(parent: string, seconds: number): void {
  if (process.getuid?.() === 0 || process.geteuid?.() === 0) libc.changeUser(nobody, nobody);
  dieWith(parent); // after the change of user, which clears the signal
  libc.setUndumpable();
  libc.exitOnFault();
  for (const [resource, limit] of limits(seconds)) libc.setLimit(resource, limit);
  libc.setNoNewPrivileges();
  libc.setSystemCallFilter(systemCallFilter(target.arch, process.pid));
  for (const thread of readdirSync("/proc/self/task")) {
    const open = unconfined(readFileSync(`/proc/self/task/${thread}/status`, "latin1"));
    if (open !== undefined) throw new Error(`thread ${thread} is not confined: ${open}`);
  }
}

/**
 * The engine reserves gigabytes of address space when it starts, so memory is limited by what comes after that. There
 * is no limit on threads: RLIMIT_NPROC counts all of nobody's on this machine. Their stacks take address space, though.
 * Not RLIMIT_DATA: the kernel logs where that is reached.
 */
function limits(seconds: number): readonly (readonly [resource: number, limit: number])[] {
  return [
    [libc.RLIMIT_CORE, 0],
    [libc.RLIMIT_FSIZE, 0],
    [libc.RLIMIT_CPU, seconds],
    [libc.RLIMIT_NOFILE, descriptors],
    [libc.RLIMIT_AS, addressSpace() + memory],
  ];
}

/** What is in use of it, in bytes: VmSize of /proc/PID/status. */
function addressSpace(): number {
  const kilobytes = /^VmSize:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  if (kilobytes === undefined) throw new Error("/proc/self/status has no VmSize");
  return Number(kilobytes) * 1024;
}

/** What /proc/PID/status must say of each thread: no root among its four ids, no groups of root's, nothing effective. */
const demands: readonly (readonly [key: string, is: RegExp])[] = [
  ["Uid", /^(?:[1-9]\d*\s*){4}$/],
  ["CapPrm", /^0+$/],
  ["CapEff", /^0+$/],
  ["CapInh", /^0+$/],
  ["NoNewPrivs", /^1$/],
  ["Seccomp", /^2$/],
];

/** The first line that says otherwise. */
export function unconfined(status: string): string | undefined {
  const failing = demands.find(([key, is]) => {
    const value = new RegExp(`^${key}:[ \\t]*(.*)$`, "m").exec(status)?.[1];
    return value === undefined || !is.test(value);
  });
  return failing && (new RegExp(`^${failing[0]}:.*$`, "m").exec(status)?.[0] ?? `no ${failing[0]}`);
}
