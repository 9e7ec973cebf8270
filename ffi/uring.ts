import { ptr } from "bun:ffi";
import { bind } from "./bind.ts";
import { Mapping } from "./descriptors.ts";
import { check, FileDescriptor, withAddresses } from "./libc.ts";

const c = bind("libc.so.6", {
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  syscall: { args: ["i64", "u64", "u64", "u64", "u64", "u64"], returns: "i32" },
});

/** The same numbers on x86-64 and arm64, and EFD_CLOEXEC of sys/eventfd.h. */
const [SYS_IO_URING_SETUP, SYS_IO_URING_ENTER, EFD_CLOEXEC] = [425, 426, 0x80000];
/** Constants of include/uapi/linux/io_uring.h: an operation, and the offsets by which the queue's memory and its entries are mapped. */
const [IORING_OP_READ, IORING_OFF_SQ_RING, IORING_OFF_SQES, SIZE_OF_SQE] = [22, 0, 0x10000000, 64];
/** Words of 32 bits in struct io_uring_params: how many entries there are, and where the queue's tail and its array are. */
const PARAMS = { words: 30, entries: 0, tail: 11, array: 16 } as const;
/** Bytes of the number that an eventfd holds. */
const NUMBER = 8;

/** An eventfd that has nothing to be read (close-on-exec). @throws SystemError */
export const openEvent = (): FileDescriptor =>
  new FileDescriptor(check(c.eventfd(0, EFD_CLOEXEC), "eventfd"), "an event");

/** Reads that wait in the kernel until this is disposed of (Linux 5.8). */
export class WaitingReads implements Disposable {
  readonly #ring: FileDescriptor;
  /** What the kernel would write to. */
  readonly #buffer = new Uint8Array(NUMBER);

  /** @param reads of which descriptors, each of which has nothing to be read, and where in them @throws SystemError */
  constructor(reads: readonly { readonly fd: number; readonly position: bigint }[]) {
    using undo = new DisposableStack();
    const params = new Uint32Array(PARAMS.words);
    const ring = withAddresses([params], (at) => c.syscall(SYS_IO_URING_SETUP, reads.length, at, 0, 0, 0));
    this.#ring = undo.use(new FileDescriptor(check(ring, "io_uring_setup"), "an io_uring"));
    const word = (index: number): number => params[index] ?? 0;
    const [count, array] = [word(PARAMS.entries), word(PARAMS.array)];
    using queue = new Mapping(this.#ring.fd, array + 4 * count, "an io_uring", IORING_OFF_SQ_RING);
    using entries = new Mapping(this.#ring.fd, SIZE_OF_SQE * count, "an io_uring", IORING_OFF_SQES);
    const number = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
    for (const [index, { fd, position }] of reads.entries()) {
      const entry = new Uint8Array(SIZE_OF_SQE);
      const view = new DataView(entry.buffer);
      view.setUint8(0, IORING_OP_READ);
      view.setInt32(4, fd, true);
      view.setBigUint64(8, position, true);
      view.setBigUint64(16, BigInt(ptr(this.#buffer)), true);
      view.setUint32(24, NUMBER, true);
      entries.write(SIZE_OF_SQE * index, entry);
      queue.write(array + 4 * index, number(index));
    }
    queue.write(word(PARAMS.tail), number(reads.length));
    check(c.syscall(SYS_IO_URING_ENTER, this.#ring.fd, reads.length, 0, 0, 0), "io_uring_enter");
    undo.move();
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
    void this.#buffer.length;
  }
}
