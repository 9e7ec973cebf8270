import { dlopen, type FFIFunction, type Library } from "bun:ffi";
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
