import { bind } from "./bind.ts";
import { check, type FileDescriptor, withAddresses } from "./libc.ts";

// Only symbols that glibc had by 2.17 may stand here, as in libc.ts.
const c = bind("libc.so.6", {
  getpgid: { args: ["i32"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  usleep: { args: ["u32"], returns: "i32" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64, but where it says otherwise. */
export const CLONE_NEWNET = 0x40000000;
const PR_SET_NAME = 15;
const PR_GET_NAME = 16;
/** The number of getpgid(2). */
export const GETPGID = process.arch === "arm64" ? 155 : 121;

/** A system call that changes nothing, and that the runtime makes none of. */
export function getProcessGroup(): void {
  c.getpgid(0);
}

/** TASK_COMM_LEN of the kernel: a thread's name with its closing zero byte. */
export const TASK_COMM_LEN = 16;

/** Blocks this thread. For waits that no event can end. */
export function sleep(microseconds: number): void {
  c.usleep(microseconds);
}

/** Moves this thread into a new network namespace. Needs CAP_SYS_ADMIN. @throws SystemError */
export function unshareNetwork(): void {
  check(c.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)");
}

/** Moves this thread into the network namespace that `namespace` was opened from. @throws SystemError */
export function enterNetwork(namespace: FileDescriptor): void {
  check(c.setns(namespace.fd, CLONE_NEWNET), "setns");
}

/** This thread's name as its TASK_COMM_LEN raw bytes, with the closing zeros. @throws SystemError */
export function threadName(): Uint8Array {
  const name = new Uint8Array(TASK_COMM_LEN);
  withAddresses([name], (at) => check(c.prctl(PR_GET_NAME, at, 0, 0, 0), "prctl(PR_GET_NAME)"));
  return name;
}

/** Names this thread; `name` is TASK_COMM_LEN bytes that end in zero. @throws SystemError */
export function setThreadName(name: Uint8Array): void {
  withAddresses([name], (at) => check(c.prctl(PR_SET_NAME, at, 0, 0, 0), "prctl(PR_SET_NAME)"));
}
