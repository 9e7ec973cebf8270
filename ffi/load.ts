import { dlopen, type FFIFunction, type Library } from "bun:ffi";
import { memoryFile } from "./descriptors.ts";

/**
 * Loads a shared library from memory and binds its symbols.
 *
 * The library never touches a file system: not a temporary folder that may be mounted noexec, and where somebody
 * could have planted a file of that name. Its descriptor stays open for the life of the process, because the
 * loader tells libraries apart by path and the path names the descriptor.
 */
export function loadLibrary<Symbols extends Record<string, FFIFunction>>(
  name: string,
  bytes: Uint8Array,
  symbols: Symbols,
): Library<Symbols> {
  return dlopen(`/proc/self/fd/${memoryFile(name, bytes).fd}`, symbols);
}
