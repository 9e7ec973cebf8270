import { type Pointer, toArrayBuffer } from "bun:ffi";
import { readFileSync } from "node:fs";

/** start, end, permissions, offset, device, inode, and what is mapped (proc_pid_maps(5)). */
const line = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ ((\S+ \S+) *(.*))$/s;

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly isReadable: boolean;
  /** A file's path, a name in brackets, or nothing; each character a byte. */
  readonly what: string;
  /** Device, inode and path of a file, as maps tells them; the path alone says little: any file may be called so. */
  readonly file: string;
}

const mappings = (): readonly Mapping[] =>
  readFileSync("/proc/self/maps", "latin1")
    .split("\n")
    .flatMap((text) => {
      const [, start, end, permissions, file = "", , what = ""] = line.exec(text) ?? [];
      return start === undefined || end === undefined
        ? []
        : [
            {
              start: Number.parseInt(start, 16),
              end: Number.parseInt(end, 16),
              isReadable: permissions?.startsWith("r") === true,
              what,
              file,
            },
          ];
    });

/** What is mapped at each of these addresses of this process, at one time; null where nothing is. */
export function mappedAt(...addresses: readonly number[]): (Pick<Mapping, "what" | "file"> | null)[] {
  const all = mappings();
  return addresses.map((at) => all.find(({ start, end }) => start <= at && at < end) ?? null);
}

interface Mapped {
  readonly start: number;
  readonly end: number;
}

/**
 * What of this process's own memory can be read, as it stood when this was made. Addresses are numbers: those of user
 * space have at most 47 bits on x86-64 and 48 on arm64.
 */
export class OwnMemory {
  /** Ascending; ranges that touch are one. */
  readonly #mapped: readonly Mapped[];

  constructor() {
    const mapped: Mapped[] = [];
    for (const { start, end, isReadable, what } of mappings()) {
      // Reading what a device or the kernel maps may have effects, or fault.
      if (!isReadable || what.startsWith("/dev/") || what.startsWith("[v")) continue;
      const last = mapped.at(-1);
      if (last?.end === start) mapped[mapped.length - 1] = { start: last.start, end };
      else mapped.push({ start, end });
    }
    this.#mapped = mapped;
  }

  /** How many bytes can be read from `address` on; 0 where none can. */
  readable(address: number): number {
    let [low, high] = [0, this.#mapped.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#mapped[middle]?.end ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.#mapped[low];
    return found === undefined || address < found.start ? 0 : found.end - address;
  }

  /**
   * Usable bytes of the block that malloc gave at `address`, where one may begin; else 0. It never follows what it reads,
   * unlike malloc_usable_size, so any number may be asked for. Source: struct malloc_chunk of glibc's malloc.c.
   */
  chunkSize(address: number): number {
    if (address % 16 !== 0 || this.readable(address - 8) < 16) return 0;
    const word = new DataView(this.copy(address - 8, 8).buffer).getBigUint64(0, true);
    const size = Number(word & ~7n);
    return size >= 32 && size % 16 === 0 && size <= this.readable(address) ? size - 8 : 0;
  }

  /** A copy of at most `length` bytes; shorter where the mapping ends before. */
  copy(address: number, length: number): Uint8Array {
    const size = Math.min(length, this.readable(address));
    return size === 0 ? new Uint8Array() : new Uint8Array(toArrayBuffer(address as Pointer, 0, size)).slice();
  }
}
