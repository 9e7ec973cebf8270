import { InputError } from "../input/input.ts";

/**
 * BTF, the type information of kernels and of eBPF objects: the kernel's Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
 * It is hostile: each read is bounded, each error names the file and the offset.
 */

/** BTF_KIND_* of include/uapi/linux/btf.h. */
export const kinds = {
  void: 0,
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

/** A member of a struct or union in the making. */
export interface NewMember {
  /** The member's name; empty for an anonymous one. */
  readonly name: string;
  /** Number of its type. */
  readonly type: number;
  /** From the start of the struct. */
  readonly bitOffset: number;
  /** Bits of a bit-field; null for any other member. */
  readonly bitSize: number | null;
}

/** A type in the making. Types refer to others by their numbers, of which the first is 1; 0 is void. */
export type NewType =
  | { readonly kind: "int"; readonly name: string; readonly size: number; readonly encoding: number }
  | { readonly kind: "float"; readonly name: string; readonly size: number }
  | {
      readonly kind: "pointer" | "typedef" | "volatile" | "const" | "restrict" | "typeTag";
      readonly name: string;
      readonly of: number;
    }
  | { readonly kind: "array"; readonly of: number; readonly index: number; readonly count: number }
  | { readonly kind: "forward"; readonly name: string; readonly isUnion: boolean }
  | {
      readonly kind: "struct" | "union";
      /** Empty for an anonymous one. */
      readonly name: string;
      /** Bytes. */
      readonly size: number;
      readonly members: readonly NewMember[];
    }
  | {
      readonly kind: "enum" | "enum64";
      readonly name: string;
      /** Bytes. */
      readonly size: number;
      readonly isSigned: boolean;
      readonly enumerators: readonly { readonly name: string; readonly value: bigint }[];
    }
  | {
      readonly kind: "prototype";
      readonly returns: number;
      readonly parameters: readonly { readonly name: string; readonly type: number }[];
    };

/** struct btf_header; bytes. */
const header = { size: 24, length: 4, types: 8, typesSize: 12, strings: 16, stringsSize: 20 };
const MAGIC = 0xeb9f;
/** Words of struct btf_type: name_off, info, size or type. */
const INFO = 1;
const TYPE = { name: 0, info: INFO, size: 2, words: 3 } as const;
/** By kind, the words behind a btf_type: how many there are in any case, and how many for each member. */
const tails = [
  [0, 0],
  [1, 0], // int: encoding
  [0, 0],
  [3, 0], // struct btf_array
  [0, 3], // struct btf_member
  [0, 3],
  [0, 2], // struct btf_enum
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 0],
  [0, 2], // struct btf_param
  [1, 0], // struct btf_var
  [0, 3], // struct btf_var_secinfo
  [0, 0],
  [1, 0], // struct btf_decl_tag
  [0, 0],
  [0, 3], // struct btf_enum64
] as const;
/** Words that are more than BTF can have: what leads beyond any end. */
const BEYOND = 2 ** 30;
/** Words of a type in any case, and of each of its members, by its kind; beyond the end for kinds that are not known, and for void. */
const fixedWords = new Int32Array(32).fill(BEYOND);
const memberWords = new Int32Array(32);
for (const [kind, [fixed, each]] of tails.entries()) {
  if (kind !== kinds.void) fixedWords[kind] = TYPE.words + fixed;
  memberWords[kind] = each;
}
/** The bits of a kind in the second word of a type. */
const KIND = 0x1f000000;
const kindOf = (info: number): number => (info & KIND) >>> 24;
const countOf = (info: number): number => info & 0xffff;
/** Kinds that stand for the type they name. */
const aliases: ReadonlySet<number> = new Set([
  kinds.typedef,
  kinds.volatile,
  kinds.const,
  kinds.restrict,
  kinds.typeTag,
]);
/** Kinds that are a name, or nothing, and the type they refer to. */
const references = new Map([
  [kinds.pointer, "pointer"],
  [kinds.typedef, "typedef"],
  [kinds.volatile, "volatile"],
  [kinds.const, "const"],
  [kinds.restrict, "restrict"],
  [kinds.typeTag, "typeTag"],
] as const) as ReadonlyMap<number, "pointer" | "typedef" | "volatile" | "const" | "restrict" | "typeTag">;
/** How many types a chain of typedefs, qualifiers and arrays may have. Compilers make none that is longer: it would lead back to itself. */
const DEEPEST = 64;

/** Bytes of a name; those of Rust's types are the longest. */
const LONGEST = 16 << 10;

/** A member of a struct or union. */
export interface Member {
  readonly name: string;
  /** Number of its type. */
  readonly type: number;
  /** From the start of the struct. */
  readonly bitOffset: number;
  /** Bits of a bit-field; null for any other member. */
  readonly bitSize: number | null;
}

export interface Enumerator {
  readonly name: string;
  readonly value: bigint;
}

/** Where BTF lies. */
export interface BtfOptions {
  /** The name of its file, for errors. */
  readonly path: string;
  /** Bytes before it in that file, for errors. */
  readonly at?: number;
  /** What split BTF, a module's, builds on: its types and strings are counted on from those of this one. */
  readonly base?: Btf;
}

/** All types of one BTF. They are numbered from 1; 0 is void. */
export class Btf {
  readonly #options: BtfOptions;
  /** The types in words of this machine's byte order. */
  readonly #words: Uint32Array;
  /** Where each type begins among the words. */
  readonly #starts: Int32Array;
  readonly #strings: Buffer;
  readonly #types: number;
  readonly #texts = new Map<string, ReadonlySet<number>>();
  readonly #named = new Map<string, readonly number[]>();

  /** @throws InputError where it is not sound, or of a kind of type that is younger than this */
  constructor(bytes: Uint8Array, options: BtfOptions) {
    this.#options = options;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < header.size) throw this.#error(0, "cut short");
    const little = view.getUint16(0, true) === MAGIC;
    if (!little && view.getUint16(0, false) !== MAGIC) throw this.#error(0, "no magic number");
    const u32 = (offset: number): number => view.getUint32(offset, little);
    const section = (start: number, size: number, what: string): Uint8Array => {
      const from = u32(header.length) + u32(start);
      if (from + u32(size) > bytes.length) throw this.#error(start, `${what} beyond the end`);
      return bytes.subarray(from, from + u32(size));
    };
    this.#types = u32(header.length) + u32(header.types);
    const strings = section(header.strings, header.stringsSize, "strings");
    this.#strings = Buffer.from(strings.buffer, strings.byteOffset, strings.byteLength);
    this.#words = wordsOf(section(header.types, header.typesSize, "types"), little);
    this.#starts = this.#index();
  }

  /**
   * Where each type begins. A kernel has 130,000, and most of the loop is over before it is compiled: interpreted it takes a third of the
   * time with a single check behind it, signed words, no function called, no property read, no default (beyond the last word lies
   * undefined, of which the kind is 0), and members counted only where there are some.
   */
  #index(): Int32Array {
    const { buffer, byteOffset, length } = this.#words;
    const words = new Int32Array(buffer, byteOffset, length);
    const starts = new Int32Array(length / TYPE.words + 1);
    const fixed = fixedWords;
    const each = memberWords;
    let count = 0;
    let at = 0;
    while (at < length) {
      const told = words[at + INFO] as number;
      starts[count++] = at;
      const kind = (told >> 24) & 0x1f;
      const members = told & 0xffff;
      if (members === 0) at += fixed[kind] as number;
      else at += (fixed[kind] as number) + (each[kind] as number) * members;
    }
    if (at !== length) throw this.#unsound(starts[count - 1] ?? 0);
    return starts.subarray(0, count);
  }

  /** What is wrong with the type at a word. */
  #unsound(at: number): InputError {
    const kind = kindOf(this.#words[at + TYPE.info] ?? 0);
    const isKnown = (fixedWords[kind] ?? BEYOND) !== BEYOND;
    const what = isKnown ? "a type beyond the end" : `a type of kind ${kind}, which is not known`;
    return this.#error(this.#types + at * 4, what);
  }

  /** The number of its first own type; below lie those of the base. */
  get first(): number {
    return this.#options.base?.end ?? 1;
  }

  /** The number behind its last type. */
  get end(): number {
    return this.first + this.#starts.length;
  }

  /** Numbers of its own types of this name and one of these kinds. */
  named(name: string, wanted: readonly number[]): number[] {
    const all = this.#named.get(name) ?? this.#called(name);
    this.#named.set(name, all);
    return all.filter((type) => wanted.includes(this.kind(type)));
  }

  #called(name: string): number[] {
    const found: number[] = [];
    const words = this.#words;
    for (const offset of this.#offsetsOf(name)) {
      for (let at = words.indexOf(offset); at >= 0; at = words.indexOf(offset, at + 1)) {
        // What follows most other numbers has no kind.
        if (((words[at + TYPE.info] ?? 0) & KIND) === 0) continue;
        const index = this.#indexAt(at);
        if (index !== null) found.push(this.first + index);
      }
    }
    return found;
  }

  /** Which of its own types begins at a word; null where none does, and the number there is no type's name. */
  #indexAt(at: number): number | null {
    const starts = this.#starts;
    let [low, high] = [0, starts.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return starts[low] === at ? low : null;
  }

  /** Names of its own types of these kinds. */
  names(wanted: readonly number[]): string[] {
    const all = Array.from(this.#starts, (_, index) => this.first + index);
    return [
      ...new Set(all.filter((type) => wanted.includes(this.kind(type))).map((type) => this.name(type))),
    ];
  }

  /** The numbers of every enumerator of this name in its own enums. */
  enumerated(name: string): bigint[] {
    const offsets = this.#offsetsOf(name);
    const found: bigint[] = [];
    if (offsets.size === 0) return found;
    for (let type = this.first; type < this.end; type++) {
      const kind = this.kind(type);
      if (kind !== kinds.enum && kind !== kinds.enum64) continue;
      found.push(...this.enumerators(type).flatMap((one) => (one.name === name ? [one.value] : [])));
    }
    return found;
  }

  /** A number of {@link kinds}. */
  kind(type: number): number {
    return type === 0 ? kinds.void : kindOf(this.#word(type, TYPE.info));
  }

  /** The name of a type by its number; empty for one without, `void` for number 0. @throws InputError */
  name(type: number): string {
    return type === 0 ? "void" : this.#text(this.#word(type, TYPE.name));
  }

  /** The number of the type that typedefs and qualifiers stand for. @throws InputError where they go round in a circle */
  resolve(type: number): number {
    let resolved = type;
    for (let depth = 0; depth < DEEPEST; depth++) {
      if (!aliases.has(this.kind(resolved))) return resolved;
      resolved = this.#word(resolved, TYPE.size);
    }
    throw this.#error(0, `type ${type} leads to itself`);
  }

  /** The members of a struct or union, through typedefs and qualifiers; null where a type is neither. */
  members(type: number): readonly Member[] | null {
    const id = this.resolve(type);
    return this.#isStruct(id) ? this.#memberRows(id).map((row) => this.#member(id, row)) : null;
  }

  /** The members of this name, and those without one. Null where the type is no struct or union. */
  membersNamed(type: number, name: string): readonly Member[] | null {
    const id = this.resolve(type);
    if (!this.#isStruct(id)) return null;
    const { base } = this.#options;
    if (base !== undefined && id < base.end) return base.membersNamed(id, name);
    const found: Member[] = [];
    const [first, skipped] = [name.charCodeAt(0), this.#firstText];
    const start = this.#starts[id - this.first] ?? 0;
    const end = TYPE.words + countOf(this.#word(id, TYPE.info)) * 3;
    for (let row = TYPE.words; row < end; row += 3) {
      const offset = this.#words[start + row] ?? 0;
      if (offset !== 0 && (this.#strings[offset - skipped] ?? first) !== first) continue;
      if (offset === 0 || this.#isText(offset, name)) found.push(this.#member(id, row));
    }
    return found;
  }

  /** One member of a struct or union by its number from 0; null where a type is neither, or has fewer. */
  memberAt(type: number, index: number): Member | null {
    const id = this.resolve(type);
    const isThere = this.#isStruct(id) && index < countOf(this.#word(id, TYPE.info));
    return isThere ? this.#member(id, TYPE.words + index * 3) : null;
  }

  #isStruct(id: number): boolean {
    const kind = this.kind(id);
    return kind === kinds.struct || kind === kinds.union;
  }

  #memberRows(id: number): number[] {
    const count = countOf(this.#word(id, TYPE.info));
    return Array.from({ length: count }, (_, index) => TYPE.words + index * 3);
  }

  /** struct btf_member: name_off, type, offset, whose top byte is a bit-field's size where the struct's kind_flag is set. */
  #member(id: number, row: number): Member {
    const [name, type, offset] = [this.#word(id, row), this.#word(id, row + 1), this.#word(id, row + 2)];
    const text = this.#text(name);
    if (this.#word(id, TYPE.info) >>> 31 === 1)
      return { name: text, type, bitOffset: offset & 0xffffff, bitSize: offset >>> 24 || null };
    const bits = this.#oldBitField(type);
    return { name: text, type, bitOffset: offset + (bits?.offset ?? 0), bitSize: bits?.size ?? null };
  }

  /** Before kind_flag (Linux 4.20) a bit-field was an int of fewer bits than its bytes have. */
  #oldBitField(type: number): { readonly offset: number; readonly size: number } | null {
    const id = this.resolve(type);
    if (this.kind(id) !== kinds.int) return null;
    const encoding = this.#word(id, TYPE.words);
    const [size, offset] = [encoding & 0xff, (encoding >>> 16) & 0xff];
    return size === this.#word(id, TYPE.size) * 8 ? null : { offset, size };
  }

  /** The type of an array's elements and how many there are; null where a type is no array. */
  array(type: number): { readonly element: number; readonly count: number } | null {
    const id = this.resolve(type);
    if (this.kind(id) !== kinds.array) return null;
    return { element: this.#word(id, TYPE.words), count: this.#word(id, TYPE.words + 2) };
  }

  /**
   * Bytes of a type; null for those that have no size. @param pointer bytes of a pointer where this BTF is of
   * @throws InputError where it leads to itself
   */
  sizeOf(type: number, pointer = 8): number | null {
    let factor = 1;
    let id = this.resolve(type);
    for (let depth = 0; depth < DEEPEST; depth++) {
      const kind = this.kind(id);
      if (kind === kinds.pointer) return factor * pointer;
      if (sized.has(kind)) return factor * this.#word(id, TYPE.size);
      const array = this.array(id);
      if (array === null) return null;
      factor *= array.count;
      id = this.resolve(array.element);
    }
    throw this.#error(0, `type ${type} leads to itself`);
  }

  /** The names and values of an enum of 32 or 64 bits. */
  enumerators(type: number): readonly Enumerator[] {
    const count = countOf(this.#word(type, TYPE.info));
    return Array.from({ length: count }, (_, index) => this.#enumerator(type, index));
  }

  /** An enumerator of an enum by its number from 0; null where a type is no enum, or has fewer. */
  enumeratorAt(type: number, index: number): Enumerator | null {
    const isEnum = this.kind(type) === kinds.enum || this.kind(type) === kinds.enum64;
    if (!isEnum || index >= countOf(this.#word(type, TYPE.info))) return null;
    return this.#enumerator(type, index);
  }

  #enumerator(type: number, index: number): Enumerator {
    const info = this.#word(type, TYPE.info);
    const isLong = kindOf(info) === kinds.enum64;
    const wide = info >>> 31 === 1 ? BigInt.asIntN : BigInt.asUintN;
    const row = TYPE.words + index * (isLong ? 3 : 2);
    const low = BigInt(this.#word(type, row + 1));
    const value = isLong ? wide(64, (BigInt(this.#word(type, row + 2)) << 32n) | low) : wide(32, low);
    return { name: this.#text(this.#word(type, row)), value };
  }

  /** The number of the type that a pointer, a typedef, a qualifier or a prototype refers to; 0 is void. */
  refersTo(type: number): number {
    return type === 0 ? 0 : this.#word(type, TYPE.size);
  }

  /** Names and types of a prototype's parameters. */
  parameters(type: number): readonly { readonly name: string; readonly type: number }[] {
    return Array.from({ length: countOf(this.#word(type, TYPE.info)) }, (_, index) => ({
      name: this.#text(this.#word(type, TYPE.words + index * 2)),
      type: this.#word(type, TYPE.words + index * 2 + 1),
    }));
  }

  /**
   * A type as it is written anew, without what only programs have (functions, variables, their tags).
   * @throws InputError for what is no type of data
   */
  described(type: number): NewType {
    const [name, of, size] = [this.name(type), this.refersTo(type), this.#word(type, TYPE.size)];
    const isFlagged = this.#word(type, TYPE.info) >>> 31 === 1;
    const kind = this.kind(type);
    switch (kind) {
      case kinds.int:
        return { kind: "int", name, size, encoding: this.#word(type, TYPE.words) >>> 24 };
      case kinds.float:
        return { kind: "float", name, size };
      case kinds.array: {
        const words = [0, 1, 2].map((word) => this.#word(type, TYPE.words + word));
        return { kind: "array", of: words[0] ?? 0, index: words[1] ?? 0, count: words[2] ?? 0 };
      }
      case kinds.forward:
        return { kind: "forward", name, isUnion: isFlagged };
      case kinds.struct:
      case kinds.union: {
        const members = (this.members(type) ?? []).map((member) => ({ ...member }));
        return { kind: kind === kinds.struct ? "struct" : "union", name, size, members };
      }
      case kinds.enum:
      case kinds.enum64: {
        const enumerators = this.enumerators(type);
        return {
          kind: kind === kinds.enum ? "enum" : "enum64",
          name,
          size,
          isSigned: isFlagged,
          enumerators,
        };
      }
      case kinds.prototype:
        return { kind: "prototype", returns: of, parameters: this.parameters(type) };
    }
    const reference = references.get(kind);
    if (reference === undefined) throw this.#error(0, `type ${type} of kind ${kind} is no type of data`);
    return { kind: reference, name, of };
  }

  /** A string by its place in the table, as other sections refer to it. */
  text(offset: number): string {
    return this.#text(offset);
  }

  /** Variables of a section, by the numbers of their types. */
  sectionEntries(type: number): number[] {
    const count = countOf(this.#word(type, TYPE.info));
    return Array.from({ length: count }, (_, index) => this.#word(type, TYPE.words + index * 3));
  }

  #word(type: number, word: number): number {
    const { base } = this.#options;
    if (base !== undefined && type < base.end) return base.#word(type, word);
    const start = this.#starts[type - this.first];
    const value = start === undefined ? undefined : this.#words[start + word];
    if (value === undefined) throw this.#error(0, `no type ${type}, of ${this.end}`);
    return value;
  }

  #text(offset: number): string {
    if (offset === 0) return "";
    const { base } = this.#options;
    const start = offset - this.#firstText;
    if (base !== undefined && start < 0) return base.#text(offset);
    const end = this.#strings.indexOf(0, start);
    if (start >= this.#strings.length || end < 0) throw this.#error(0, `no text at ${offset}`);
    if (end - start > LONGEST) throw this.#error(0, `a text of ${end - start} bytes at ${offset}`);
    return this.#strings.toString("latin1", start, end);
  }

  /** The offset of its own first string: split BTF counts on from the strings of its base. */
  get #firstText(): number {
    const { base } = this.#options;
    return base === undefined ? 0 : base.#firstText + base.#strings.length;
  }

  /**
   * Whether a string of the table is this text. It is compared in place: to look for the text in all of the table takes a thousand times
   * as long.
   */
  #isText(offset: number, text: string): boolean {
    const { base } = this.#options;
    const start = offset - this.#firstText;
    if (base !== undefined && start < 0) return base.#isText(offset, text);
    for (let at = 0; at < text.length; at++)
      if (this.#strings[start + at] !== text.charCodeAt(at)) return false;
    return this.#strings[start + text.length] === 0;
  }

  /** Every place of a string in the table, which should be one: writers of BTF keep each once, and whole. */
  #offsetsOf(text: string): ReadonlySet<number> {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const { base } = this.#options;
    const offsets = new Set<number>(base === undefined ? [] : base.#offsetsOf(text));
    const from = this.#firstText;
    const bytes = Buffer.from(`\0${text}\0`, "latin1");
    for (let at = this.#strings.indexOf(bytes); at >= 0; at = this.#strings.indexOf(bytes, at + 1))
      offsets.add(from + at + 1);
    // Split BTF does not begin with an empty string.
    if (from > 0 && this.#strings.indexOf(bytes.subarray(1)) === 0) offsets.add(from);
    this.#texts.set(text, offsets);
    return offsets;
  }

  #error(offset: number, what: string): InputError {
    const { path, at = 0 } = this.#options;
    return new InputError(path, at + offset, `BTF: ${what}`);
  }
}

/** Kinds whose third word is a size in bytes. */
const sized: ReadonlySet<number> = new Set([
  kinds.int,
  kinds.struct,
  kinds.union,
  kinds.enum,
  kinds.float,
  kinds.enum64,
]);

/** Words in this machine's order, which is little-endian on all that this runs on. The bytes are copied where they have to be. */
function wordsOf(bytes: Uint8Array, little: boolean): Uint32Array {
  const whole = bytes.length & ~3;
  if (little && bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, whole / 4);
  const copy = Buffer.from(bytes.slice(0, whole).buffer);
  if (!little) copy.swap32();
  return new Uint32Array(copy.buffer, copy.byteOffset, whole / 4);
}
