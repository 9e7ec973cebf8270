import { dlopen, type Pointer } from "bun:ffi";

const { symbols: loader } = dlopen("libc.so.6", {
  dlerror: { args: [], returns: "cstring" },
  dlopen: { args: ["cstring", "i32"], returns: "ptr" },
  dlsym: { args: ["ptr", "cstring"], returns: "ptr" },
});

const RTLD_NOW = 2;

/** A shared library that the dynamic linker has loaded. It stays until the process ends. */
export class NativeLibrary {
  readonly #handle: Pointer;

  private constructor(handle: Pointer) {
    this.#handle = handle;
  }

  static open(path: string): NativeLibrary {
    const handle = loader.dlopen(Buffer.from(`${path}\0`), RTLD_NOW);
    if (handle === null) throw new Error(String(loader.dlerror()));
    return new NativeLibrary(Number(handle) as Pointer);
  }

  /** Where a function is, in this library or one that it needs; null where there is none. */
  symbol(name: string): Pointer | null {
    const address = loader.dlsym(this.#handle, Buffer.from(`${name}\0`));
    return address === null ? null : (Number(address) as Pointer);
  }
}
