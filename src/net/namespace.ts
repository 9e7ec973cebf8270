import { enterNetwork, type FileDescriptor } from "../../ffi/libc.ts";

/** This thread's network namespace; opening it keeps the namespace alive. */
export const THREAD_NAMESPACE = "/proc/thread-self/ns/net";

/**
 * Runs `act` with this thread inside a network namespace, and brings it home whatever happens. Sockets opened meanwhile
 * stay in that namespace.
 * @throws SystemError EPERM without CAP_SYS_ADMIN; EINVAL where the file is no network namespace
 */
export function inside<Result>(namespace: FileDescriptor, home: FileDescriptor, act: () => Result): Result {
  enterNetwork(namespace);
  try {
    return act();
  } finally {
    enterNetwork(home);
  }
}
