import { InputError, InputFile, type OpenOptions } from "../input/input.ts";
import { nameOf } from "../input/name.ts";

/**
 * A reader of ELF64 little-endian files for x86-64 and aarch64. Every file is hostile: each read is bounded, and each
 * error names the file and the offset. Layouts and numbers: System V ABI (gabi), chapters 4 and 5, and elf(5).
 */

const machines = { 62: "x86_64", 183: "aarch64" } as const;
export type Machine = (typeof machines)[keyof typeof machines];

const types = { 1: "relocatable", 2: "executable", 3: "shared", 4: "core" } as const;
export type ElfType = (typeof types)[keyof typeof types];

/** Sizes and limits in bytes. The limits are far above anything real and keep a hostile file cheap. */
const headerSize = 64;
const programHeaderSize = 56;
const sectionHeaderSize = 64;
const dynamicEntrySize = 16;
const limits = {
  table: 4 << 20,
  dynamic: 1 << 20,
  notes: 1 << 20,
  names: 1 << 20,
  string: 4096,
  /** What is read in pieces: constants, symbols and their names. With the names of C++ and Rust symbols have some 400 MB. */
  scan: 2 ** 30,
  /** A segment; Chromium's code has 280 MB. */
  segments: 2 ** 30,
  code: 1 << 20,
  /** Steps through one hash chain; a linker makes them a few long. */
  chain: 4096,
  /** Version nodes that a file defines or needs; libc has some 60. */
  nodes: 4096,
};
/** One read of a scan, and how much of it is read again so that no text is cut in two. */
const chunk = { size: 256 << 10, overlap: 512 };

export const segment = { load: 1, dynamic: 2, interp: 3, note: 4, ehFrame: 0x6474e550 } as const;
export const segmentFlag = { execute: 1, write: 2, read: 4 } as const;
const section = { progbits: 1, note: 7 } as const;
const tag = {
  null: 0,
  needed: 1,
  hash: 4,
  strtab: 5,
  symtab: 6,
  rela: 7,
  relasz: 8,
  strsz: 10,
  soname: 14,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6ffffef5,
  auxiliary: 0x7ffffffd,
  filter: 0x7fffffff,
  verdef: 0x6ffffffc,
  verdefnum: 0x6ffffffd,
  verneed: 0x6ffffffe,
  verneednum: 0x6fffffff,
} as const;
const knownTags: ReadonlySet<number> = new Set(Object.values(tag));
const symbolSize = 24;
/** Elf64_Verdef and Elf64_Verneed with their auxiliary records (LSB core, "Symbol Versioning"). Bytes. */
const verdef = { size: 20, flags: 2, aux: 12, next: 16, base: 1 };
const verdaux = { size: 8, name: 0 };
const verneed = { size: 16, count: 2, file: 4, aux: 8, next: 12 };
const vernaux = { size: 16, flags: 4, name: 8, next: 12, weak: 2 };
const gnuBuildId = 3;

/** A segment. All numbers but `type` and `flags` are bytes; `vaddr` is the address before relocation. */
export interface ProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: number;
  readonly filesz: number;
  readonly memsz: number;
  readonly align: number;
}

/** A section. `offset` and `size` are bytes in the file, `addr` the address before relocation. */
export interface SectionHeader {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly addr: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly entsize: number;
  readonly align: number;
}

/** A symbol (Elf64_Sym of gabi, "Symbol Table"). `address` before relocation, `size` in bytes, 0 where it is not told. */
export interface ElfSymbol {
  readonly type: number;
  readonly address: number;
  readonly size: number;
}

/** What the dynamic linker is told. Search paths are as written, `$ORIGIN` and all. */
export interface Dynamic {
  readonly needed: readonly string[];
  /** Libraries that are loaded to answer in its place (DT_FILTER, DT_AUXILIARY). */
  readonly filtees: readonly string[];
  readonly soname: string | null;
  readonly rpath: string | null;
  readonly runpath: string | null;
}

/** The version nodes of a file's dynamic symbols, e.g. `OPENSSL_3.2.0`; both empty where it has none. */
export interface VersionNodes {
  readonly defined: readonly string[];
  /** Nodes that it needs, by the soname that has to define them. Weak ones are left out: a linker only warns where they are missing. */
  readonly needed: readonly { readonly file: string; readonly nodes: readonly string[] }[];
}

/** A stretch of the file that is mapped read-only. */
export interface Region {
  /** `.rodata`, or `read-only segment` in a file without section headers. */
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** Reads numbers of a table; `at` is the table's own place in the file, for errors. */
class Table {
  readonly #path: string;
  readonly #at: number;
  readonly #view: DataView;

  constructor(path: string, at: number, bytes: Buffer) {
    this.#path = path;
    this.#at = at;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }
  u64(offset: number): number {
    const value = this.u32(offset + 4) * 2 ** 32 + this.u32(offset);
    if (Number.isSafeInteger(value)) return value;
    throw new InputError(this.#path, this.#at + offset, "a 64-bit number larger than any file");
  }
  /** A signed number of 64 bits. @throws InputError where it is beyond 2^53 */
  i64(offset: number): number {
    const value = this.#view.getInt32(offset + 4, true) * 2 ** 32 + this.u32(offset);
    return Number.isSafeInteger(value) ? value : this.u64(offset);
  }
}

export interface ElfOptions {
  /**
   * Whether addresses are a kernel's: in its half of the address space the highest bits are ones, so that they are told as numbers below
   * 0.
   */
  readonly isKernel?: boolean;
}

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;

export class Elf implements Disposable {
  readonly #file: InputFile;
  readonly #header: Table;
  readonly #isKernel: boolean;
  readonly machine: Machine;
  readonly type: ElfType;
  readonly programHeaders: readonly ProgramHeader[];
  /** Device and inode of the file, see {@link InputFile.identity}. */
  readonly identity: string;
  /** Bytes. */
  readonly size: number;

  /** Takes the file over: closing this closes it. @throws InputError */
  constructor(file: InputFile, { isKernel = false }: ElfOptions = {}) {
    this.#file = file;
    this.#isKernel = isKernel;
    this.identity = file.identity;
    this.size = file.size;
    if (file.size < headerSize) throw this.#error(0, `${file.size} bytes are too few for an ELF header`);
    const bytes = file.read(0, headerSize, "ELF header", headerSize);
    if (bytes.readUInt32BE(0) !== 0x7f454c46) throw this.#error(0, "not an ELF file");
    if (bytes[4] === 1) throw this.#error(4, "a 32-bit ELF file is not supported");
    if (bytes[4] !== 2) throw this.#error(4, `unknown ELF class ${bytes[4]}`);
    if (bytes[5] === 2) throw this.#error(5, "a big-endian ELF file is not supported");
    if (bytes[5] !== 1) throw this.#error(5, `unknown ELF byte order ${bytes[5]}`);
    this.#header = new Table(file.path, 0, bytes);
    this.type = this.#known(types, 16, "ELF type");
    this.machine = this.#known(machines, 18, "ELF machine");
    if (this.#header.u32(20) !== 1) throw this.#error(20, `unknown ELF version ${this.#header.u32(20)}`);
    this.programHeaders = this.#readProgramHeaders();
  }

  /**
   * @param host path to open, no symbolic link @param shown name used in errors, where it differs
   * @param options as of InputFile.open
   * @throws InputError, or the system's error when it cannot be opened
   */
  static open(host: string, shown = host, options: OpenOptions = {}): Elf {
    return Elf.of(InputFile.open(host, shown, options));
  }

  /** Takes the file over, and closes it where it is no such file. @throws InputError */
  static of(file: InputFile, options: ElfOptions = {}): Elf {
    try {
      return new Elf(file, options);
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  /** The open descriptor of the file, closed with this. */
  get fd(): number {
    return this.#file.fd;
  }

  /** The name used in errors. */
  get path(): string {
    return this.#file.path;
  }

  /** Empty where the file has none (stripped of them). @throws InputError */
  sections(): readonly SectionHeader[] {
    this.#checkOpen();
    const at = this.#header.u64(40);
    if (at === 0) return [];
    const first = this.#readSectionHeaders(at, 1)[0];
    // More than 65,279 sections: the numbers that did not fit stand in section 0 (gabi, "e_shnum").
    const count = this.#header.u16(60) || (first?.size ?? 0);
    const names = this.#header.u16(62) === 0xffff ? (first?.link ?? 0) : this.#header.u16(62);
    const raw = this.#readSectionHeaders(at, count);
    const table = raw[names];
    if (table === undefined)
      throw this.#error(62, `section ${names} should hold the names, there are ${count}`);
    const text = this.#file.read(table.offset, table.size, "section names", limits.names);
    return raw.map(({ nameAt, ...rest }) => ({ name: this.#cString(text, nameAt, table.offset), ...rest }));
  }

  /** Read by PT_DYNAMIC, as the dynamic linker does. All empty in a static file. @throws InputError */
  dynamic(): Dynamic {
    this.#checkOpen();
    const header = this.programHeaders.find((one) => one.type === segment.dynamic);
    if (header === undefined) return { needed: [], filtees: [], soname: null, rpath: null, runpath: null };
    const entries = this.#dynamicEntries(header);
    const text = (offset: number): string => this.#dynamicString(header, entries, offset);
    // Where a key stands several times, the dynamic linker keeps the last entry.
    const one = (key: number): string | null => {
      const offset = entries.findLast((entry) => entry.key === key)?.value;
      return offset === undefined ? null : text(offset);
    };
    const all = (...keys: number[]): string[] =>
      entries.filter(({ key }) => keys.includes(key)).map((entry) => text(entry.value));
    return {
      needed: all(tag.needed),
      filtees: all(tag.filter, tag.auxiliary),
      soname: one(tag.soname),
      rpath: one(tag.rpath),
      runpath: one(tag.runpath),
    };
  }

  /** Read by PT_DYNAMIC, as the dynamic linker does. @throws InputError */
  versionNodes(): VersionNodes {
    this.#checkOpen();
    const header = this.programHeaders.find((one) => one.type === segment.dynamic);
    if (header === undefined) return { defined: [], needed: [] };
    const entries = this.#dynamicEntries(header);
    const text = (offset: number): string => this.#dynamicString(header, entries, offset);
    let count = 0;
    /** The records of a chain that begins at a place of the file; each tells how far the next is, 0 for the last. */
    const chain = function* (this: Elf, start: number, most: number, size: number, next: number) {
      for (let at = start, index = 0; index < most; index++) {
        count += 1;
        if (count > limits.nodes) throw this.#error(at, `more than ${limits.nodes} version nodes`);
        const record = this.#table(at, size, "version node", size);
        yield { at, record };
        if (record.u32(next) === 0) return;
        at += record.u32(next);
      }
    }.bind(this);
    const table = (places: number, counts: number): { start: number; most: number } | null => {
      const [address, most] = [places, counts].map((key) => entries.find((one) => one.key === key)?.value);
      if (address === undefined || most === undefined) return null;
      return { start: this.#offsetOf(address, header.offset), most };
    };
    const defined: string[] = [];
    const definitions = table(tag.verdef, tag.verdefnum);
    if (definitions !== null) {
      for (const { at, record } of chain(definitions.start, definitions.most, verdef.size, verdef.next)) {
        // The base definition is no version node: it has the file's own name.
        if ((record.u16(verdef.flags) & verdef.base) !== 0) continue;
        const name = this.#table(at + record.u32(verdef.aux), verdaux.size, "version name", verdaux.size);
        defined.push(text(name.u32(verdaux.name)));
      }
    }
    const needed: { file: string; nodes: string[] }[] = [];
    const needs = table(tag.verneed, tag.verneednum);
    if (needs !== null) {
      for (const { at, record } of chain(needs.start, needs.most, verneed.size, verneed.next)) {
        const nodes: string[] = [];
        const [first, most] = [at + record.u32(verneed.aux), record.u16(verneed.count)];
        for (const { record: one } of chain(first, most, vernaux.size, vernaux.next)) {
          if ((one.u16(vernaux.flags) & vernaux.weak) === 0) nodes.push(text(one.u32(vernaux.name)));
        }
        needed.push({ file: text(record.u32(verneed.file)), nodes });
      }
    }
    return { defined, needed };
  }

  /** Whether the file defines a dynamic symbol of exactly this name, imports not counted. @throws InputError */
  defines(name: string): boolean {
    return !this.dynamicSymbols(name).next().done;
  }

  /**
   * The dynamic symbols of exactly this name that the file defines, imports not counted. Asked of the hash table, as the
   * dynamic linker does, so that it costs a few small reads however large the file is. @throws InputError
   */
  *dynamicSymbols(name: string): Generator<ElfSymbol> {
    this.#checkOpen();
    const header = this.programHeaders.find((one) => one.type === segment.dynamic);
    if (header === undefined) return;
    const entries = this.#dynamicEntries(header);
    const place = (key: number): number | undefined => {
      const address = entries.find((one) => one.key === key)?.value;
      return address === undefined ? undefined : this.#offsetOf(address, header.offset);
    };
    const [symbols, strings] = [place(tag.symtab), place(tag.strtab)];
    if (symbols === undefined || strings === undefined) return;
    const gnuHash = place(tag.gnuHash);
    const hash = gnuHash === undefined ? place(tag.hash) : undefined;
    const candidates =
      gnuHash !== undefined
        ? this.#gnuHashed(gnuHash, name)
        : hash === undefined
          ? []
          : this.#hashed(hash, name);
    const bytes = Buffer.from(`${name}\0`);
    for (const index of candidates) {
      const symbol = this.#table(symbols + index * symbolSize, symbolSize, "symbol", symbolSize);
      const at = strings + symbol.u32(0);
      const isDefined = symbol.u16(6) !== 0;
      if (!isDefined || at + bytes.length > this.#file.size) continue;
      if (!this.#file.read(at, bytes.length, "symbol name", limits.string).equals(bytes)) continue;
      yield { type: symbol.u16(4) & 15, address: symbol.u64(8), size: symbol.u64(16) };
    }
  }

  /** The GNU build-id in lower-case hexadecimal, null where the file has none. @throws InputError */
  buildId(): string | null {
    this.#checkOpen();
    const segments = this.programHeaders.filter((one) => one.type === segment.note);
    const places =
      segments.length > 0
        ? segments.map(({ offset, filesz, align }) => ({ offset, size: filesz, align }))
        : this.sections().filter((one) => one.type === section.note);
    for (const place of places) {
      const bytes = this.#file.read(place.offset, place.size, "notes", limits.notes);
      const id = this.#buildIdIn(bytes, place.offset, place.align === 8 ? 8 : 4);
      if (id !== null) return id;
    }
    return null;
  }

  /** Where constants and strings lie: `.rodata`, or without section headers the segments no one may write. @throws InputError */
  readOnly(): readonly Region[] {
    this.#checkOpen();
    const rodata = this.sections().filter((one) => one.name === ".rodata" && one.type === section.progbits);
    if (rodata.length > 0) return rodata;
    return this.programHeaders
      .filter((one) => one.type === segment.load && (one.flags & segmentFlag.write) === 0)
      .map(({ offset, filesz }) => ({ name: "read-only segment", offset, size: filesz }));
  }

  /**
   * The bytes of a region in pieces of at most 256 KiB. Each piece begins with the last 512 bytes of the one before, so
   * that no text of up to 512 bytes is cut in two. A piece holds until the next is asked for. @throws InputError
   */
  *bytes(region: Region): Generator<{ readonly offset: number; readonly bytes: Buffer }> {
    this.#checkOpen();
    if (region.size > limits.scan) throw this.#error(region.offset, `${region.name} of ${region.size} bytes`);
    // One buffer for all pieces: memory that is fresh each time costs more than the reading.
    const buffer = Buffer.allocUnsafe(Math.min(chunk.size, region.size));
    const end = region.offset + region.size;
    for (let at = region.offset; at < end; at += chunk.size - chunk.overlap) {
      const bytes = buffer.subarray(0, Math.min(chunk.size, end - at));
      this.#file.readInto(bytes, at, region.name);
      yield { offset: at, bytes };
      if (at + bytes.length === end) return;
    }
  }

  /** A table's whole records of `size` bytes, some thousand at a time. A piece holds until the next is asked for. @throws InputError */
  *records(table: Region, size: number): Generator<Buffer> {
    this.#checkOpen();
    if (table.size > limits.scan) throw this.#error(table.offset, `${table.name} of ${table.size} bytes`);
    const whole = table.size - (table.size % size);
    const buffer = Buffer.allocUnsafe(Math.min(chunk.size - (chunk.size % size), whole));
    for (let at = 0; at < whole; at += buffer.length) {
      const bytes = buffer.subarray(0, Math.min(buffer.length, whole - at));
      this.#file.readInto(bytes, table.offset + at, table.name);
      yield bytes;
    }
  }

  /** A whole section. @param limit most bytes it may have @throws InputError */
  contents(section: SectionHeader, limit: number): Buffer {
    return this.#file.read(section.offset, section.size, section.name, limit);
  }

  /** `size` bytes of machine code at an address before relocation. @throws InputError where none may be executed */
  code(address: number, size: number): Buffer {
    this.#checkOpen();
    const header = this.programHeaders.find(
      (one) =>
        one.type === segment.load &&
        (one.flags & segmentFlag.execute) !== 0 &&
        address >= one.vaddr &&
        address + size <= one.vaddr + one.filesz,
    );
    if (header === undefined) throw this.#error(0, `no code of ${size} bytes at 0x${address.toString(16)}`);
    return this.#file.read(header.offset + (address - header.vaddr), size, "code", limits.code);
  }

  /**
   * A segment's bytes in the file, in windows of `size` bytes that begin with the last `overlap` of the one before. A window
   * holds until the next is asked for; `address` is that of its first byte, before relocation. @throws InputError
   */
  *windows(
    { vaddr, offset, filesz }: ProgramHeader,
    buffer: Buffer,
    overlap: number,
  ): Generator<{ readonly address: number; readonly bytes: Buffer }> {
    if (filesz > limits.segments) throw this.#error(offset, `a segment of ${filesz} bytes`);
    for (let at = 0; at < filesz; at += buffer.length - overlap) {
      const bytes = buffer.subarray(0, Math.min(buffer.length, filesz - at));
      this.#file.readInto(bytes, offset + at, "segment");
      yield { address: vaddr + at, bytes };
      if (at + bytes.length === filesz) return;
    }
  }

  /**
   * Up to `size` bytes of what is loaded at an address, before relocation; fewer where the file has no more there, or nothing.
   * @throws InputError
   */
  loaded(address: number, size: number): Buffer {
    const header = this.programHeaders.find(
      (one) => one.type === segment.load && address >= one.vaddr && address < one.vaddr + one.filesz,
    );
    if (header === undefined) return Buffer.alloc(0);
    const at = address - header.vaddr;
    return this.#file.read(header.offset + at, Math.min(size, header.filesz - at), "data", limits.code);
  }

  /**
   * Where relocations with an addend lie (DT_RELA, DT_RELASZ), as addresses before relocation; null where there are none.
   * @throws InputError
   */
  relocations(): { readonly address: number; readonly size: number } | null {
    const header = this.programHeaders.find((one) => one.type === segment.dynamic);
    if (header === undefined) return null;
    const entries = this.#dynamicEntries(header);
    const [address, size] = [tag.rela, tag.relasz].map(
      (key) => entries.findLast((one) => one.key === key)?.value,
    );
    return address === undefined || size === undefined ? null : { address, size };
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  /** A string of the dynamic string table; `offset` in it. */
  #dynamicString(
    header: ProgramHeader,
    entries: readonly { key: number; value: number }[],
    offset: number,
  ): string {
    const [strings, size] = [tag.strtab, tag.strsz].map(
      (key) => entries.findLast((one) => one.key === key)?.value,
    );
    if (strings === undefined || size === undefined) {
      throw this.#error(header.offset, "the dynamic section names strings but has no string table");
    }
    if (offset >= size) {
      throw this.#error(header.offset, `a string at ${offset} of a string table of ${size} bytes`);
    }
    const at = this.#offsetOf(strings + offset, header.offset);
    const length = Math.min(limits.string, size - offset, this.#file.size - at);
    return this.#cString(this.#file.read(at, length, "string", limits.string), 0, at);
  }

  /** Entries with a tag we know, in order. */
  #dynamicEntries(header: ProgramHeader): readonly { key: number; value: number }[] {
    const size = header.filesz - (header.filesz % dynamicEntrySize);
    const table = this.#table(header.offset, size, "dynamic section", limits.dynamic);
    const entries: { key: number; value: number }[] = [];
    for (let at = 0; at < size; at += dynamicEntrySize) {
      const key = table.u32(at);
      // The upper half of a tag we know is 0; any other tag is not ours.
      if (table.u32(at + 4) !== 0 || !knownTags.has(key)) continue;
      if (key === tag.null) break;
      entries.push({ key, value: table.u64(at + 8) });
    }
    return entries;
  }

  /** Indices of symbols that DT_GNU_HASH files under a name (System V ABI supplement; glibc's elf/dl-lookup.c). */
  *#gnuHashed(at: number, name: string): Generator<number> {
    const header = this.#table(at, 16, "hash table", 16);
    const [buckets, first, bloom] = [header.u32(0), header.u32(4), header.u32(8)];
    if (buckets === 0) return;
    let hash = 5381;
    for (const byte of Buffer.from(name)) hash = (Math.imul(hash, 33) + byte) >>> 0;
    const table = at + 16 + bloom * 8;
    let index = this.#table(table + (hash % buckets) * 4, 4, "hash bucket", 4).u32(0);
    for (let step = 0; index >= first && step < limits.chain; step++, index++) {
      const link = this.#table(table + buckets * 4 + (index - first) * 4, 4, "hash chain", 4).u32(0);
      // The lowest bit marks the end of the chain.
      if ((link | 1) >>> 0 === (hash | 1) >>> 0) yield index;
      if ((link & 1) !== 0) return;
    }
  }

  /** Indices of symbols that DT_HASH files under a name (gabi, "Hash Table"). */
  *#hashed(at: number, name: string): Generator<number> {
    const buckets = this.#table(at, 8, "hash table", 8).u32(0);
    if (buckets === 0) return;
    let hash = 0;
    for (const byte of Buffer.from(name)) {
      hash = ((hash << 4) + byte) >>> 0;
      const high = hash & 0xf0000000;
      hash = (hash ^ (high >>> 24)) & 0x0fffffff;
    }
    const word = (index: number): number => this.#table(at + 8 + index * 4, 4, "hash table", 4).u32(0);
    let index = word(hash % buckets);
    for (let step = 0; index !== 0 && step < limits.chain; step++, index = word(buckets + index)) yield index;
  }

  /** Refuses once the file is closed, also what could be answered without reading it. @throws ClosedError */
  #checkOpen(): void {
    void this.#file.fd;
  }

  #error(offset: number, what: string): InputError {
    return new InputError(this.#file.path, offset, what);
  }

  #known<T extends Record<number, string>>(names: T, at: number, what: string): T[keyof T] {
    const code = this.#header.u16(at);
    if (!Object.hasOwn(names, code)) throw this.#error(at, `${what} ${code} is not supported`);
    return names[code as keyof T];
  }

  #table(offset: number, size: number, what: string, limit: number): Table {
    return new Table(this.#file.path, offset, this.#file.read(offset, size, what, limit));
  }

  #address(table: Table, offset: number): number {
    return this.#isKernel ? table.i64(offset) : table.u64(offset);
  }

  #readProgramHeaders(): readonly ProgramHeader[] {
    const at = this.#header.u64(32);
    const count = this.#header.u16(56);
    if (count === 0) return [];
    if (this.#header.u16(54) !== programHeaderSize)
      throw this.#error(54, "program headers of an unknown size");
    const table = this.#table(at, count * programHeaderSize, "program headers", limits.table);
    return Array.from({ length: count }, (_, index) => {
      const base = index * programHeaderSize;
      return {
        type: table.u32(base),
        flags: table.u32(base + 4),
        offset: table.u64(base + 8),
        vaddr: this.#address(table, base + 16),
        filesz: table.u64(base + 32),
        memsz: table.u64(base + 40),
        align: table.u64(base + 48),
      };
    });
  }

  #readSectionHeaders(at: number, count: number): (Omit<SectionHeader, "name"> & { nameAt: number })[] {
    if (this.#header.u16(58) !== sectionHeaderSize)
      throw this.#error(58, "section headers of an unknown size");
    const table = this.#table(at, count * sectionHeaderSize, "section headers", limits.table);
    return Array.from({ length: count }, (_, index) => {
      const base = index * sectionHeaderSize;
      return {
        nameAt: table.u32(base),
        type: table.u32(base + 4),
        flags: table.u64(base + 8),
        addr: this.#address(table, base + 16),
        offset: table.u64(base + 24),
        size: table.u64(base + 32),
        link: table.u32(base + 40),
        align: table.u64(base + 48),
        entsize: table.u64(base + 56),
      };
    });
  }

  /** The place in the file of an address; `from` is where the address stands. */
  #offsetOf(vaddr: number, from: number): number {
    const header = this.programHeaders.find(
      (one) => one.type === segment.load && vaddr >= one.vaddr && vaddr < one.vaddr + one.filesz,
    );
    if (header === undefined) throw this.#error(from, `address 0x${vaddr.toString(16)} is in no segment`);
    return header.offset + (vaddr - header.vaddr);
  }

  #cString(bytes: Buffer, start: number, at: number): string {
    const end = bytes.indexOf(0, start);
    if (start >= bytes.length || end < 0) throw this.#error(at + start, "a string without an end");
    return nameOf(bytes.subarray(start, end));
  }

  #buildIdIn(bytes: Buffer, at: number, align: number): string | null {
    for (let note = 0; note + 12 <= bytes.length; ) {
      const nameSize = bytes.readUInt32LE(note);
      const size = bytes.readUInt32LE(note + 4);
      const start = alignUp(note + 12 + nameSize, align);
      if (start + size > bytes.length) throw this.#error(at + note, "a note beyond the end of its segment");
      const name = bytes.toString("latin1", note + 12, note + 12 + nameSize);
      if (name === "GNU\0" && bytes.readUInt32LE(note + 8) === gnuBuildId) {
        return bytes.toString("hex", start, start + size);
      }
      note = alignUp(start + size, align);
    }
    return null;
  }
}
