import { InputError, InputFile, type OpenOptions } from "../input/input.ts";
import { type Dynamic, DynamicSection, type DynamicSymbol, type VersionNodes } from "./dynamic.ts";
import {
  cString,
  elfMachine,
  elfType,
  fileHeader,
  fileHeaderOf,
  type ProgramHeader,
  programHeadersOf,
  Records,
  type RecordsOptions,
  type SectionHeader,
  sectionEntry,
  sectionHeadersOf,
  sectionType,
  segment,
  segmentAt,
  segmentEntry,
  segmentFlag,
  type UnnamedSection,
} from "./records.ts";

/**
 * A reader of ELF64 little-endian files for x86-64 and aarch64. Every file is hostile: each read is bounded, and each
 * error names the file and the offset. Layouts and numbers: System V ABI (gabi), chapters 4 and 5, and elf(5).
 */

const machines = { [elfMachine.x86_64]: "x86_64", [elfMachine.aarch64]: "aarch64" } as const;
export type Machine = (typeof machines)[keyof typeof machines];

const types = {
  [elfType.relocatable]: "relocatable",
  [elfType.executable]: "executable",
  [elfType.shared]: "shared",
  [elfType.core]: "core",
} as const;
export type ElfType = (typeof types)[keyof typeof types];

/** Bytes. The limits are far above anything real and keep a hostile file cheap. */
const limits = {
  table: 4 << 20,
  notes: 1 << 20,
  names: 1 << 20,
  /** What is read in pieces: constants, symbols and their names. With the names of C++ and Rust symbols have some 400 MB. */
  scan: 2 ** 30,
  /** A segment; Chromium's code has 280 MB. */
  segments: 2 ** 30,
  code: 1 << 20,
};
/** One read of a scan, and how much of it is read again so that no text is cut in two. */
const chunk = { size: 256 << 10, overlap: 512 };
const gnuBuildId = 3;

/** A stretch of the file that is mapped read-only. */
export interface Region {
  /** `.rodata`, or `read-only segment` in a file without section headers. */
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;

export class Elf implements Disposable {
  readonly #file: InputFile;
  readonly #header: Records;
  readonly #dynamic: DynamicSection;
  readonly #isKernel: boolean;
  readonly machine: Machine;
  readonly type: ElfType;
  readonly programHeaders: readonly ProgramHeader[];
  /** Device and inode of the file, see {@link InputFile.identity}. */
  readonly identity: string;
  /** Bytes. */
  readonly size: number;

  /** Takes the file over: closing this closes it. @throws InputError */
  constructor(file: InputFile, { isKernel = false }: Pick<RecordsOptions, "isKernel"> = {}) {
    this.#file = file;
    this.#isKernel = isKernel;
    this.identity = file.identity;
    this.size = file.size;
    const length = Math.min(file.size, fileHeader.size);
    const header = fileHeaderOf(file.path, file.read(0, length, "ELF header", fileHeader.size));
    if (header.class === 1) throw this.#error(4, "a 32-bit ELF file is not supported");
    if (header.class !== 2) throw this.#error(4, `unknown ELF class ${header.class}`);
    if (header.byteOrder === 2) throw this.#error(5, "a big-endian ELF file is not supported");
    if (header.byteOrder !== 1) throw this.#error(5, `unknown ELF byte order ${header.byteOrder}`);
    this.#header = header.numbers;
    this.type = this.#known(types, fileHeader.type, "ELF type");
    this.machine = this.#known(machines, fileHeader.machine, "ELF machine");
    const version = this.#header.u32(fileHeader.version);
    if (version !== 1) throw this.#error(fileHeader.version, `unknown ELF version ${version}`);
    this.programHeaders = this.#readProgramHeaders();
    this.#dynamic = new DynamicSection(file, this.programHeaders);
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
  static of(file: InputFile, options: Pick<RecordsOptions, "isKernel"> = {}): Elf {
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
    const at = this.#header.u64(fileHeader.sections);
    if (at === 0) return [];
    const first = this.#readSectionHeaders(at, 1)[0];
    // More than 65,279 sections: the numbers that did not fit stand in section 0 (gabi, "e_shnum").
    const count = this.#header.u16(fileHeader.sectionCount) || (first?.size ?? 0);
    const told = this.#header.u16(fileHeader.names);
    const names = told === 0xffff ? (first?.link ?? 0) : told;
    const raw = this.#readSectionHeaders(at, count);
    const table = raw[names];
    if (table === undefined)
      throw this.#error(fileHeader.names, `section ${names} should hold the names, there are ${count}`);
    const text = this.#file.read(table.offset, table.size, "section names", limits.names);
    return raw.map(({ nameAt, ...rest }) => ({
      name: cString(this.#file.path, text, nameAt, table.offset),
      ...rest,
    }));
  }

  /** Read by PT_DYNAMIC, as the dynamic linker does. All empty in a static file. @throws InputError */
  dynamic(): Dynamic {
    this.#checkOpen();
    return this.#dynamic.told();
  }

  /** Read by PT_DYNAMIC, as the dynamic linker does. @throws InputError */
  versionNodes(): VersionNodes {
    this.#checkOpen();
    return this.#dynamic.versionNodes();
  }

  /** Whether the file defines a dynamic symbol of exactly this name, imports not counted. @throws InputError */
  defines(name: string): boolean {
    return !this.dynamicSymbols(name).next().done;
  }

  /** The dynamic symbols of exactly this name that the file defines, see {@link DynamicSection.symbols}. @throws InputError */
  *dynamicSymbols(name: string): Generator<DynamicSymbol> {
    this.#checkOpen();
    yield* this.#dynamic.symbols(name);
  }

  /** Where relocations with an addend lie, see {@link DynamicSection.relocations}. @throws InputError */
  relocations(): { readonly address: number; readonly size: number } | null {
    this.#checkOpen();
    return this.#dynamic.relocations();
  }

  /** The GNU build-id in lower-case hexadecimal, null where the file has none. @throws InputError */
  buildId(): string | null {
    this.#checkOpen();
    const segments = this.programHeaders.filter((one) => one.type === segment.note);
    const places =
      segments.length > 0
        ? segments.map(({ offset, filesz, align }) => ({ offset, size: filesz, align }))
        : this.sections().filter((one) => one.type === sectionType.note);
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
    const rodata = this.sections().filter(
      (one) => one.name === ".rodata" && one.type === sectionType.progbits,
    );
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
    const header = segmentAt(this.programHeaders, address);
    if (header === undefined) return Buffer.alloc(0);
    const at = address - header.vaddr;
    return this.#file.read(header.offset + at, Math.min(size, header.filesz - at), "data", limits.code);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
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

  #readProgramHeaders(): readonly ProgramHeader[] {
    const count = this.#header.u16(fileHeader.segmentCount);
    if (count === 0) return [];
    if (this.#header.u16(fileHeader.segmentSize) !== segmentEntry.size)
      throw this.#error(fileHeader.segmentSize, "program headers of an unknown size");
    const at = this.#header.u64(fileHeader.segments);
    return programHeadersOf(this.#table(at, count * segmentEntry.size, "program headers"), count);
  }

  #readSectionHeaders(at: number, count: number): readonly UnnamedSection[] {
    if (this.#header.u16(fileHeader.sectionSize) !== sectionEntry.size)
      throw this.#error(fileHeader.sectionSize, "section headers of an unknown size");
    return sectionHeadersOf(this.#table(at, count * sectionEntry.size, "section headers"), count);
  }

  #table(offset: number, size: number, what: string): Records {
    const bytes = this.#file.read(offset, size, what, limits.table);
    return new Records(this.#file.path, offset, bytes, { isKernel: this.#isKernel });
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
