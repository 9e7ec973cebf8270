import { dlopen, type FFIFunction, type Library, type Pointer, read } from "bun:ffi";
import { NoJitError } from "./error.ts";

/**
 * Binds functions of a library at the first call of one: what calls none, as --version, costs nothing and works where
 * no function can be bound.
 *
 * @param name of a library that is in every process already: nothing is searched for in the file system
 * @throws NoJitError at that call, where this process may have no executable memory
 */
export function bind<Functions extends Record<string, FFIFunction>>(
  name: string,
  functions: Functions,
): Library<Functions>["symbols"] {
  let bound: Library<Functions>["symbols"] | undefined;
  const lazy: Record<string, unknown> = {};
  for (const each of Object.keys(functions)) {
    Object.defineProperty(lazy, each, {
      configurable: true,
      get() {
        bound ??= openNow(() => dlopen(name, functions).symbols);
        prepareErrno();
        // Replaces this getter by the functions: later calls find them directly.
        for (const [known, value] of Object.entries(bound)) Object.defineProperty(lazy, known, { value });
        return bound[each];
      },
    });
  }
  return lazy as Library<Functions>["symbols"];
}

/** The runtime compiles each binding, and says so in words alone where it cannot. */
function openNow<Symbols>(open: () => Symbols): Symbols {
  try {
    return open();
  } catch (error) {
    if (error instanceof TypeError && error.message.includes("requires the JIT")) throw new NoJitError();
    throw error;
  }
}

/** Where this thread has its errno. */
let errno: Pointer | undefined;

/** Makes ready, before any function can be called, what reads errno. */
function prepareErrno(): void {
  if (errno !== undefined) return;
  const location = { __errno_location: { args: [], returns: "ptr" } } as const;
  const address = openNow(() => dlopen("libc.so.6", location).symbols.__errno_location());
  if (address === null) throw new Error("__errno_location gave no address");
  errno = Number(address) as Pointer;
  lastErrno();
}

/**
 * The errno of the last failed call on this thread; read it before anything else runs. Whatever the runtime does for the first time, to
 * bind a function or to run one, may make system calls that fail (madvise is EBADF without CONFIG_SWAP), and set it anew. So the way here
 * was gone once before.
 *
 * @throws Error where no function was bound yet
 */
export function lastErrno(): number {
  if (errno === undefined) throw new Error("no function was called that could have failed");
  return read.i32(errno);
}
