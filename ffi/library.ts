import type { Pointer } from "bun:ffi";
import { bind } from "./bind.ts";

/** An address: a bigint where the kernel maps above 2^53, which no number holds exactly. */
type Address = Pointer | bigint;

// From glibc 2.34 on, libdl.so.2 is empty and needs the C library, which has its functions. It is in every process
// with this runtime already; musl takes this name for itself.
const dl = bind("libdl.so.2", {
  dlopen: { args: ["cstring", "i32"], returns: "ptr" },
  dlsym: { args: ["ptr", "cstring"], returns: "ptr" },
  dlerror: { args: [], returns: "cstring" },
});

const RTLD_NOW = 2;
const RTLD_GLOBAL = 0x100;

/** The dynamic linker refused; the message is its own. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}

/**
 * A shared library in this process. It is never unloaded, since threads and exit handlers of its own may be left.
 *
 * To load one runs its code. Only what is trusted is loaded into the program itself; all other goes into the child.
 */
export class NativeLibrary {
  private constructor(
    private readonly handle: Address,
    /** As given to {@link open}. */
    readonly path: string,
  ) {}

  /**
   * Loads a library, what it needs, and resolves all its symbols; later ones may use them (RTLD_NOW | RTLD_GLOBAL).
   *
   * @param path absolute, or `/proc/self/fd/N`: a bare name would be searched for
   * @throws LibraryError with the dynamic linker's reason
   */
  static open(path: string): NativeLibrary {
    if (!path.startsWith("/")) throw new LibraryError(`${path}: give an absolute path`);
    const handle = dl.dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (handle === null) throw new LibraryError(lastError(path));
    return new NativeLibrary(handle, path);
  }

  /** The address of a symbol, of this library or one that it needs; null where there is none. Only for ffi/. */
  symbol(name: string): Address | null {
    return dl.dlsym(this.handle, name);
  }
}

/** The address of a symbol of what this process was started with; null where there is none. Only for ffi/. */
export const globalSymbol = (name: string): Address | null => dl.dlsym(null, name); // null: RTLD_DEFAULT

const lastError = (path: string): string => dl.dlerror()?.toString() ?? `${path}: cannot be loaded`;
