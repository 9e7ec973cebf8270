import { JSCallback, type Pointer, ptr } from "bun:ffi";
import { BpfMap } from "./bpf-map.ts";
import { BpfProgram } from "./bpf-program.ts";
import { ClosedError, SystemError } from "./error.ts";
import { type Address, functions, type LibbpfCalls, type Opened, present } from "./libbpf-calls.ts";
import { vsnprintf } from "./libc.ts";
import { loadLibrary } from "./load.ts";

/** Where a failing verifier writes; it keeps the end of its log, which holds the cause. */
const VERIFIER_LOG_SIZE = 64 * 1024;
const PRINT_BUFFER_SIZE = 4096;
/**
 * libbpf, loaded from the executable's own copy.
 *
 * Its objects (eBPF objects, BTF) must be closed before the process ends; `using` does it.
 */
export class Libbpf {
  readonly #library: LibbpfCalls;
  readonly #print: JSCallback | undefined;

  /**
   * @param bytes the shared library
   * @param trace receives what libbpf itself would print; without it libbpf is silent
   */
  constructor(bytes: Uint8Array, trace?: (message: string) => void) {
    this.#library = loadLibrary("libbpf.so", bytes, functions);
    if (trace !== undefined) this.#print = printInto(trace);
    this.#library.symbols.libbpf_set_print(this.#print?.ptr ?? null);
  }

  /** Opens an eBPF object from memory. `name` is for messages alone. */
  openObject(bytes: Uint8Array, name: string): BpfObject {
    return new BpfObject(this.#library, bytes, name);
  }
}

/** Makes a libbpf_print_fn_t of a function that takes lines. */
function printInto(trace: (message: string) => void): JSCallback {
  const text = new Uint8Array(PRINT_BUFFER_SIZE);
  const decoder = new TextDecoder();
  const print = (_level: number, format: Pointer, list: Pointer): number => {
    // A va_list is handed on as the pointer that it is in the calling conventions of x86-64 and arm64.
    const length = Math.min(vsnprintf(text, format, list), text.byteLength - 1);
    trace(decoder.decode(text.subarray(0, length)).trimEnd());
    return length;
  };
  return new JSCallback(print, { args: ["i32", "ptr", "ptr"], returns: "i32" });
}

/** An eBPF object: open, choose its programs, load, attach. Closing it unloads what was not attached. */
export class BpfObject implements Opened, Disposable {
  #address: Address | null;
  readonly #library: LibbpfCalls;
  readonly #name: string;
  // libbpf reads the object's bytes until it is closed, and the verifier writes its log into the options'.
  readonly #bytes: Uint8Array;
  readonly #options: OpenOptions;

  constructor(library: LibbpfCalls, bytes: Uint8Array, name: string) {
    this.#library = library;
    this.#name = name;
    this.#bytes = bytes;
    this.#options = new OpenOptions(name);
    this.#address = present(
      library.symbols.bpf_object__open_mem(bytes, bytes.byteLength, this.#options.bytes),
      `open eBPF object ${name}`,
    );
  }

  get address(): Address {
    if (this.#address === null)
      throw new ClosedError(`eBPF object ${this.#name} (${this.#bytes.byteLength} bytes)`);
    return this.#address;
  }

  /** The program of this C name. Throws when the object has none. */
  program(name: string): BpfProgram {
    const address = present(
      this.#library.symbols.bpf_object__find_program_by_name(this.address, name),
      `find program ${name} in ${this.#name}`,
    );
    return new BpfProgram(this.#library, this, address, name);
  }

  /** The map of this C name. Throws when the object has none. */
  map(name: string): BpfMap {
    const address = present(
      this.#library.symbols.bpf_object__find_map_by_name(this.address, name),
      `find map ${name} in ${this.#name}`,
    );
    return new BpfMap(this.#library, this, address, name);
  }

  /** Creates the maps and loads the programs. The error carries the end of the verifier's log. @throws SystemError */
  load(): void {
    const result = this.#library.symbols.bpf_object__load(this.address);
    if (result >= 0) return;
    const { log: text } = this.#options;
    const log = new TextDecoder().decode(text.subarray(0, Math.max(0, text.indexOf(0)))).trim();
    const cause = log === "" ? undefined : log.split("\n").slice(-8).join("\n");
    throw new SystemError(`load eBPF object ${this.#name}`, -result, cause);
  }

  [Symbol.dispose](): void {
    if (this.#address === null) return;
    this.#library.symbols.bpf_object__close(this.#address);
    this.#address = null;
  }
}

/** struct bpf_object_open_opts with a name and a buffer for the verifier's log; holds what it points to. */
class OpenOptions {
  readonly #name: Uint8Array;
  readonly log = new Uint8Array(VERIFIER_LOG_SIZE);
  readonly bytes = new Uint8Array(80);

  constructor(name: string) {
    this.#name = new TextEncoder().encode(`${name}\0`);
    const words = new BigUint64Array(this.bytes.buffer);
    words[0] = BigInt(this.bytes.byteLength); // size_t sz
    words[1] = BigInt(ptr(this.#name)); // const char *object_name
    words[7] = BigInt(ptr(this.log)); // char *kernel_log_buf
    words[8] = BigInt(this.log.byteLength); // size_t kernel_log_size
  }
}
