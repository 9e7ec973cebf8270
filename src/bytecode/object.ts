import { ObjectFile, type ObjectSymbol } from "../elf/object-file.ts";
import {
  elfMachine,
  localBinding,
  type SectionHeader,
  sectionEntry,
  sectionFlag,
  sectionNumber,
  sectionType,
  symbolEntry,
  symbolType,
} from "../elf/records.ts";
import { loaderExterns } from "./externs.ts";

/**
 * An eBPF object in memory whose constants can be given values: an ELF64 relocatable file of EM_BPF, of either byte
 * order. It is hostile: each read is bounded, each error names the file and the offset. Layouts and numbers: System V
 * ABI (gabi) chapter 4; relocations and instructions: the kernel's Documentation/bpf/llvm_reloc.rst, standardization/.
 */

/** Elf64_Rel. Bytes. */
const relocationEntry = { size: 16, type: 8, symbol: 12 };
const relocation64 = 1; // R_BPF_64_64: the 64 bits of a load
/** BPF_LD | BPF_IMM | BPF_DW, of two instructions: the halves of its value lie 4 and 12 bytes from its start. */
const load64 = { code: 0x18, size: 16, low: 4, high: 12 };

/** Relocations in all sections, which a hostile file could lay over each other: no real object comes near. */
const mostRelocations = 4 << 20;

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
  readonly #file: ObjectFile;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param path the name used in errors @throws InputError when the bytes are no eBPF object */
  constructor(bytes: Uint8Array, path: string) {
    this.#bytes = new Uint8Array(bytes); // slice() of a Buffer would not copy
    this.#view = new DataView(this.#bytes.buffer);
    const called = "not an eBPF object (a relocatable file of machine BPF)";
    this.#file = new ObjectFile(this.#bytes, path, elfMachine.bpf, called);
  }

  /** Bytes of the object. */
  get size(): number {
    return this.#bytes.length;
  }

  /** Every name that can be given a value, once each, in the order of the symbol table. */
  get constants(): readonly Constant[] {
    const found = new Map<string, Constant>();
    for (const symbol of this.#file.symbols) {
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
    const names = new Set(this.#file.symbols.filter(isUndefined).map(({ name }) => name));
    const btf = this.section(".BTF");
    if (names.size === 0 || btf === null) return [...names];
    const resolved = loaderExterns(btf.bytes, this.#file.path, btf.at);
    return [...names].filter((name) => !resolved.has(name));
  }

  /** Every program, in the order of the symbol table. */
  get programs(): readonly Program[] {
    return this.#file.symbols.flatMap(({ name, type, binding, section }) => {
      const where = this.#file.sections[section];
      const isProgram =
        type === symbolType.function && binding !== localBinding && where !== undefined && isCode(where);
      return isProgram && where.name !== ".text" ? [{ name, section: where.name }] : [];
    });
  }

  /** Every function with instructions of its own, in the order of the symbol table. */
  get functions(): readonly EbpfFunction[] {
    return this.#file.symbols.flatMap(({ name, type, section, value, size }) => {
      const where = this.#file.sections[section];
      if (type !== symbolType.function || where === undefined || !isCode(where)) return [];
      return [{ name, section: where.name, start: Number(value), size }];
    });
  }

  /** Whether its numbers are little-endian. */
  get isLittle(): boolean {
    return this.#file.isLittle;
  }

  /** What lies in the first section of a name, and where in the file; null where there is none. */
  section(wanted: string): { readonly bytes: Uint8Array; readonly at: number } | null {
    const found = this.#file.sections.find(
      ({ name, type }) => name === wanted && type === sectionType.progbits,
    );
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
    const baked = new EbpfObject(this.#bytes, this.#file.path);
    const written = new Map<number, string>();
    const defined = new Map<number, bigint>();
    for (const [index, symbol] of baked.#file.symbols.entries()) {
      const value = values.get(symbol.name);
      if (value === undefined) continue;
      if (baked.#isData(symbol)) baked.#writeData(symbol, value, written);
      else if (isUndefined(symbol)) defined.set(index, baked.#fitting(symbol.name, value, 8));
    }
    if (defined.size > 0) baked.#define(defined);
    return baked.#bytes;
  }

  #isData({ type, section }: ObjectSymbol): boolean {
    if (type !== symbolType.object || section >= sectionNumber.reserved) return false;
    const where = this.#file.sections[section];
    // libbpf and cilium/ebpf make a map of each section whose name begins so.
    return where?.type === sectionType.progbits && /^\.rodata($|\.)/.test(where.name);
  }

  #writeData(
    { name, section, value: start, size, at }: ObjectSymbol,
    value: bigint | null,
    written: Map<number, string>,
  ) {
    if (![1, 2, 4, 8].includes(size)) {
      throw new BakeError(`${this.#file.path}: ${name} has ${size} bytes; a constant has 1, 2, 4 or 8`);
    }
    const where = this.#file.sections[section];
    if (where === undefined || start + BigInt(size) > BigInt(where.size))
      throw this.#file.error(at, `${name} lies outside its section`);
    if ((where.flags & sectionFlag.compressed) !== 0)
      throw this.#file.error(where.at, `${where.name} is compressed`);
    const bits = this.#fitting(name, value, size);
    for (let byte = 0; byte < size; byte++) {
      const place = where.offset + Number(start) + byte;
      const other = written.get(place);
      if (other !== undefined) throw this.#file.error(at, `${name} lies over ${other}`);
      written.set(place, name);
      const shift = BigInt(8 * (this.#file.isLittle ? byte : size - 1 - byte));
      this.#bytes[place] = Number((bits >> shift) & 0xffn);
    }
  }

  /** Gives undefined symbols, by their index, a value. */
  #define(values: ReadonlyMap<number, bigint>): void {
    let seen = 0;
    for (const section of this.#file.sections) {
      if (section.type !== sectionType.rel && section.type !== sectionType.rela) continue;
      const target = this.#file.sections[section.info];
      if (target === undefined || !isCode(target)) continue;
      if (section.type === sectionType.rela)
        throw this.#file.error(section.at, `${section.name} has addends`);
      const kept: Uint8Array[] = [];
      const end = section.offset + section.size;
      for (let at = section.offset; at + relocationEntry.size <= end; at += relocationEntry.size) {
        if (++seen > mostRelocations) throw this.#file.error(at, `more than ${mostRelocations} relocations`);
        const index = this.#file.numbers.u32(
          at + (this.#file.isLittle ? relocationEntry.symbol : relocationEntry.type),
        );
        const value = values.get(index);
        if (value === undefined) kept.push(this.#bytes.slice(at, at + relocationEntry.size));
        else this.#load(at, target, value, this.#file.symbols[index]?.name ?? "");
      }
      if (kept.length * relocationEntry.size === section.size) continue;
      this.#bytes.fill(0, section.offset, end);
      for (const [index, entry] of kept.entries())
        this.#bytes.set(entry, section.offset + index * relocationEntry.size);
      this.#setU64(section.at + sectionEntry.length, BigInt(kept.length * relocationEntry.size));
    }
    for (const [index, value] of values) {
      const symbol = this.#file.symbols[index];
      if (symbol === undefined) continue;
      this.#view.setUint16(symbol.at + symbolEntry.section, sectionNumber.absolute, this.#file.isLittle);
      this.#setU64(symbol.at + symbolEntry.value, value);
    }
  }

  /** Writes a value into the 64-bit load that the relocation at `at` is of. */
  #load(at: number, target: SectionHeader, value: bigint, name: string): void {
    const type = this.#file.numbers.u32(
      at + (this.#file.isLittle ? relocationEntry.type : relocationEntry.symbol),
    );
    const offset = this.#file.numbers.u64(at);
    const instruction = target.offset + offset;
    const isLoad =
      type === relocation64 &&
      offset + load64.size <= target.size &&
      this.#bytes[instruction] === load64.code;
    if (!isLoad) throw this.#file.error(at, `${name} is used by an instruction that loads no 64 bits`);
    this.#view.setUint32(instruction + load64.low, Number(value & 0xffff_ffffn), this.#file.isLittle);
    this.#view.setUint32(instruction + load64.high, Number(value >> 32n), this.#file.isLittle);
  }

  #setU64(at: number, value: bigint): void {
    this.#view.setBigUint64(at, value, this.#file.isLittle);
  }

  /** The value as unsigned bits of `width` bytes. @throws BakeError when it has more */
  #fitting(name: string, value: bigint | null, width: number): bigint {
    const most = (1n << BigInt(8 * width)) - 1n;
    if (value === null) return most;
    if (value >= 0n && value <= most) return value;
    const room = `${width} byte${width === 1 ? "" : "s"}`;
    throw new BakeError(`${this.#file.path}: ${name} is ${value}, which does not fit into its ${room}`);
  }
}

const isCode = ({ type, flags }: SectionHeader): boolean =>
  type === sectionType.progbits && (flags & sectionFlag.execute) !== 0;

const isUndefined = ({ name, type, binding, section }: ObjectSymbol): boolean =>
  section === sectionNumber.undefined && type === symbolType.none && binding !== localBinding && name !== "";
