import { JSCallback, type Library, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { constants } from "node:os";
import { Mapping } from "./descriptors.ts";
import { ClosedError, SystemError } from "./error.ts";
import { type FileDescriptor, lastErrno, vsnprintf } from "./libc.ts";
import { loadLibrary } from "./load.ts";

/** One row a function of libbpf 1.x that this project calls. Unless said otherwise a negative result is -errno. */
const functions = {
  bpf_link__destroy: { args: ["ptr"], returns: "i32" },
  bpf_map__fd: { args: ["ptr"], returns: "i32" },
  bpf_map__map_flags: { args: ["ptr"], returns: "u32" },
  bpf_map__max_entries: { args: ["ptr"], returns: "u32" },
  bpf_map__type: { args: ["ptr"], returns: "u32" },
  bpf_map__value_size: { args: ["ptr"], returns: "u32" },
  bpf_map_lookup_elem: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  bpf_map_update_elem: { args: ["i32", "buffer", "buffer", "u64"], returns: "i32" },
  bpf_object__close: { args: ["ptr"], returns: "void" },
  bpf_object__find_map_by_name: { args: ["ptr", "cstring"], returns: "ptr" },
  bpf_object__find_program_by_name: { args: ["ptr", "cstring"], returns: "ptr" },
  bpf_object__load: { args: ["ptr"], returns: "i32" },
  bpf_object__open_mem: { args: ["buffer", "u64", "buffer"], returns: "ptr" }, // NULL with errno
  bpf_program__attach: { args: ["ptr"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_kprobe: { args: ["ptr", "bool", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_perf_event: { args: ["ptr", "i32"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_raw_tracepoint: { args: ["ptr", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_tracepoint: { args: ["ptr", "cstring", "cstring"], returns: "ptr" }, // NULL with errno
  bpf_program__attach_uprobe: { args: ["ptr", "bool", "i32", "cstring", "u64"], returns: "ptr" }, // NULL with errno
  bpf_program__set_autoload: { args: ["ptr", "bool"], returns: "i32" },
  libbpf_set_print: { args: ["ptr"], returns: "ptr" },
  perf_buffer__consume: { args: ["ptr"], returns: "i32" },
  perf_buffer__free: { args: ["ptr"], returns: "void" },
  perf_buffer__poll: { args: ["ptr", "i32"], returns: "i32" },
  perf_buffer__new: { args: ["i32", "u64", "ptr", "ptr", "ptr", "ptr"], returns: "ptr" }, // NULL with errno
  ring_buffer__consume: { args: ["ptr"], returns: "i32" },
  ring_buffer__free: { args: ["ptr"], returns: "void" },
  ring_buffer__poll: { args: ["ptr", "i32"], returns: "i32" },
  ring_buffer__new: { args: ["i32", "ptr", "ptr", "ptr"], returns: "ptr" }, // NULL with errno
} as const;

/** Where a failing verifier writes; it keeps the end of its log, which holds the cause. */
const VERIFIER_LOG_SIZE = 64 * 1024;
const PRINT_BUFFER_SIZE = 4096;
/** BPF_F_MMAPABLE: user space maps the array instead of asking for each element (Linux 5.5 and newer). */
export const BPF_F_MMAPABLE = 1 << 10;

type Address = Pointer | bigint;

/**
 * libbpf, loaded from the executable's own copy.
 *
 * Its objects (eBPF objects, BTF) must be closed before the process ends; `using` does it.
 */
export class Libbpf {
  readonly #library: Library<typeof functions>;
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

/** The result of a call that returns -errno. */
function check(result: number, call: string): number {
  if (result < 0) throw new SystemError(call, -result);
  return result;
}

/** The result of a call that returns NULL and sets errno. */
function present(result: Address | null, call: string): Address {
  if (result === null || result === 0n) throw new SystemError(call, lastErrno());
  return result;
}

/** An eBPF object: open, choose its programs, load, attach. Closing it unloads what was not attached. */
export class BpfObject implements Disposable {
  #address: Address | null;
  readonly #library: Library<typeof functions>;
  readonly #name: string;
  // libbpf reads the object's bytes until it is closed, and the verifier writes its log into the options'.
  readonly #bytes: Uint8Array;
  readonly #options: OpenOptions;

  constructor(library: Library<typeof functions>, bytes: Uint8Array, name: string) {
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

/** A program of an open object. Lives as long as its object. */
export class BpfProgram {
  readonly #library: Library<typeof functions>;
  readonly #object: BpfObject;
  readonly #address: Address;
  readonly #name: string;

  constructor(library: Library<typeof functions>, object: BpfObject, address: Address, name: string) {
    this.#library = library;
    this.#object = object;
    this.#address = address;
    this.#name = name;
  }

  /** Leaves the program out of the next load, or takes it in again. @throws SystemError, ClosedError */
  setAutoload(load: boolean): void {
    check(this.#library.symbols.bpf_program__set_autoload(this.#live(), load), "bpf_program__set_autoload");
  }

  /** Runs the program at the entry of a kernel function; needs no tracefs on Linux 4.17 and newer. */
  attachKprobe(functionName: string): BpfLink {
    const link = this.#library.symbols.bpf_program__attach_kprobe(this.#live(), false, functionName);
    return this.#link(link, `kprobe:${functionName}`);
  }

  /** Runs the program where its section says, e.g. `tp_btf/inet_sock_set_state`. */
  attach(where: string): BpfLink {
    return this.#link(this.#library.symbols.bpf_program__attach(this.#live()), where);
  }

  /** Runs the program at a tracepoint with the tracepoint's own arguments. */
  attachRawTracepoint(tracepoint: string): BpfLink {
    const link = this.#library.symbols.bpf_program__attach_raw_tracepoint(this.#live(), tracepoint);
    return this.#link(link, `raw_tp:${tracepoint}`);
  }

  /** Runs the program at a tracepoint with the tracepoint's formatted record; needs tracefs. */
  attachTracepoint(category: string, tracepoint: string): BpfLink {
    const link = this.#library.symbols.bpf_program__attach_tracepoint(this.#live(), category, tracepoint);
    return this.#link(link, `tracepoint:${category}/${tracepoint}`);
  }

  /** Runs the program at an event of perf, which goes with the link. @param event its descriptor @param name for people */
  attachPerfEvent(event: FileDescriptor, name: string): BpfLink {
    const link = this.#link(
      this.#library.symbols.bpf_program__attach_perf_event(this.#live(), event.fd),
      `perf_event:${name}`,
    );
    event.release(); // libbpf closes it
    return link;
  }

  /**
   * Runs the program at the entry of a function of user space, in processes that run now and later.
   *
   * @param path the executable or library
   * @param offset of the function in the file, in bytes
   * @param pid the one process to watch, by its number in this process's pid namespace; every process without it
   */
  attachUprobe(path: string, offset: number, pid = -1): BpfLink {
    const { bpf_program__attach_uprobe: attach } = this.#library.symbols;
    const link = attach(this.#live(), false, pid, path, offset);
    return this.#link(link, `uprobe:${path}+0x${offset.toString(16)}`);
  }

  #link(address: Address | null, where: string): BpfLink {
    return new BpfLink(this.#library, present(address, `attach ${this.#name} to ${where}`), where);
  }

  #live(): Address {
    void this.#object.address; // throws once the object is closed
    return this.#address;
  }
}

/** An attached program. Disposing of it detaches the program. */
export class BpfLink implements Disposable {
  #address: Address | null;
  readonly #library: Library<typeof functions>;

  constructor(
    library: Library<typeof functions>,
    address: Address,
    /** `kind:target`, as the document's `attached` shows it. */
    readonly where: string,
  ) {
    this.#library = library;
    this.#address = address;
  }

  [Symbol.dispose](): void {
    if (this.#address === null) return;
    this.#library.symbols.bpf_link__destroy(this.#address);
    this.#address = null;
  }
}

/** Elements of an array map. `read` copies, all or the first `length` bytes; `write` takes a whole value. */
export interface SharedArray extends Disposable {
  /** @param length of what is read, and where in the value it begins: all of it */
  read(index: number, length?: number, from?: number): Uint8Array;
  write(index: number, value: Uint8Array): void;
}

/** A map of an open object. Lives as long as its object. */
export class BpfMap {
  readonly #library: Library<typeof functions>;
  readonly #object: BpfObject;
  readonly #address: Address;
  readonly #name: string;

  constructor(library: Library<typeof functions>, object: BpfObject, address: Address, name: string) {
    this.#library = library;
    this.#object = object;
    this.#address = address;
    this.#name = name;
  }

  /** Size of one value, in bytes. */
  get valueSize(): number {
    return this.#library.symbols.bpf_map__value_size(this.#live());
  }

  get maxEntries(): number {
    return this.#library.symbols.bpf_map__max_entries(this.#live());
  }

  get mmapable(): boolean {
    return (this.#library.symbols.bpf_map__map_flags(this.#live()) & BPF_F_MMAPABLE) !== 0;
  }

  /** Copies the value of array element `index`. @throws SystemError, ClosedError */
  lookup(index: number): Uint8Array {
    const value = new Uint8Array(this.valueSize);
    check(
      this.#library.symbols.bpf_map_lookup_elem(this.#fd(), new Uint32Array([index]), value),
      `look up ${this.#name}[${index}]`,
    );
    return value;
  }

  /**
   * Writes the value of array element `index`; `value` is `valueSize` bytes.
   * @throws RangeError for another size, SystemError, ClosedError
   */
  update(index: number, value: Uint8Array): void {
    if (value.byteLength !== this.valueSize) {
      throw new RangeError(`${this.#name} holds values of ${this.valueSize} bytes, not ${value.byteLength}`);
    }
    check(
      this.#library.symbols.bpf_map_update_elem(this.#fd(), new Uint32Array([index]), value, 0),
      `update ${this.#name}[${index}]`,
    );
  }

  /** The elements of a loaded array map, mapped where it is mmapable and by system calls elsewhere. @throws SystemError, ClosedError */
  share(): SharedArray {
    if (!this.mmapable) {
      let isClosed = false;
      const live = (): this => {
        if (isClosed) throw new ClosedError(`the elements of ${this.#name}`);
        return this;
      };
      return {
        read: (index, length = Number.POSITIVE_INFINITY, from = 0) =>
          live()
            .lookup(index)
            .subarray(from, from + length),
        write: (index, value) => live().update(index, value),
        [Symbol.dispose]: () => {
          isClosed = true;
        },
      };
    }
    const size = this.valueSize;
    const stride = (size + 7) & ~7; // array_map_alloc rounds values up to 8 bytes
    const mapping = new Mapping(this.#fd(), this.maxEntries * stride, this.#name);
    return {
      read: (index, length = size, from = 0) => mapping.copy(index * stride + from, length),
      write: (index, value) => mapping.write(index * stride, value),
      [Symbol.dispose]: () => mapping[Symbol.dispose](),
    };
  }

  /**
   * Reads what programs put into a loaded ring buffer or perf buffer. Nothing is read before `consume` is called.
   *
   * @param take is given a copy of each record; a perf buffer's is padded at its end
   */
  events(take: (record: Uint8Array) => void): EventReader {
    return new EventReader(
      this.#library,
      this.#library.symbols.bpf_map__type(this.#live()),
      this.#fd(),
      take,
    );
  }

  #fd(): number {
    return check(this.#library.symbols.bpf_map__fd(this.#live()), `descriptor of ${this.#name}`);
  }

  #live(): Address {
    void this.#object.address; // throws once the object is closed
    return this.#address;
  }
}

/** enum bpf_map_type. */
const BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4;
/** Pages of each processor's part of a perf buffer; a power of two. */
const PERF_BUFFER_PAGES = 64;

/** A reader of a ring buffer or a perf buffer. Must be disposed of before its map's object is. */
export class EventReader implements Disposable {
  readonly #library: Library<typeof functions>;
  readonly #isPerf: boolean;
  readonly #callbacks: readonly JSCallback[];
  #address: Address | null;
  #failure: unknown;
  #lost = 0;

  constructor(
    library: Library<typeof functions>,
    mapType: number,
    fd: number,
    take: (record: Uint8Array) => void,
  ) {
    this.#library = library;
    this.#isPerf = mapType === BPF_MAP_TYPE_PERF_EVENT_ARRAY;
    // What a callback throws would be lost in C.
    const sample = (data: Pointer, size: number): void => {
      try {
        take(new Uint8Array(toArrayBuffer(data, 0, size).slice(0)));
      } catch (error) {
        this.#failure ??= error;
      }
    };
    const { ring_buffer__new: newRing, perf_buffer__new: newPerf } = library.symbols;
    if (this.#isPerf) {
      const onSample = (_context: Pointer | null, _cpu: number, data: Pointer, size: number) =>
        sample(data, size);
      const onLost = (_context: Pointer | null, _cpu: number, count: bigint) => {
        this.#lost += Number(count);
      };
      const callbacks = [
        new JSCallback(onSample, { args: ["ptr", "i32", "ptr", "u32"], returns: "void" }),
        new JSCallback(onLost, { args: ["ptr", "i32", "u64"], returns: "void" }),
      ] as const;
      this.#callbacks = callbacks;
      const address = newPerf(fd, PERF_BUFFER_PAGES, callbacks[0].ptr, callbacks[1].ptr, null, null);
      this.#address = present(address, "read a perf buffer");
    } else {
      const onSample = (_context: Pointer | null, data: Pointer, size: number | bigint): number => {
        sample(data, Number(size));
        return 0;
      };
      const callback = new JSCallback(onSample, { args: ["ptr", "ptr", "u64"], returns: "i32" });
      this.#callbacks = [callback];
      this.#address = present(newRing(fd, callback.ptr, null, null), "read a ring buffer");
    }
  }

  /** Records that found no room in a perf buffer; of a ring buffer the program itself must count them. */
  get lost(): number {
    return this.#lost;
  }

  /** Hands on every record that is there, without waiting. @throws what `take` threw first */
  consume(): void {
    const { ring_buffer__consume: consumeRing, perf_buffer__consume: consumePerf } = this.#library.symbols;
    this.#read((this.#isPerf ? consumePerf : consumeRing)(this.#live()));
  }

  /** Waits for records, at most so many milliseconds, and hands on those that came. @throws what `take` threw first */
  poll(milliseconds: number): void {
    const { ring_buffer__poll: pollRing, perf_buffer__poll: pollPerf } = this.#library.symbols;
    this.#read((this.#isPerf ? pollPerf : pollRing)(this.#live(), milliseconds));
  }

  #live(): Address {
    if (this.#address === null) throw new ClosedError("the reader of events");
    return this.#address;
  }

  #read(result: number): void {
    // A signal is no failure: the runtime's garbage collector uses them.
    if (result !== -constants.errno.EINTR) check(result, "read events");
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  [Symbol.dispose](): void {
    if (this.#address === null) return;
    const { ring_buffer__free: freeRing, perf_buffer__free: freePerf } = this.#library.symbols;
    (this.#isPerf ? freePerf : freeRing)(this.#address);
    this.#address = null;
    for (const callback of this.#callbacks) callback.close();
  }
}
