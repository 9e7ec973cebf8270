import { InputError } from "../input/input.ts";
import { nameOf } from "../input/name.ts";
import { loaderExterns } from "./externs.ts";

/**
 * An eBPF object in memory whose constants can be given values: an ELF64 relocatable file of EM_BPF, of either byte
 * order. It is hostile: each read is bounded, each error names the file and the offset. Layouts and numbers: System V
 * ABI (gabi) chapter 4; relocations and instructions: the kernel's Documentation/bpf/llvm_reloc.rst, standardization/.
 */

const header = {
  size: 64,
  type: 16,
  machine: 18,
  version: 20,
  sections: 40,
  sectionSize: 58,
  count: 60,
  names: 62,
};
const relocatable = 1;
const bpfMachine = 247;
/** Elf64_Shdr. Bytes. */
const sectionEntry = { size: 64, type: 4, flags: 8, offset: 24, length: 32, link: 40, info: 44 };
const sectionType = { progbits: 1, symtab: 2, strtab: 3, rela: 4, rel: 9 };
const sectionFlag = { execute: 4, compressed: 0x800 };
/** Elf64_Sym. Bytes. */
const symbolEntry = { size: 24, info: 4, section: 6, value: 8, length: 16 };
const symbolType = { none: 0, object: 1, function: 2 };
const localBinding = 0;
const undefinedSection = 0;
const absoluteSection = 0xfff1;
/** Section numbers from here on have meanings of their own (SHN_LORESERVE). */
const reservedSections = 0xff00;
/** Elf64_Rel. Bytes. */
const relocationEntry = { size: 16, type: 8, symbol: 12 };
const relocation64 = 1; // R_BPF_64_64: the 64 bits of a load
/** BPF_LD | BPF_IMM | BPF_DW, of two instructions: the halves of its value lie 4 and 12 bytes from its start. */
const load64 = { code: 0x18, size: 16, low: 4, high: 12 };

/** No real object comes near these. `relocations`: in all sections, which a hostile file could lay over each other. */
const limits = { file: 64 << 20, name: 512, relocations: 4 << 20 };
/** Most bytes an object may have. */
export const largestObject = limits.file;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  /** Where its header lies in the file, in bytes. */
  readonly at: number;
}

interface ElfSymbol {
  readonly name: string;
  readonly type: number;
  readonly binding: number;
  readonly section: number;
  /** Its place in the section; of an absolute symbol any 64 bits. */
  readonly value: bigint;
  readonly size: number;
  /** Where its entry lies in the file, in bytes. */
  readonly at: number;
}

/** A name in an object that can be given a value. */
export interface Constant {
  readonly name: string;
  /** Bytes of its value. */
  readonly width: number;
}

/** A program, as libbpf and bpftool name it. */
export interface Program {
  readonly name: string;
  readonly section: string;
}

/** A program or what programs call, and where its instructions lie in its section. Bytes. */
export interface EbpfFunction extends Program {
  readonly start: number;
  readonly size: number;
}

/** An object that is sound, but cannot take a value it should. */
export class BakeError extends Error {
  override readonly name = "BakeError";
}

/** A value to write; null writes the absent value, all bits set. */
export type Values = ReadonlyMap<string, bigint | null>;

export class EbpfObject {
  readonly #path: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;
  readonly #sections: readonly Section[];
  readonly #symbols: readonly ElfSymbol[];

  /** @param path the name used in errors @throws InputError when the bytes are no eBPF object */
  constructor(bytes: Uint8Array, path: string) {
    this.#path = path;
    this.#bytes = new Uint8Array(bytes); // slice() of a Buffer would not copy
    this.#view = new DataView(this.#bytes.buffer);
    if (bytes.length > limits.file) throw this.#error(0, `${bytes.length} bytes are more than 64 MiB`);
    if (bytes.length < header.size)
      throw this.#error(0, `${bytes.length} bytes are too few for an ELF header`);
    if (this.#view.getUint32(0) !== 0x7f454c46) throw this.#error(0, "not an ELF file");
    if (bytes[4] !== 2) throw this.#error(4, "not a 64-bit ELF file");
    if (bytes[5] !== 1 && bytes[5] !== 2) throw this.#error(5, `unknown ELF byte order ${bytes[5]}`);
    this.#little = bytes[5] === 1;
    if (this.#u16(header.type) !== relocatable || this.#u16(header.machine) !== bpfMachine) {
      throw this.#error(header.type, "not an eBPF object (a relocatable file of machine BPF)");
    }
    this.#sections = this.#readSections();
    this.#symbols = this.#readSymbols();
  }

  /** Bytes of the object. */
  get size(): number {
    return this.#bytes.length;
  }

  /** Every name that can be given a value, once each, in the order of the symbol table. */
  get constants(): readonly Constant[] {
    const found = new Map<string, Constant>();
    for (const symbol of this.#symbols) {
      const { name } = symbol;
      if (this.#isData(symbol)) found.set(name, { name, width: symbol.size });
      else if (isUndefined(symbol)) found.set(name, { name, width: 8 });
    }
    return [...found.values()];
  }

  /**
   * Symbols that are not defined in it and that no loader defines either: one that is left so keeps the object from loading.
   * What libbpf resolves by the object's BTF, as options of the kernel and functions of it, is not among them.
   * @throws InputError when the BTF is not sound
   */
  get unresolved(): readonly string[] {
    const names = new Set(this.#symbols.filter(isUndefined).map(({ name }) => name));
    const btf = this.section(".BTF");
    if (names.size === 0 || btf === null) return [...names];
    const resolved = loaderExterns(btf.bytes, this.#path, btf.at);
    return [...names].filter((name) => !resolved.has(name));
  }

  /** Every program, in the order of the symbol table. */
  get programs(): readonly Program[] {
    return this.#symbols.flatMap(({ name, type, binding, section }) => {
      const where = this.#sections[section];
      const isProgram =
        type === symbolType.function && binding !== localBinding && where !== undefined && isCode(where);
      return isProgram && where.name !== ".text" ? [{ name, section: where.name }] : [];
    });
  }

  /** Every function with instructions of its own, in the order of the symbol table. */
  get functions(): readonly EbpfFunction[] {
    return this.#symbols.flatMap(({ name, type, section, value, size }) => {
      const where = this.#sections[section];
      if (type !== symbolType.function || where === undefined || !isCode(where)) return [];
      return [{ name, section: where.name, start: Number(value), size }];
    });
  }

  /** Whether its numbers are little-endian. */
  get isLittle(): boolean {
    return this.#little;
  }

  /** What lies in the first section of a name, and where in the file; null where there is none. */
  section(wanted: string): { readonly bytes: Uint8Array; readonly at: number } | null {
    const found = this.#sections.find(({ name, type }) => name === wanted && type === sectionType.progbits);
    if (found === undefined) return null;
    return { bytes: this.#bytes.subarray(found.offset, found.offset + found.size), at: found.offset };
  }

  /**
   * The object with values for the constants of these names, unchanged otherwise.
   *
   * A constant is a variable of 1, 2, 4 or 8 bytes in .rodata, whose bytes become the value; or an undefined symbol that
   * 64-bit loads refer to, which becomes an absolute symbol as by a linker: the loads get the value, and their
   * relocations go. Values are unsigned and in the object's byte order.
   * @throws BakeError when a value does not fit, InputError when the object is not sound
   */
  bake(values: Values): Uint8Array {
    const baked = new EbpfObject(this.#bytes, this.#path);
    const written = new Map<number, string>();
    const defined = new Map<number, bigint>();
    for (const [index, symbol] of baked.#symbols.entries()) {
      const value = values.get(symbol.name);
      if (value === undefined) continue;
      if (baked.#isData(symbol)) baked.#writeData(symbol, value, written);
      else if (isUndefined(symbol)) defined.set(index, baked.#fitting(symbol.name, value, 8));
    }
    if (defined.size > 0) baked.#define(defined);
    return baked.#bytes;
  }

  #isData({ type, section }: ElfSymbol): boolean {
    if (type !== symbolType.object || section >= reservedSections) return false;
    const where = this.#sections[section];
    // libbpf and cilium/ebpf make a map of each section whose name begins so.
    return where?.type === sectionType.progbits && /^\.rodata($|\.)/.test(where.name);
  }

  #writeData(
    { name, section, value: start, size, at }: ElfSymbol,
    value: bigint | null,
    written: Map<number, string>,
  ) {
    if (![1, 2, 4, 8].includes(size)) {
      throw new BakeError(`${this.#path}: ${name} has ${size} bytes; a constant has 1, 2, 4 or 8`);
    }
    const where = this.#sections[section];
    if (where === undefined || start + BigInt(size) > BigInt(where.size))
      throw this.#error(at, `${name} lies outside its section`);
    if ((where.flags & sectionFlag.compressed) !== 0)
      throw this.#error(where.at, `${where.name} is compressed`);
    const bits = this.#fitting(name, value, size);
    for (let byte = 0; byte < size; byte++) {
      const place = where.offset + Number(start) + byte;
      const other = written.get(place);
      if (other !== undefined) throw this.#error(at, `${name} lies over ${other}`);
      written.set(place, name);
      const shift = BigInt(8 * (this.#little ? byte : size - 1 - byte));
      this.#bytes[place] = Number((bits >> shift) & 0xffn);
    }
  }

  /** Gives undefined symbols, by their index, a value. */
  #define(values: ReadonlyMap<number, bigint>): void {
    let seen = 0;
    for (const section of this.#sections) {
      if (section.type !== sectionType.rel && section.type !== sectionType.rela) continue;
      const target = this.#sections[section.info];
      if (target === undefined || !isCode(target)) continue;
      if (section.type === sectionType.rela) throw this.#error(section.at, `${section.name} has addends`);
      const kept: Uint8Array[] = [];
      const end = section.offset + section.size;
      for (let at = section.offset; at + relocationEntry.size <= end; at += relocationEntry.size) {
        if (++seen > limits.relocations) throw this.#error(at, `more than ${limits.relocations} relocations`);
        const index = this.#u32(at + (this.#little ? relocationEntry.symbol : relocationEntry.type));
        const value = values.get(index);
        if (value === undefined) kept.push(this.#bytes.slice(at, at + relocationEntry.size));
        else this.#load(at, target, value, this.#symbols[index]?.name ?? "");
      }
      if (kept.length * relocationEntry.size === section.size) continue;
      this.#bytes.fill(0, section.offset, end);
      for (const [index, entry] of kept.entries())
        this.#bytes.set(entry, section.offset + index * relocationEntry.size);
      this.#setU64(section.at + sectionEntry.length, BigInt(kept.length * relocationEntry.size));
    }
    for (const [index, value] of values) {
      const symbol = this.#symbols[index];
      if (symbol === undefined) continue;
      this.#view.setUint16(symbol.at + symbolEntry.section, absoluteSection, this.#little);
      this.#setU64(symbol.at + symbolEntry.value, value);
    }
  }

  /** Writes a value into the 64-bit load that the relocation at `at` is of. */
  #load(at: number, target: Section, value: bigint, name: string): void {
    const type = this.#u32(at + (this.#little ? relocationEntry.type : relocationEntry.symbol));
    const offset = this.#u64(at);
    const instruction = target.offset + offset;
    const isLoad =
      type === relocation64 &&
      offset + load64.size <= target.size &&
      this.#bytes[instruction] === load64.code;
    if (!isLoad) throw this.#error(at, `${name} is used by an instruction that loads no 64 bits`);
    this.#view.setUint32(instruction + load64.low, Number(value & 0xffff_ffffn), this.#little);
    this.#view.setUint32(instruction + load64.high, Number(value >> 32n), this.#little);
  }

  #readSections(): readonly Section[] {
    const start = this.#u64(header.sections);
    const count = this.#u16(header.count);
    if (this.#u16(header.sectionSize) !== sectionEntry.size || count === 0) {
      throw this.#error(header.sectionSize, "no section headers of a known size");
    }
    this.#check(start, count * sectionEntry.size, "section headers");
    const raw = Array.from({ length: count }, (_, index) => {
      const at = start + index * sectionEntry.size;
      const type = this.#u32(at + sectionEntry.type);
      const section = {
        nameAt: this.#u32(at),
        type,
        flags: this.#u32(at + sectionEntry.flags + (this.#little ? 0 : 4)),
        offset: this.#u64(at + sectionEntry.offset),
        size: this.#u64(at + sectionEntry.length),
        link: this.#u32(at + sectionEntry.link),
        info: this.#u32(at + sectionEntry.info),
        at,
      };
      const isInFile = [
        sectionType.progbits,
        sectionType.symtab,
        sectionType.strtab,
        sectionType.rel,
        sectionType.rela,
      ];
      if (isInFile.includes(type)) this.#check(section.offset, section.size, `section ${index}`);
      return section;
    });
    const names = raw[this.#u16(header.names)];
    if (names?.type !== sectionType.strtab)
      throw this.#error(header.names, "no section holds the sections' names");
    return raw.map(({ nameAt, ...rest }) => ({ name: this.#string(names, nameAt, rest.at), ...rest }));
  }

  #readSymbols(): readonly ElfSymbol[] {
    const tables = this.#sections.filter(({ type }) => type === sectionType.symtab);
    const [table] = tables;
    if (table === undefined) return [];
    if (tables.length > 1) throw this.#error(table.at, "more than one symbol table");
    const strings = this.#sections[table.link];
    if (strings?.type !== sectionType.strtab) throw this.#error(table.at, "the symbol table has no strings");
    return Array.from({ length: Math.floor(table.size / symbolEntry.size) }, (_, index) => {
      const at = table.offset + index * symbolEntry.size;
      const info = this.#bytes[at + symbolEntry.info] ?? 0;
      return {
        name: this.#string(strings, this.#u32(at), at),
        type: info & 15,
        binding: info >> 4,
        section: this.#u16(at + symbolEntry.section),
        value: this.#view.getBigUint64(at + symbolEntry.value, this.#little),
        size: this.#u64(at + symbolEntry.length),
        at,
      };
    });
  }

  /** A name in a string table; `from` is where it is referred to. */
  #string(table: Pick<Section, "offset" | "size">, start: number, from: number): string {
    if (start >= table.size) throw this.#error(from, `a name at ${start} of ${table.size} bytes`);
    const end = Math.min(start + limits.name, table.size);
    const bytes = this.#bytes.subarray(table.offset + start, table.offset + end);
    const length = bytes.indexOf(0);
    if (length < 0)
      throw this.#error(table.offset + start, `a name without an end, or of more than ${limits.name} bytes`);
    return nameOf(bytes.subarray(0, length));
  }

  #check(offset: number, size: number, what: string): void {
    if (offset + size > this.#bytes.length)
      throw this.#error(offset, `${what} of ${size} bytes beyond the end of ${this.#bytes.length}`);
  }
  #u16(at: number): number {
    return this.#view.getUint16(at, this.#little);
  }
  #u32(at: number): number {
    return this.#view.getUint32(at, this.#little);
  }
  #u64(at: number): number {
    const value = this.#view.getBigUint64(at, this.#little);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.#error(at, "a 64-bit number larger than any file");
    return Number(value);
  }
  #setU64(at: number, value: bigint): void {
    this.#view.setBigUint64(at, value, this.#little);
  }

  /** The value as unsigned bits of `width` bytes. @throws BakeError when it has more */
  #fitting(name: string, value: bigint | null, width: number): bigint {
    const most = (1n << BigInt(8 * width)) - 1n;
    if (value === null) return most;
    if (value >= 0n && value <= most) return value;
    const room = `${width} byte${width === 1 ? "" : "s"}`;
    throw new BakeError(`${this.#path}: ${name} is ${value}, which does not fit into its ${room}`);
  }

  #error(offset: number, what: string): InputError {
    return new InputError(this.#path, offset, what);
  }
}

const isCode = ({ type, flags }: Section): boolean =>
  type === sectionType.progbits && (flags & sectionFlag.execute) !== 0;

const isUndefined = ({ name, type, binding, section }: ElfSymbol): boolean =>
  section === undefinedSection && type === symbolType.none && binding !== localBinding && name !== "";
