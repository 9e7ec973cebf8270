import { type Pointer, toArrayBuffer } from "bun:ffi";
import { bind } from "./bind.ts";
import { ClosedError } from "./error.ts";
import { check, FileDescriptor, withAddresses } from "./libc.ts";

const c = bind("libc.so.6", {
  madvise: { args: ["u64", "u64", "i32"], returns: "i32" },
  mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  munmap: { args: ["u64", "u64"], returns: "i32" },
  syscall: { args: ["i64", "ptr", "i64", "i64", "i64", "u64"], returns: "i32" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64. */
const [PROT_READ, PROT_WRITE, MAP_SHARED, MAP_ANONYMOUS, MADV_DONTNEED] = [1, 2, 1, 0x20, 4];
/** More than a page has anywhere. */
const LARGEST_PAGE = 0x10000;
const SYS_PERF_EVENT_OPEN = process.arch === "arm64" ? 241 : 298;
/** Constants of linux/perf_event.h: a kind of event, an event of that kind, a flag of perf_event_open(2). */
const [PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, PERF_FLAG_FD_CLOEXEC] = [1, 2, 8];
const [INHERIT, EXCLUDE_KERNEL] = [1n << 1n, 1n << 5n];

/**
 * An event of perf: each page fault that this thread has outside of the kernel, and that threads and children have which it makes
 * from now on. @throws SystemError
 */
export function openPageFaults(): FileDescriptor {
  const attributes = new BigUint64Array(8); // PERF_ATTR_SIZE_VER0
  new Uint32Array(attributes.buffer).set([PERF_TYPE_SOFTWARE, attributes.byteLength]);
  attributes[1] = BigInt(PERF_COUNT_SW_PAGE_FAULTS);
  attributes[2] = 1n; // sample_period
  attributes[5] = INHERIT | EXCLUDE_KERNEL;
  const fd = withAddresses([attributes], (at) =>
    c.syscall(SYS_PERF_EVENT_OPEN, at, 0, -1, -1, PERF_FLAG_FD_CLOEXEC),
  );
  return new FileDescriptor(check(fd, "perf_event_open"), "an event of perf");
}

/** Memory in which the next access to the first byte after {@link drop} is a page fault, and finds there what was there. */
export class FaultingPage implements Disposable {
  #address: number;
  readonly #bytes: Uint8Array;

  /** @throws SystemError */
  constructor() {
    // Shared memory keeps its contents when this process drops its pages.
    const address = c.mmap(0, LARGEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    this.#address = check(address, "mmap memory");
    this.#bytes = new Uint8Array(toArrayBuffer(this.#address as Pointer, 0, LARGEST_PAGE));
  }

  get address(): Pointer {
    if (this.#address === 0) throw new ClosedError("memory of page faults");
    return this.#address as Pointer;
  }

  /** Takes the page away from this process: madvise(2) with MADV_DONTNEED. @throws SystemError */
  drop(): void {
    check(c.madvise(this.address, LARGEST_PAGE, MADV_DONTNEED), "madvise");
  }

  /** Causes one page fault of this thread. @throws SystemError */
  touch(): void {
    this.drop();
    this.#bytes[0] = 1;
  }

  [Symbol.dispose](): void {
    if (this.#address === 0) return;
    c.munmap(this.#address, LARGEST_PAGE);
    this.#address = 0;
  }
}
