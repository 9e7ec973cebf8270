import type { Elf } from "../../elf/elf.ts";
import { type ProgramHeader, segment, segmentFlag } from "../../elf/records.ts";
import { loadScanner } from "../machine/scanner.ts";

/**
 * Bytes that are read at a time of a whole segment and around an address, and that neighbouring windows share: no string is longer. How
 * many pages are kept.
 */
const sizes = { window: 1 << 20, page: 16 << 10, overlap: 256, pages: 256 };
/** Bytes of an Elf64_Rela of gabi, "Relocation", and the kind that adds the load address (R_X86_64_RELATIVE, R_AARCH64_RELATIVE). */
const rela = 24;
const relative: Readonly<Record<Elf["machine"], number>> = { x86_64: 8, aarch64: 1027 };
/** How many places of one text or pointer are looked at: a hostile file could have it everywhere. */
export const mostPlaces = 64;
/** Places of all texts together; a Chromium has 30,000 paths of source files. */
const mostTexts = 200_000;
/** Places in data that look like the beginning of a table. */
const mostTables = 1024;

const high = 2 ** 32;
const u64 = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 4) * high + bytes.readUInt32LE(at);

/**
 * A file as it is loaded, by addresses before relocation. It is read in windows: the largest have 300 MB. Every address comes out of
 * the file itself: what lies nowhere is no bytes, never an error.
 */
export class LoadedFile {
  readonly elf: Elf;
  readonly #pages = new Map<number, Buffer>();
  readonly #buffer = Buffer.allocUnsafe(sizes.window);
  /** Pointers that only relocations tell, by where they lie. */
  readonly #relocated = new Map<number, number>();

  constructor(elf: Elf) {
    this.elf = elf;
  }

  /** Segments that may be executed, or that may not; all where neither is asked for. */
  segments(isExecutable?: boolean): readonly ProgramHeader[] {
    return this.elf.programHeaders.filter(
      ({ type, flags }) =>
        type === segment.load &&
        (isExecutable === undefined || ((flags & segmentFlag.execute) !== 0) === isExecutable),
    );
  }

  /** Windows of a segment, one after the other in one buffer: whoever goes through two segments at a time brings a buffer for the second. */
  windows(header: ProgramHeader, overlap: number, buffer: Buffer = this.#buffer) {
    return this.elf.windows(header, buffer, overlap);
  }

  /** Whether an address lies in a segment that may be executed. */
  isCode(address: number): boolean {
    return this.segments(true).some(({ vaddr, filesz }) => address >= vaddr && address < vaddr + filesz);
  }

  /** What lies at an address, up to `size` bytes. */
  bytes(address: number, size: number): Buffer {
    const start = address - (address % sizes.page);
    const within = address - start;
    if (within + size > sizes.page) return this.elf.loaded(address, size);
    return this.#page(start, address).subarray(within, within + size);
  }

  /** The byte at an address; undefined where there is none. */
  byte(address: number): number | undefined {
    const start = address - (address % sizes.page);
    return this.#page(start, address)[address - start];
  }

  #page(start: number, address: number): Buffer {
    const known = this.#pages.get(start);
    if (known !== undefined) return known;
    // A segment may begin within the page.
    const [first] = this.elf.programHeaders.filter(
      ({ type, vaddr, filesz }) => type === segment.load && address >= vaddr && address < vaddr + filesz,
    );
    const from = Math.max(start, first?.vaddr ?? start);
    const read = this.elf.loaded(from, sizes.page - (from - start));
    const page = from === start ? read : Buffer.concat([Buffer.alloc(from - start), read]);
    if (this.#pages.size >= sizes.pages) this.#pages.clear();
    if (from === start) this.#pages.set(start, page);
    return page;
  }

  /** The pieces of segments with machine code that lie between two addresses. */
  code(from: number, end: number): readonly ProgramHeader[] {
    return parts(this.segments(true), from, end);
  }

  /** The 16-bit number at an address, little endian, unsigned; null where the file has none there. */
  u16(address: number): number | null {
    const bytes = this.bytes(address, 2);
    return bytes.length < 2 ? null : bytes.readUInt16LE(0);
  }

  /** The 32-bit number at an address, little endian, unsigned; null where the file has none there. */
  u32(address: number): number | null {
    const bytes = this.bytes(address, 4);
    return bytes.length < 4 ? null : bytes.readUInt32LE(0);
  }

  /** A number of up to 4 bytes. */
  number(address: number, width: number, signed: boolean): number | null {
    const bytes = this.bytes(address, width);
    if (bytes.length < width) return null;
    return signed ? bytes.readIntLE(0, width) : bytes.readUIntLE(0, width);
  }

  /** The 32-bit number at an address, little endian, signed; null where the file has none there. */
  i32(address: number): number | null {
    const bytes = this.bytes(address, 4);
    return bytes.length < 4 ? null : bytes.readInt32LE(0);
  }

  /** The pointer that lies at an address once the file is loaded; 0 where there is none. */
  pointer(address: number): number {
    const relocated = this.#relocated.get(address);
    if (relocated !== undefined) return relocated;
    const bytes = this.bytes(address, 8);
    return bytes.length < 8 ? 0 : u64(bytes, 0);
  }

  /** The C string at an address; null where none of at most `most` bytes ends. */
  text(address: number, most = 64): string | null {
    const bytes = this.bytes(address, most);
    const end = bytes.indexOf(0);
    return end < 0 ? null : bytes.toString("latin1", 0, end);
  }

  /** The C string that holds the byte at an address; null where it does not begin and end within `most` bytes. */
  textAround(address: number, most: number): { readonly start: number; readonly text: string } | null {
    const before = this.bytes(address - most, most);
    const behind = this.bytes(address, most);
    const end = behind.indexOf(0);
    const start = before.lastIndexOf(0) + 1;
    if (end < 0 || start === 0) return null;
    const text = before.toString("latin1", start) + behind.toString("latin1", 0, end);
    return { start: address - (before.length - start), text };
  }

  /** Each place of one of these texts in data or, where there is none, in code. */
  places(needles: readonly Buffer[]): ReadonlySet<number> {
    const found = new Set<number>();
    const { window } = loadScanner();
    const look = (isExecutable: boolean): void => {
      for (const header of this.segments(isExecutable)) {
        for (const { address, bytes } of this.windows(header, sizes.overlap, window))
          for (const needle of needles) findIn(bytes, needle, address, found);
      }
    };
    look(false);
    if (found.size === 0) look(true);
    return found;
  }

  /** Whether it may be loaded elsewhere than it was linked for. */
  get isMovable(): boolean {
    return this.elf.type !== "executable";
  }

  /** Each place in data, on a pointer's boundary, where these bytes stand, if `may` says so. */
  data(
    patterns: readonly Buffer[],
    may: (place: number, pattern: Buffer) => boolean = () => true,
  ): ReadonlyMap<Buffer, readonly number[]> {
    const found = new Map<Buffer, number[]>(patterns.map((pattern) => [pattern, []]));
    for (const header of this.#dataSegments()) {
      for (const { address, bytes } of this.windows(header, sizes.overlap)) {
        for (const [pattern, places] of found) {
          for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
            const place = address + at;
            if (place % 8 !== 0 || places.length >= mostTables || !may(place, pattern)) continue;
            if (!places.includes(place)) places.push(place);
          }
        }
      }
    }
    return found;
  }

  /**
   * What is loaded where it was linked needs no relocation, so that its tables may lie with the constants; some linkers put these
   * with the code.
   */
  #dataSegments(): readonly ProgramHeader[] {
    const isWritable = ({ flags }: ProgramHeader): boolean => (flags & segmentFlag.write) !== 0;
    const data = this.segments(false);
    if (this.isMovable) return data.filter(isWritable);
    return data.every(isWritable) ? [...this.segments(true), ...data] : data;
  }

  /** Where pointers to any of these addresses lie in data, by what they point to. */
  pointersTo(targets: ReadonlySet<number>): ReadonlyMap<number, readonly number[]> {
    const found = new Map<number, number[]>();
    const add = (target: number, place: number): void => {
      const places = found.get(target) ?? [];
      if (places.length < mostPlaces && !places.includes(place)) found.set(target, [...places, place]);
    };
    this.#relocations("relocationsTo", targets, (place, addend) => add(addend, place));
    const patterns = new Map([...targets].map((target) => [pointerBytes(target), target]));
    for (const [pattern, places] of this.data([...patterns.keys()]))
      for (const place of places) add(patterns.get(pattern) ?? 0, place);
    return found;
  }

  /** From now on {@link pointer} knows what relocations tell of these stretches, each 8 bytes from its beginning on. Bytes. */
  relocate(stretches: readonly { readonly from: number; readonly size: number }[]): void {
    const places = new Set(
      stretches.flatMap(({ from, size }) => Array.from({ length: size / 8 }, (_, index) => from + 8 * index)),
    );
    if (places.size === 0) return;
    this.#relocations("relocationsAt", places, (place, addend) => this.#relocated.set(place, addend));
  }

  /** Tells of wanted pointers that are made by adding to them where the file is loaded. A large program has a million. */
  #relocations(
    sought: "relocationsAt" | "relocationsTo",
    wanted: ReadonlySet<number>,
    tell: (place: number, addend: number) => void,
  ): void {
    const table = this.elf.relocations();
    if (table === null) return;
    const scanner = loadScanner();
    // A window holds whole records.
    const window = scanner.window.subarray(0, sizes.window - (sizes.window % rela));
    const [part] = parts(this.segments(), table.address, table.address + table.size);
    if (part?.vaddr !== table.address) return;
    const question = { sought, wanted, about: relative[this.elf.machine] };
    for (const { bytes } of this.windows(part, 0, window))
      scanner.look({ ...question, length: bytes.length }, tell);
  }
}

/** The pieces of segments that lie between two addresses. */
const parts = (segments: readonly ProgramHeader[], from: number, end: number): readonly ProgramHeader[] =>
  segments.flatMap((header) => {
    const vaddr = Math.max(from, header.vaddr);
    const filesz = Math.min(end, header.vaddr + header.filesz) - vaddr;
    return filesz <= 0 ? [] : { ...header, vaddr, offset: header.offset + vaddr - header.vaddr, filesz };
  });

function pointerBytes(target: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(target));
  return bytes;
}

function findIn(bytes: Buffer, needle: Buffer, address: number, places: Set<number>): void {
  for (let at = bytes.indexOf(needle); at >= 0 && places.size < mostTexts; at = bytes.indexOf(needle, at + 1))
    places.add(address + at);
}
