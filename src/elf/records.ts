import { InputError } from "../input/input.ts";
import { nameOf } from "../input/name.ts";

/**
 * What ELF64 files are made of, in either byte order: where a number stands in each record, and what the numbers mean. All places and
 * sizes are bytes. Source: System V ABI (gabi), chapters 4 and 5, and elf(5).
 */

/** Elf64_Ehdr. */
export const fileHeader = {
  size: 64,
  class: 4,
  byteOrder: 5,
  type: 16,
  machine: 18,
  version: 20,
  segments: 32,
  sections: 40,
  ownSize: 52,
  segmentSize: 54,
  segmentCount: 56,
  sectionSize: 58,
  sectionCount: 60,
  names: 62,
} as const;
/** Elf64_Phdr, whose physical address no one here asks for. */
export const segmentEntry = {
  size: 56,
  type: 0,
  flags: 4,
  offset: 8,
  vaddr: 16,
  filesz: 32,
  memsz: 40,
  align: 48,
} as const;
/** Elf64_Shdr. */
export const sectionEntry = {
  size: 64,
  name: 0,
  type: 4,
  flags: 8,
  offset: 24,
  length: 32,
  link: 40,
  info: 44,
  align: 48,
  entsize: 56,
} as const;
/** Elf64_Sym. */
export const symbolEntry = { size: 24, name: 0, info: 4, section: 6, value: 8, length: 16 } as const;

export const elfType = { relocatable: 1, executable: 2, shared: 3, core: 4 } as const;
export const elfMachine = { x86_64: 62, aarch64: 183, bpf: 247 } as const;
export const segment = { load: 1, dynamic: 2, interp: 3, note: 4, ehFrame: 0x6474e550 } as const;
export const segmentFlag = { execute: 1, write: 2, read: 4 } as const;
export const sectionType = { progbits: 1, symtab: 2, strtab: 3, rela: 4, note: 7, rel: 9 } as const;
export const sectionFlag = { execute: 4, compressed: 0x800 } as const;
export const symbolType = { none: 0, object: 1, function: 2 } as const;
/** Section numbers that a symbol has without lying in a section; from `reserved` on none is a section's. */
export const sectionNumber = { undefined: 0, reserved: 0xff00, absolute: 0xfff1 } as const;
export const localBinding = 0;

/** A symbol's type, which its `st_info` has in the low 4 bits. */
export const typeOf = (info: number): number => info & 15;
/** A symbol's binding, which its `st_info` has in the high 4 bits. */
export const bindingOf = (info: number): number => info >> 4;

/** How numbers are to be read: with the low byte first unless told otherwise, and addresses as bytes of a file's own space. */
export interface RecordsOptions {
  readonly isLittle?: boolean;
  /** Whether addresses are a kernel's: in its half of the address space the highest bits are ones, so that they are told as numbers below 0. */
  readonly isKernel?: boolean;
}

/** Reads numbers of a stretch of a file; whoever asks knows that they lie in it. */
export class Records {
  readonly #path: string;
  readonly #view: DataView;
  readonly #isLittle: boolean;
  readonly #isKernel: boolean;
  /** Where the stretch begins in the file, in bytes. */
  readonly at: number;

  constructor(
    path: string,
    at: number,
    bytes: Uint8Array,
    { isLittle = true, isKernel = false }: RecordsOptions = {},
  ) {
    this.#path = path;
    this.at = at;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#isLittle = isLittle;
    this.#isKernel = isKernel;
  }

  /** A number of 16 bits. @param offset of this number as of all, bytes from the stretch's beginning */
  u16(offset: number): number {
    return this.#view.getUint16(offset, this.#isLittle);
  }

  /** A number of 32 bits. */
  u32(offset: number): number {
    return this.#view.getUint32(offset, this.#isLittle);
  }

  /** The low half of a number of 64 bits. */
  low32(offset: number): number {
    return this.u32(offset + (this.#isLittle ? 0 : 4));
  }

  /** A number of 64 bits. @throws InputError where it is beyond 2^53 */
  u64(offset: number): number {
    const high = this.#isLittle ? 4 : 0;
    const value = this.u32(offset + high) * 2 ** 32 + this.u32(offset + 4 - high);
    if (Number.isSafeInteger(value)) return value;
    throw new InputError(this.#path, this.at + offset, "a 64-bit number larger than any file");
  }

  /** An address: 64 bits, signed where it is a kernel's. @throws InputError where it is beyond 2^53 */
  address(offset: number): number {
    const signed = this.#isKernel ? Number(this.#view.getBigInt64(offset, this.#isLittle)) : 0;
    return signed < 0 && Number.isSafeInteger(signed) ? signed : this.u64(offset);
  }

  /** All 64 bits, unsigned. */
  bits64(offset: number): bigint {
    return this.#view.getBigUint64(offset, this.#isLittle);
  }
}

/** A file's header, of which no more was judged than that it is one. */
export interface FileHeader {
  /** 1 in a file of 32 bits, 2 in one of 64 (EI_CLASS). */
  readonly class: number;
  /** 1 where the low byte comes first, 2 where the high one does (EI_DATA). */
  readonly byteOrder: number;
  readonly numbers: Records;
}

/** @param bytes the first 64 of the file, or all where it has fewer @throws InputError where it is no ELF file */
export function fileHeaderOf(path: string, bytes: Uint8Array): FileHeader {
  if (bytes.length < fileHeader.size)
    throw new InputError(path, 0, `${bytes.length} bytes are too few for an ELF header`);
  if (new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) !== 0x7f454c46)
    throw new InputError(path, 0, "not an ELF file");
  const byteOrder = bytes[fileHeader.byteOrder] ?? 0;
  const numbers = new Records(path, 0, bytes, { isLittle: byteOrder !== 2 });
  return { class: bytes[fileHeader.class] ?? 0, byteOrder, numbers };
}

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

/** A section. `offset` and `size` are bytes in the file; of flags and alignment no more than 32 bits have a meaning. */
export interface SectionHeader {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly align: number;
  /** Where its header lies in the file, in bytes. */
  readonly at: number;
}

/** A section whose name is still a place in the strings of another one. */
export type UnnamedSection = Omit<SectionHeader, "name"> & { readonly nameAt: number };

/** The segments that a table tells of, in its order. @throws InputError where a number is beyond 2^53 */
export const programHeadersOf = (table: Records, count: number): ProgramHeader[] =>
  Array.from({ length: count }, (_, index) => {
    const base = index * segmentEntry.size;
    return {
      type: table.u32(base + segmentEntry.type),
      flags: table.u32(base + segmentEntry.flags),
      offset: table.u64(base + segmentEntry.offset),
      vaddr: table.address(base + segmentEntry.vaddr),
      filesz: table.u64(base + segmentEntry.filesz),
      memsz: table.u64(base + segmentEntry.memsz),
      align: table.u64(base + segmentEntry.align),
    };
  });

/**
 * The sections that a table tells of, in its order.
 * @param start where their headers begin in the table, in bytes @throws InputError where a number is beyond 2^53
 */
export const sectionHeadersOf = (table: Records, count: number, start = 0): UnnamedSection[] =>
  Array.from({ length: count }, (_, index) => {
    const base = start + index * sectionEntry.size;
    return {
      nameAt: table.u32(base + sectionEntry.name),
      type: table.u32(base + sectionEntry.type),
      flags: table.low32(base + sectionEntry.flags),
      offset: table.u64(base + sectionEntry.offset),
      size: table.u64(base + sectionEntry.length),
      link: table.u32(base + sectionEntry.link),
      info: table.u32(base + sectionEntry.info),
      align: table.low32(base + sectionEntry.align),
      at: table.at + base,
    };
  });

/** The text that begins at `start` and ends with a zero. @param at where the bytes lie in the file @throws InputError */
export function cString(path: string, bytes: Buffer, start: number, at: number): string {
  const end = bytes.indexOf(0, start);
  if (start >= bytes.length || end < 0) throw new InputError(path, at + start, "a string without an end");
  return nameOf(bytes.subarray(start, end));
}

/** The segment whose bytes in the file are loaded at an address. */
export const segmentAt = (segments: readonly ProgramHeader[], address: number): ProgramHeader | undefined =>
  segments.find(
    ({ type, vaddr, filesz }) => type === segment.load && address >= vaddr && address < vaddr + filesz,
  );
