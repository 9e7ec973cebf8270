import { CString, linkSymbols, type Pointer, ptr } from "bun:ffi";
import { bind, lastErrno } from "./bind.ts";
import { ClosedError, SystemError } from "./error.ts";
import { globalSymbol } from "./library.ts";

// The C library is in every process already, so its bare name never reaches the file system; musl takes this name
// for itself too. Only symbols that glibc had by 2.17 may stand here.
const c = bind("libc.so.6", {
  _exit: { args: ["i32"], returns: "void" },
  close: { args: ["i32"], returns: "i32" },
  malloc_usable_size: { args: ["ptr"], returns: "u64" },
  vsnprintf: { args: ["buffer", "u64", "ptr", "ptr"], returns: "i32" },
});

/** What a call that a signal ended is repeated for. Only for ffi/. */
export const EINTR = 4;

/** Usable bytes of the block that malloc gave at `address`, which must be one. */
export const usableSize = (address: number): number => Number(c.malloc_usable_size(address as Pointer));

/** The version of the GNU C library in this process, as `2.36`; null where it is another one, as musl. */
export function glibcVersion(): string | null {
  asked ??= { version: askGlibcVersion() };
  return asked.version;
}

/** The answer, kept: it is asked again for each file of a TLS library. */
let asked: { readonly version: string | null } | undefined;

function askGlibcVersion(): string | null {
  // The musl that the executable carries has the name as well, as Bun asks for it.
  const address = muslVersion() === null ? globalSymbol("gnu_get_libc_version") : null;
  if (address === null) return null;
  const { symbols } = linkSymbols({ version: { ptr: address, args: [], returns: "cstring" } });
  return symbols.version()?.toString() ?? null;
}

/** The version of the musl in this process that the executable carries (assets/build/launcher); a host's musl tells none. */
function muslVersion(): string | null {
  const address = globalSymbol("__libc_version");
  return address === null ? null : new CString(Number(address) as Pointer).toString();
}

/** The kinds of C library; what is made for one cannot be loaded into the other. */
export type LibraryKind = "glibc" | "musl";

/** The kind of C library that is in this process. */
export const libraryKind = (): LibraryKind => (glibcVersion() === null ? "musl" : "glibc");

/** The C library in this process, as `glibc 2.36` or `musl 1.2.5`. */
export function cLibrary(): string {
  const glibc = glibcVersion();
  return glibc === null ? `musl ${muslVersion() ?? ""}`.trimEnd() : `glibc ${glibc}`;
}

/** Arrays that native code may read or write at this moment: this reference keeps the garbage collector from freeing them. */
const inUse = new Set<ArrayBufferView>();

/**
 * Has a function called that takes addresses as numbers, or in structs: what lies there stays alive until it has returned.
 * To the garbage collector an address is a number like others.
 */
export function withAddresses<Arrays extends readonly NodeJS.TypedArray[], Result>(
  arrays: readonly [...Arrays],
  call: (...addresses: { readonly [Index in keyof Arrays]: Pointer }) => Result,
): Result {
  for (const each of arrays) inUse.add(each);
  try {
    return call(...(arrays.map((each) => ptr(each)) as { readonly [Index in keyof Arrays]: Pointer }));
  } finally {
    for (const each of arrays) inUse.delete(each);
  }
}

/** Passes a call's number on, or throws when it is negative. Only for ffi/. */
export function check(result: number | bigint, call: string): number {
  if (result < 0) throw new SystemError(call, lastErrno());
  return Number(result);
}
check(0, "nothing"); // not for the first time between a call and its errno

/** An open file descriptor that is closed with its scope. */
export class FileDescriptor implements Disposable {
  #fd: number;

  constructor(
    fd: number,
    private readonly what: string,
  ) {
    this.#fd = fd;
  }

  /** The descriptor's number. Throws ClosedError once closed. */
  get fd(): number {
    if (this.#fd < 0) throw new ClosedError(this.what);
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Gives the descriptor away: who takes it closes it. */
  release(): number {
    const { fd } = this;
    this.#fd = -1;
    return fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    c.close(this.#fd);
    this.#fd = -1;
  }
}

/** Formats what C code would print; returns how many bytes the whole text needs, which may be more than fits. @throws SystemError */
export function vsnprintf(text: Uint8Array, format: Pointer, list: Pointer): number {
  return check(c.vsnprintf(text, text.byteLength, format, list), "vsnprintf");
}

/** A text as C has it. Only for ffi/. */
export const cString = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);

/** A path as the system calls take it. Only for ffi/. */
export function terminated(path: string | Uint8Array): Uint8Array {
  if (typeof path === "string") return cString(path);
  const text = new Uint8Array(path.byteLength + 1);
  text.set(path);
  return text;
}

/** Ends the process with all its threads at once (exit_group(2)), without a word. Works from any thread. */
export function exitNow(status: number): void {
  c._exit(status);
}
