import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { enterNetwork } from "../../ffi/thread.ts";

/** This thread's network namespace; opening it keeps the namespace alive. */
export const THREAD_NAMESPACE = "/proc/thread-self/ns/net";

/** The number of `lo`, which is the first interface of every network namespace. */
export const LOOPBACK = 1;

/** The reason that is told where the kernel has no network namespaces. */
export const NO_NAMESPACES = "this kernel has no network namespaces (CONFIG_NET_NS)";

/** Whether this kernel has none: each thread has a folder of namespaces, and in it an entry for each kind there is. */
export const isWithoutNamespaces = (): boolean =>
  !existsSync(THREAD_NAMESPACE) && existsSync(dirname(THREAD_NAMESPACE));

/** This thread is in a network namespace that it could not leave. Nothing may be opened or told any more. */
export class StrandedError extends Error {
  override readonly name = "StrandedError";
}

/**
 * Runs `act` with this thread inside a network namespace, and brings it home whatever happens. Sockets opened meanwhile
 * stay in that namespace.
 * @throws SystemError EPERM without CAP_SYS_ADMIN; EINVAL where the file is no network namespace
 * @throws StrandedError where the way home is barred
 */
export function inside<Result>(namespace: FileDescriptor, home: FileDescriptor, act: () => Result): Result {
  enterNetwork(namespace);
  try {
    return act();
  } finally {
    comeHome(home);
  }
}

function comeHome(home: FileDescriptor): void {
  try {
    enterNetwork(home);
  } catch (cause) {
    throw new StrandedError("this thread cannot return to its own network namespace", { cause });
  }
}
