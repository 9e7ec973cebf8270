import { type FFIFunction, JSCallback, type Library, linkSymbols, type Pointer } from "bun:ffi";
import { ClosedError } from "./error.ts";
import type { NativeLibrary } from "./library.ts";

/** A call into a TLS library did not give what its manual page promises. */
export class TlsCallError extends Error {
  override readonly name = "TlsCallError";
}

/** The library lacks a function: what it would have told stays unknown, and nothing else. */
export class MissingFunctionError extends TlsCallError {
  constructor(name: string) {
    super(`it has no ${name}`);
  }
}

/** The result of a call that gives a pointer, as a number. @throws TlsCallError for NULL */
export function present(result: Pointer | bigint | null, call: string): Pointer {
  if (result === null) throw new TlsCallError(`${call} gave nothing`);
  return Number(result) as Pointer;
}

/** A C string, for a function that takes one. */
export const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

/** The certificate and private key of a server. DER; the key is of an elliptic curve. */
export interface Credentials {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

/** The functions of one library, bound. */
export interface Bound<Functions extends Readonly<Record<string, FFIFunction>>> {
  readonly calls: Library<Functions>["symbols"];
  has(name: keyof Functions): boolean;
}

/** Binds those of the functions that a library has. A call to one that it lacks throws a MissingFunctionError. */
export function bindFound<Functions extends Readonly<Record<string, FFIFunction>>>(
  library: Pick<NativeLibrary, "symbol">,
  functions: Functions,
): Bound<Functions> {
  const found: Record<string, FFIFunction> = {};
  const absent: Record<string, () => never> = {};
  for (const [name, row] of Object.entries(functions)) {
    const address = library.symbol(name);
    if (address !== null) found[name] = { ...row, ptr: address };
    else
      absent[name] = () => {
        throw new MissingFunctionError(name);
      };
  }
  const calls: unknown = { ...linkSymbols(found).symbols, ...absent };
  return {
    calls: calls as Library<Functions>["symbols"],
    has: (name) => Object.hasOwn(found, name),
  };
}

/** Something a library made. Its address is a number to be looked for in memory, also when it is there no more. */
export class Made<Functions extends Readonly<Record<string, FFIFunction>>> {
  #isGone = false;
  // The library calls them for as long as this lives.
  readonly #callbacks: JSCallback[] = [];

  constructor(
    protected readonly bound: Bound<Functions>,
    readonly address: number,
  ) {}

  /** Its address, for the library's functions. @throws ClosedError where the library has freed it */
  get pointer(): Pointer {
    if (this.#isGone) throw new ClosedError(`what a TLS library made at 0x${this.address.toString(16)}`);
    return this.address as Pointer;
  }

  /** Says that the library has freed it, by itself or with what owns it: it must not be used any more. */
  forget(): void {
    this.#isGone = true;
  }

  /** The address of a function that the library may call. */
  protected keep(
    call: (...given: never[]) => unknown,
    args: FFIFunction["args"],
    returns: FFIFunction["returns"],
  ): Pointer {
    const callback = new JSCallback(call, { ...(args && { args }), ...(returns && { returns }) });
    this.#callbacks.push(callback);
    return present(callback.ptr, "JSCallback");
  }
}
