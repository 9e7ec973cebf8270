import { InputError } from "../input/input.ts";
import { nameOf } from "../input/name.ts";
import {
  bindingOf,
  elfType,
  fileHeader,
  fileHeaderOf,
  type Records,
  type SectionHeader,
  sectionEntry,
  sectionHeadersOf,
  sectionType,
  symbolEntry,
  typeOf,
} from "./records.ts";

/** No real object comes near these. Bytes. */
const limits = { file: 64 << 20, name: 512 };
/** Most bytes an object may have. */
export const largestObject = limits.file;

/** Types of sections that have bytes in the file and are used here. */
const typesWithBytes: readonly number[] = [
  sectionType.progbits,
  sectionType.symtab,
  sectionType.strtab,
  sectionType.rel,
  sectionType.rela,
];

/** A symbol of an object. */
export interface ObjectSymbol {
  readonly name: string;
  readonly type: number;
  readonly binding: number;
  /** The number of its section, or what stands for none. */
  readonly section: number;
  /** Its place in the section, in bytes; of an absolute symbol any 64 bits. */
  readonly value: bigint;
  /** Bytes. */
  readonly size: number;
  /** Where its entry lies in the file, in bytes. */
  readonly at: number;
}

/**
 * A relocatable ELF64 file in memory, of either byte order, with all its sections and symbols. It is hostile: each read is bounded,
 * each error names the file and the offset.
 */
export class ObjectFile {
  /** The name used in errors. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly isLittle: boolean;
  /** Numbers of the whole file, by their place in it. */
  readonly numbers: Records;
  readonly sections: readonly SectionHeader[];
  readonly symbols: readonly ObjectSymbol[];

  /**
   * @param bytes are read as they are by now: what the caller writes into its sections is seen
   * @param machine whose object it has to be, and what that is called in the error
   * @throws InputError
   */
  constructor(bytes: Uint8Array, path: string, machine: number, called: string) {
    this.path = path;
    this.bytes = bytes;
    if (bytes.length > limits.file) throw this.error(0, `${bytes.length} bytes are more than 64 MiB`);
    const header = fileHeaderOf(path, bytes);
    if (header.class !== 2) throw this.error(fileHeader.class, "not a 64-bit ELF file");
    if (header.byteOrder !== 1 && header.byteOrder !== 2)
      throw this.error(fileHeader.byteOrder, `unknown ELF byte order ${header.byteOrder}`);
    this.isLittle = header.byteOrder === 1;
    this.numbers = header.numbers;
    const isMeant =
      this.numbers.u16(fileHeader.type) === elfType.relocatable &&
      this.numbers.u16(fileHeader.machine) === machine;
    if (!isMeant) throw this.error(fileHeader.type, called);
    this.sections = this.#readSections();
    this.symbols = this.#readSymbols();
  }

  /** An error of this file. @param offset bytes from its beginning */
  error(offset: number, what: string): InputError {
    return new InputError(this.path, offset, what);
  }

  #readSections(): readonly SectionHeader[] {
    const start = this.numbers.u64(fileHeader.sections);
    const count = this.numbers.u16(fileHeader.sectionCount);
    if (this.numbers.u16(fileHeader.sectionSize) !== sectionEntry.size || count === 0)
      throw this.error(fileHeader.sectionSize, "no section headers of a known size");
    this.#check(start, count * sectionEntry.size, "section headers");
    const raw = sectionHeadersOf(this.numbers, count, start);
    for (const [index, { type, offset, size }] of raw.entries())
      if (typesWithBytes.includes(type)) this.#check(offset, size, `section ${index}`);
    const names = raw[this.numbers.u16(fileHeader.names)];
    if (names?.type !== sectionType.strtab)
      throw this.error(fileHeader.names, "no section holds the sections' names");
    return raw.map(({ nameAt, ...rest }) => ({ name: this.#string(names, nameAt, rest.at), ...rest }));
  }

  #readSymbols(): readonly ObjectSymbol[] {
    const tables = this.sections.filter(({ type }) => type === sectionType.symtab);
    const [table] = tables;
    if (table === undefined) return [];
    if (tables.length > 1) throw this.error(table.at, "more than one symbol table");
    const strings = this.sections[table.link];
    if (strings?.type !== sectionType.strtab) throw this.error(table.at, "the symbol table has no strings");
    return Array.from({ length: Math.floor(table.size / symbolEntry.size) }, (_, index) => {
      const at = table.offset + index * symbolEntry.size;
      const info = this.bytes[at + symbolEntry.info] ?? 0;
      return {
        name: this.#string(strings, this.numbers.u32(at + symbolEntry.name), at),
        type: typeOf(info),
        binding: bindingOf(info),
        section: this.numbers.u16(at + symbolEntry.section),
        value: this.numbers.bits64(at + symbolEntry.value),
        size: this.numbers.u64(at + symbolEntry.length),
        at,
      };
    });
  }

  /** A name in a string table; `from` is where it is referred to. */
  #string(table: Pick<SectionHeader, "offset" | "size">, start: number, from: number): string {
    if (start >= table.size) throw this.error(from, `a name at ${start} of ${table.size} bytes`);
    const end = Math.min(start + limits.name, table.size);
    const bytes = this.bytes.subarray(table.offset + start, table.offset + end);
    const length = bytes.indexOf(0);
    if (length < 0)
      throw this.error(table.offset + start, `a name without an end, or of more than ${limits.name} bytes`);
    return nameOf(bytes.subarray(0, length));
  }

  #check(offset: number, size: number, what: string): void {
    if (offset + size > this.bytes.length)
      throw this.error(offset, `${what} of ${size} bytes beyond the end of ${this.bytes.length}`);
  }
}
