import type { NewMember, NewType } from "../btf/btf.ts";
import { btfOf } from "../btf/encode.ts";
import type { Elf } from "../elf/elf.ts";
import type { InputError, InputFile } from "../input/input.ts";
import { filled, Section } from "./section.ts";
import { type Abbreviation, abbreviationsAt, Cursor, nameForms, slots, tags, Unit } from "./unit.ts";

/** Names of what is looked for: all else is passed over. */
export interface WantedTypes {
  readonly types: ReadonlySet<string>;
  readonly members: ReadonlySet<string>;
  readonly enumerators: ReadonlySet<string>;
}

/** The type of a section that the file does not have, as of those that are loaded where debug information lies alone: SHT_NOBITS. */
export const NOBITS = 8;
/** Bytes. A kernel with everything in it has some 1.5 GB of entries, which are read unit by unit. */
const limits = { info: 4 * 2 ** 30, unit: 64 << 20, strings: 256 << 20, abbreviations: 64 << 20 } as const;
/** Different types that are kept with their members, of which a kernel has some thousands; and types of one unit. */
const [mostKept, mostSeen] = [1 << 20, 1 << 20];
/** How many texts are kept with whether they are a wanted name. */
const mostTexts = 1 << 20;
/** Members that BTF can have of one type. */
const mostMembers = 0xffff;
/** How deep types may be nested; compilers nest none deeper. */
const DEEPEST = 64;

const set = (...those: number[]): ReadonlySet<number> => new Set(those);
const named = set(tags.structure, tags.union, tags.typedef, tags.enumeration, tags.base);
const [ofMembers, ofDimensions, ofValues] = [set(tags.member), set(tags.subrange), set(tags.enumerator)];
const qualifiers = set(tags.const, tags.volatile, tags.restrict, tags.atomic);

/**
 * What the debug information of an ELF file says of the wanted types, as BTF. Only the members that are wanted are in it, and
 * those without a name. Units that say the same of a type give one, those that differ give one each.
 *
 * @param file stays the caller's @returns null where it has none, or, as a module, none that is linked @throws InputError
 */
export function dwarfTypes(file: InputFile, elf: Elf, wanted: WantedTypes): Uint8Array | null {
  const found = new Map(
    elf.sections().flatMap((one) => (one.type === NOBITS ? [] : [[one.name, one] as const])),
  );
  const section = (name: string): Section | null => {
    const header = found.get(name);
    return header === undefined ? null : new Section(file, header);
  };
  const [info, abbreviations] = [section(".debug_info"), section(".debug_abbrev")];
  // In a file that is not linked (a module) places stand in relocations, which are not read.
  if (elf.type === "relocatable" || info === null || abbreviations === null) return null;
  const strings = (name: string): Buffer => section(name)?.whole(limits.strings) ?? Buffer.alloc(0);
  const reader = new Reader(wanted, strings);
  readUnits(info, abbreviations.whole(limits.abbreviations), (unit) => reader.read(unit));
  return btfOf(reader.types);
}

function readUnits(info: Section, abbreviations: Buffer, read: (unit: Unit) => void): void {
  if (info.size > limits.info) throw info.error(0, `${info.size} bytes, at most ${limits.info}`);
  using stream = info.open();
  const first = stream.offset;
  // Units that share a table lie one behind the other.
  let table = { key: "", byCode: new Map<number, Abbreviation>() };
  for (let start = 0; start < info.size; start = stream.offset - first) {
    const error = (offset: number, what: string): InputError => info.error(offset, what);
    const short = stream.read(4, "a unit's length").readUInt32LE(0);
    if (short >= 0xfffffff0 && short !== 0xffffffff)
      throw error(start, `a unit of length 0x${short.toString(16)}`);
    const length =
      short === 0xffffffff ? Number(stream.read(8, "a unit's length").readBigUInt64LE(0)) : short;
    const before = stream.offset - first - start;
    if (length > Math.min(limits.unit, info.size - start - before))
      throw error(start, `a unit of ${length} bytes`);
    const bytes = filled(stream, length, "a unit");
    const cursor = new Cursor(bytes);
    try {
      const offset = before === 4 ? 4 : 8;
      const version = cursor.number(2);
      if (version < 2 || version > 5) throw error(start, `DWARF of version ${version} is not known`);
      // DWARF 5 has the kind of the unit and the size of addresses before the place of the abbreviations.
      const kind = version >= 5 ? cursor.number(1) : COMPILE;
      const early = version >= 5 ? cursor.number(1) : 0;
      const place = cursor.number(offset);
      const address = version >= 5 ? early : cursor.number(1);
      if (address !== 4 && address !== 8) throw error(start, `addresses of ${address} bytes`);
      const root = cursor.at + (kind === COMPILE || kind === PARTIAL ? 0 : kind === TYPE ? 8 + offset : 8);
      const key = `${place} ${version} ${offset} ${address}`;
      const format = { version, offset, address };
      if (table.key !== key) table = { key, byCode: abbreviationsAt(abbreviations, place, format) };
      read(new Unit(bytes, { format, abbreviations: table.byCode, start, before, root, error }));
    } catch (cause) {
      if (cause instanceof RangeError)
        throw error(
          start,
          "a unit beyond its bounds: its end, its abbreviations', its texts', or as much as is kept of types",
        );
      throw cause;
    }
  }
}
/** DW_UT_*: a skeleton's and a split unit's header has 8 bytes more, a type's the place of the type besides. */
const [COMPILE, TYPE, PARTIAL] = [1, 2, 3];

/** What units say of the wanted types, each type once. */
class Reader {
  readonly types: NewType[] = [];
  readonly #numbers = new Map<string, number>();
  #kept = 0;
  readonly #wanted: WantedTypes;
  readonly #all: ReadonlySet<string>;
  readonly #longest: number;
  readonly #strings: Buffer;
  readonly #lineStrings: Buffer;
  readonly #indexes: Buffer;
  /** Texts of .debug_str by their places: a wanted name, or null. */
  readonly #texts = new Map<number, string | null>();
  /** Numbers of this unit's types by their places; -1: not told yet. */
  #seen = new Map<number, number>();

  constructor(wanted: WantedTypes, strings: (section: string) => Buffer) {
    this.#wanted = wanted;
    this.#all = new Set([...wanted.types, ...wanted.members, ...wanted.enumerators]);
    this.#longest = Math.max(0, ...[...this.#all].map((name) => name.length));
    this.#strings = strings(".debug_str");
    this.#lineStrings = strings(".debug_line_str");
    this.#indexes = strings(".debug_str_offsets");
  }

  /** @throws InputError, RangeError where something lies beyond the unit's end */
  read(unit: Unit): void {
    this.#seen = new Map();
    unit.children(unit.root, named, (tag, at) => {
      const isWanted =
        this.#isIn(this.#wanted.types, unit) ||
        (tag === tags.enumeration && this.#wanted.enumerators.size > 0);
      if (isWanted && unit.values[slots.declaration] === undefined) this.#type(unit, at, 0);
    });
  }

  #isIn(names: ReadonlySet<string>, unit: Unit): boolean {
    const name = this.#name(unit);
    return name !== null && names.has(name);
  }

  /** The wanted name that the entry has which was read last; empty: none at all, null: another. */
  #name(unit: Unit): string | null {
    const value = unit.values[slots.name];
    if (value === undefined) return "";
    switch (unit.nameForm) {
      case nameForms.inline:
        return this.#textAt(unit.bytes, value);
      case nameForms.lineStrings:
        return this.#textAt(this.#lineStrings, value);
      case nameForms.strings:
        return this.#string(value);
      case nameForms.index: {
        const cursor = new Cursor(this.#indexes);
        cursor.at = unit.stringsBase + value * unit.format.offset;
        return this.#string(cursor.number(unit.format.offset));
      }
    }
    throw unit.error(0, "names in another file (dwz) are not read");
  }

  #string(at: number): string | null {
    const known = this.#texts.get(at);
    if (known !== undefined) return known;
    const text = this.#textAt(this.#strings, at);
    if (this.#texts.size >= mostTexts) this.#texts.clear();
    this.#texts.set(at, text);
    return text;
  }

  #textAt(bytes: Buffer, at: number): string | null {
    if (at >= bytes.length) throw new RangeError("a text beyond the end");
    const text = bytes.subarray(at, at + this.#longest + 1);
    const end = text.indexOf(0);
    const name = end < 0 ? null : text.toString("latin1", 0, end);
    return name === "" || (name !== null && this.#all.has(name)) ? name : null;
  }

  #add(type: NewType): number {
    const key = JSON.stringify(type, (_, value) => (typeof value === "bigint" ? `${value}` : value));
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#kept +=
      1 +
      ("members" in type ? type.members.length : 0) +
      ("enumerators" in type ? type.enumerators.length : 0);
    if (this.#kept > mostKept) throw new RangeError(`more than ${mostKept} types and members`);
    this.#numbers.set(key, this.types.push(type));
    return this.types.length;
  }

  /** The number of the type at a place of the unit; 0: void, or one that is not told there. */
  #type(unit: Unit, at: number | undefined, depth: number): number {
    if (at === undefined || at === -1) return 0;
    const known = this.#seen.get(at);
    if (known === -1 || depth > DEEPEST) throw unit.error(at, "a type that leads to itself");
    if (known !== undefined) return known;
    if (this.#seen.size === mostSeen) throw unit.error(at, `more than ${mostSeen} types`);
    this.#seen.set(at, -1);
    const number = this.#read(unit, at, depth + 1);
    this.#seen.set(at, number);
    return number;
  }

  #read(unit: Unit, at: number, depth: number): number {
    const { tag } = unit.read(at);
    const { values } = unit;
    const size = values[slots.byteSize];
    const of = values[slots.type];
    if (tag === tags.pointer) return this.#add({ kind: "pointer", name: "", of: 0 });
    if (tag === tags.array) return this.#array(unit, at, this.#type(unit, of, depth));
    if (qualifiers.has(tag)) return this.#type(unit, of, depth);
    const name = this.#name(unit) ?? "";
    if (tag === tags.typedef) {
      const target = this.#type(unit, of, depth);
      return name === "" ? target : this.#add({ kind: "typedef", name, of: target });
    }
    const isWhole =
      size !== undefined && size >= 0 && size < 2 ** 32 && values[slots.declaration] === undefined;
    if (!isWhole) return 0;
    // An int of BTF may have 16 bytes.
    if (tag === tags.base)
      return this.#add(size > 16 ? { kind: "float", name, size } : { kind: "int", name, size, encoding: 0 });
    if (tag === tags.enumeration) return this.#enumeration(unit, at, name, size);
    if (tag !== tags.structure && tag !== tags.union) return 0;
    const members = this.#members(unit, at, depth);
    return this.#add({ kind: tag === tags.structure ? "struct" : "union", name, size, members });
  }

  #array(unit: Unit, at: number, element: number): number {
    const counts: number[] = [];
    unit.children(at, ofDimensions, () => {
      const last = unit.values[slots.upperBound];
      // An array without a length has no count and no upper bound, or the highest number there is.
      const count = unit.values[slots.count] ?? (last === undefined ? 0 : last + 1);
      counts.push(count > 0 && count < 2 ** 32 - 1 ? count : 0);
    });
    return counts.reduceRight((of, count) => this.#add({ kind: "array", of, index: 0, count }), element);
  }

  #enumeration(unit: Unit, at: number, name: string, size: number): number {
    const enumerators: { name: string; value: bigint }[] = [];
    if (this.#wanted.enumerators.size > 0)
      unit.children(at, ofValues, () => {
        const own = this.#name(unit);
        if (own === null || !this.#wanted.enumerators.has(own)) return;
        if (enumerators.push({ name: own, value: unit.exactValue() }) > mostMembers)
          throw unit.error(at, `more than ${mostMembers} enumerators`);
      });
    const isSigned = enumerators.some(({ value }) => value < 0n);
    return this.#add({ kind: "enum64", name, size, isSigned, enumerators });
  }

  #members(unit: Unit, at: number, depth: number): readonly NewMember[] {
    const members: NewMember[] = [];
    unit.children(at, ofMembers, (_, place) => {
      const name = this.#name(unit);
      if (name === null || (name !== "" && !this.#wanted.members.has(name))) return;
      const { values } = unit;
      const [size, fromTop, bits] = [values[slots.byteSize], values[slots.bitOffset], values[slots.bitSize]];
      const [location = 0, inBits] = [values[slots.location], values[slots.dataBitOffset]];
      const type = this.#type(unit, values[slots.type], depth);
      // Before DWARF 4 bits were counted from the highest of the bytes that hold them.
      const storage = fromTop === undefined ? 0 : (size ?? this.#sizeOf(type)) * 8 - fromTop - (bits ?? 0);
      const bitOffset = inBits ?? location * 8 + storage;
      const bitSize = bits ?? null;
      const most = bitSize === null ? 2 ** 32 : 2 ** 24;
      if (!(bitOffset >= 0 && bitOffset < most && (bitSize ?? 0) < 256 && members.length < mostMembers))
        throw unit.error(place, "a member at no place that a struct of the kernel has");
      members.push({ name, type, bitOffset, bitSize });
    });
    return members;
  }

  /** Bytes of an integer or enum, which alone have bit-fields; not a number where a type is another. */
  #sizeOf(type: number): number {
    const one = this.types[type - 1];
    if (one?.kind === "typedef") return this.#sizeOf(one.of);
    return one?.kind === "int" || one?.kind === "enum64" ? one.size : Number.NaN;
  }
}
