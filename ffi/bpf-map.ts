import { JSCallback, type Pointer, toArrayBuffer } from "bun:ffi";
import { constants } from "node:os";
import { Mapping } from "./descriptors.ts";
import { ClosedError } from "./error.ts";
import { type Address, check, type LibbpfCalls, ObjectPart, present } from "./libbpf-calls.ts";

/** BPF_F_MMAPABLE: user space maps the array instead of asking for each element (Linux 5.5 and newer). */
export const BPF_F_MMAPABLE = 1 << 10;

/** Elements of an array map. `read` copies, all or the first `length` bytes; `write` takes a whole value. */
export interface SharedArray extends Disposable {
  /** @param length of what is read, and where in the value it begins: all of it */
  read(index: number, length?: number, from?: number): Uint8Array;
  write(index: number, value: Uint8Array): void;
}

/** A map of an open object. */
export class BpfMap extends ObjectPart {
  /** Size of one value, in bytes. */
  get valueSize(): number {
    return this.library.symbols.bpf_map__value_size(this.live());
  }

  /** How many entries it has room for. */
  get maxEntries(): number {
    return this.library.symbols.bpf_map__max_entries(this.live());
  }

  /**
   * Gives a ring buffer so much room instead of what its object says; another map keeps what it has. Before the object is loaded.
   *
   * @param bytes a power of two, and whole pages @throws SystemError, ClosedError
   */
  enlarge(bytes: number): void {
    const { bpf_map__type: typeOf, bpf_map__set_max_entries: setMaxEntries } = this.library.symbols;
    if (typeOf(this.live()) !== BPF_MAP_TYPE_RINGBUF) return;
    check(setMaxEntries(this.live(), bytes), `give ${this.name} ${bytes} bytes`);
  }

  get mmapable(): boolean {
    return (this.library.symbols.bpf_map__map_flags(this.live()) & BPF_F_MMAPABLE) !== 0;
  }

  /** Copies the value of array element `index`. @throws SystemError, ClosedError */
  lookup(index: number): Uint8Array {
    const value = new Uint8Array(this.valueSize);
    check(
      this.library.symbols.bpf_map_lookup_elem(this.#fd(), new Uint32Array([index]), value),
      `look up ${this.name}[${index}]`,
    );
    return value;
  }

  /**
   * Writes the value of array element `index`; `value` is `valueSize` bytes.
   * @throws RangeError for another size, SystemError, ClosedError
   */
  update(index: number, value: Uint8Array): void {
    if (value.byteLength !== this.valueSize) {
      throw new RangeError(`${this.name} holds values of ${this.valueSize} bytes, not ${value.byteLength}`);
    }
    check(
      this.library.symbols.bpf_map_update_elem(this.#fd(), new Uint32Array([index]), value, 0),
      `update ${this.name}[${index}]`,
    );
  }

  /** The elements of a loaded array map, mapped where it is mmapable and by system calls elsewhere. @throws SystemError, ClosedError */
  share(): SharedArray {
    if (!this.mmapable) {
      let isClosed = false;
      const live = (): this => {
        if (isClosed) throw new ClosedError(`the elements of ${this.name}`);
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
    const mapping = new Mapping(this.#fd(), this.maxEntries * stride, this.name);
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
    return new EventReader(this.library, this.library.symbols.bpf_map__type(this.live()), this.#fd(), take);
  }

  #fd(): number {
    return check(this.library.symbols.bpf_map__fd(this.live()), `descriptor of ${this.name}`);
  }
}

/** enum bpf_map_type. */
const BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4;
const BPF_MAP_TYPE_RINGBUF = 27;
/** Pages of each processor's part of a perf buffer; a power of two. */
const PERF_BUFFER_PAGES = 64;

/** A reader of a ring buffer or a perf buffer. Must be disposed of before its map's object is. */
export class EventReader implements Disposable {
  readonly #library: LibbpfCalls;
  readonly #isPerf: boolean;
  readonly #callbacks: readonly JSCallback[];
  #address: Address | null;
  #failure: unknown;
  #lost = 0;

  constructor(library: LibbpfCalls, mapType: number, fd: number, take: (record: Uint8Array) => void) {
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

  /** How many records found no room in a perf buffer; of a ring buffer the program itself must count them. */
  get lost(): number {
    return this.#lost;
  }

  /** Hands on every record that is there, without waiting. @throws what `take` threw first */
  consume(): void {
    const { ring_buffer__consume: consumeRing, perf_buffer__consume: consumePerf } = this.#library.symbols;
    this.#read((this.#isPerf ? consumePerf : consumeRing)(this.#live()));
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
