import type { InputError } from "../input/input.ts";

/**
 * A unit of DWARF 2 to 5: its entries, and of their attributes those that layouts are told by (dwarfstd.org, DWARF 5,
 * chapter 7). It is hostile: each read is bounded by the unit, each error names the section and the offset.
 */

/** DW_TAG_*. */
export const tags = {
  ...{ array: 0x01, enumeration: 0x04, member: 0x0d, pointer: 0x0f, structure: 0x13, typedef: 0x16 },
  ...{ union: 0x17, subrange: 0x21, base: 0x24, const: 0x26, enumerator: 0x28, volatile: 0x35 },
  ...{ restrict: 0x37, atomic: 0x47 },
} as const;

/** DW_FORM_* that are read in a way of their own. */
const forms = {
  ...{ block: 0x09, string: 0x08, sdata: 0x0d, refAddr: 0x10, ref4: 0x13, refUdata: 0x15, indirect: 0x16 },
  ...{ exprloc: 0x18, flagPresent: 0x19, data8: 0x07, udata: 0x0f, data16: 0x1e, implicitConst: 0x21 },
  ...{ strp: 0x0e, lineStrp: 0x1f },
} as const;
/** References to other units, type units and supplementary files: ref_sig8, ref_sup4, ref_sup8, GNU_ref_alt. */
const outside = [0x20, 0x1c, 0x24, 0x1f20];
/** Within the unit, of a fixed size: ref1, ref2, ref4, ref8. */
const inside = [0x11, 0x12, forms.ref4, 0x14];
/** strx, strx1 to strx4, GNU_str_index. */
const indexes = [0x1a, 0x25, 0x26, 0x27, 0x28, 0x1f02];
/** Sizes of forms: bytes, of an address, of an offset; `leb`: LEB128. */
const sizes: ReadonlyMap<number, number | "address" | "offset" | "leb"> = new Map(
  (
    [
      ["address", 0x01],
      // strp, line_strp, sec_offset, strp_sup, GNU_ref_alt, GNU_strp_alt, and ref_addr since DWARF 3
      ["offset", forms.strp, forms.lineStrp, 0x17, 0x1d, 0x1f20, 0x1f21, forms.refAddr],
      // udata, ref_udata, strx, addrx, loclistx, rnglistx, GNU_addr_index, GNU_str_index
      ["leb", forms.udata, forms.refUdata, 0x1a, 0x1b, 0x22, 0x23, 0x1f01, 0x1f02],
      [0, forms.flagPresent, forms.implicitConst],
      [1, 0x0b, 0x0c, 0x11, 0x25, 0x29], // data1, flag, ref1, strx1, addrx1
      [2, 0x05, 0x12, 0x26, 0x2a],
      [3, 0x27, 0x2b],
      [4, 0x06, forms.ref4, 0x1c, 0x28, 0x2c],
      [8, forms.data8, 0x14, 0x20, 0x24],
      [16, forms.data16],
    ] as const
  ).flatMap(([size, ...those]) => those.map((form) => [form, size] as const)),
);
/** Bytes of the length that stands before a block; 0: LEB128. */
const blocks: ReadonlyMap<number, number> = new Map([
  [0x0a, 1],
  [0x03, 2],
  [0x04, 4],
  [forms.block, 0],
  [forms.exprloc, 0],
]);

/** What is kept of an entry, by the place that it has there. */
export const slots = {
  ...{ sibling: 0, name: 1, byteSize: 2, bitOffset: 3, bitSize: 4, value: 5, upperBound: 6, count: 7 },
  ...{ location: 8, declaration: 9, type: 10, dataBitOffset: 11, stringsBase: 12 },
} as const;
/** The DW_AT_* of the slots, in their order. */
const attributes: ReadonlyMap<number, number> = new Map(
  [0x01, 0x03, 0x0b, 0x0c, 0x0d, 0x1c, 0x2f, 0x37, 0x38, 0x3c, 0x49, 0x6b, 0x72].map((name, slot) => [
    name,
    slot,
  ]),
);
const DW_OP_plus_uconst = 0x23;

/** Where a name lies. */
export const nameForms = { strings: 0, lineStrings: 1, inline: 2, index: 3, elsewhere: 4 } as const;
const nameFormOf: ReadonlyMap<number, number> = new Map([
  [forms.strp, nameForms.strings],
  [forms.lineStrp, nameForms.lineStrings],
  [forms.string, nameForms.inline],
  ...indexes.map((form) => [form, nameForms.index] as const),
]);

/** How an entry is written. */
export interface Abbreviation {
  readonly tag: number;
  readonly hasChildren: boolean;
  readonly attributes: readonly { readonly slot: number; readonly form: number; readonly implicit: number }[];
  /** Bytes of all attributes; -1 where that differs from entry to entry. */
  readonly size: number;
  /** Bytes before DW_AT_sibling of 4 bytes; -1 where that differs, or there is none. */
  readonly siblingAt: number;
}

/** Sizes that forms depend on. */
export interface Format {
  readonly version: number;
  /** Bytes of an offset: 4 or 8, as DWARF has two formats. */
  readonly offset: number;
  readonly address: number;
}

/** Reads numbers one after the other; what lies beyond the end is a RangeError. */
export class Cursor {
  readonly view: DataView;
  at = 0;

  constructor(readonly bytes: Buffer) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A number of 1, 2, 3, 4 or 8 bytes; of 8 it is rounded beyond 2 ** 53. */
  number(size: number): number {
    const { view, at } = this;
    this.at = at + size;
    switch (size) {
      case 1:
        return view.getUint8(at);
      case 2:
        return view.getUint16(at, true);
      case 3:
        return view.getUint16(at, true) + view.getUint8(at + 2) * 0x10000;
      case 4:
        return view.getUint32(at, true);
      default:
        return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    }
  }

  /** A number in LEB128, rounded beyond 2 ** 53. @throws RangeError where it does not end in time or lies behind the end */
  leb(isSigned = false): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 70; factor *= 128) {
      const byte = this.view.getUint8(this.at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return isSigned && (byte & 0x40) !== 0 ? value - factor * 128 : value;
    }
    throw new RangeError("a number of more than 11 bytes");
  }
}

/** Bytes of a form; -1 where they differ. */
function sizeOf(form: number, { version, offset, address }: Format): number {
  if (form === forms.refAddr && version <= 2) return address;
  const size = sizes.get(form);
  if (size === "address") return address;
  return size === "offset" ? offset : typeof size === "number" ? size : -1;
}

/** Attributes of all abbreviations of a unit, of which the kernel's have some thousands. */
const mostAttributes = 1 << 20;

/** The table of abbreviations at an offset, by their codes. @throws RangeError where the table is damaged or has too many attributes */
export function abbreviationsAt(bytes: Buffer, start: number, format: Format): Map<number, Abbreviation> {
  const from = new Cursor(bytes);
  from.at = start;
  const table = new Map<number, Abbreviation>();
  let attributesLeft = mostAttributes;
  for (let code = from.leb(); code !== 0; code = from.leb()) {
    const tag = from.leb();
    const hasChildren = from.number(1) !== 0;
    const all: { slot: number; form: number; implicit: number }[] = [];
    let size = 0;
    let siblingAt = -1;
    for (let name = from.leb(), form = from.leb(); name !== 0 || form !== 0; ) {
      if (--attributesLeft < 0) throw new RangeError(`more than ${mostAttributes} attributes`);
      const slot = attributes.get(name) ?? -1;
      all.push({ slot, form, implicit: form === forms.implicitConst ? from.leb(true) : 0 });
      if (slot === slots.sibling && form === forms.ref4) siblingAt = size;
      const own = sizeOf(form, format);
      size = own < 0 || size < 0 ? -1 : size + own;
      name = from.leb();
      form = from.leb();
    }
    attributesLeft--;
    table.set(code, { tag, hasChildren, attributes: all, size, siblingAt });
  }
  return table;
}

export interface UnitOptions {
  readonly format: Format;
  readonly abbreviations: ReadonlyMap<number, Abbreviation>;
  /** Where the unit begins in its section, and how far before its bytes that is. */
  readonly start: number;
  readonly before: number;
  /** Where its first entry begins among its bytes. */
  readonly root: number;
  readonly error: (offset: number, what: string) => InputError;
}

/** A unit. Places in it are counted from the first byte behind its length. */
export class Unit {
  readonly #options: UnitOptions;
  readonly #cursor: Cursor;
  /**
   * Attributes of the entry that was read last, by {@link slots}; NaN where one is no constant (an expression). A reference is the place
   * that it leads to, -1 where that is in another unit.
   */
  readonly values: (number | undefined)[] = new Array(Object.keys(slots).length).fill(undefined);
  /** One of {@link nameForms}. */
  nameForm = 0;
  /** Where the value of an enumerator lies, and its form. */
  #value = { at: 0, form: 0 };
  /** Entries that may be passed yet: each is once among all, and once among its parent's. */
  #steps: number;
  /** Where its part of .debug_str_offsets begins. */
  readonly stringsBase: number;

  /** @throws InputError */
  constructor(
    readonly bytes: Buffer,
    options: UnitOptions,
  ) {
    this.#options = options;
    this.#cursor = new Cursor(bytes);
    this.#steps = 4 * bytes.length;
    this.read(options.root);
    this.stringsBase = this.values[slots.stringsBase] ?? 2 * options.format.offset;
  }

  get format(): Format {
    return this.#options.format;
  }

  /** Where the entry of the unit itself begins, in bytes from the beginning of its entries. */
  get root(): number {
    return this.#options.root;
  }

  /** An error that names the file and section. @param at bytes from the beginning of this unit's entries */
  error(at: number, what: string): InputError {
    return this.#options.error(this.#options.start + this.#options.before + at, what);
  }

  /** Reads what is kept of an entry. @returns how it is written @throws InputError where there is none */
  read(at: number): Abbreviation {
    this.#cursor.at = at;
    return this.#read(this.#entry(at));
  }

  /** Calls `visit` with each child of an entry that has one of these tags, which is the one that was read last. @throws InputError */
  children(parent: number, wanted: ReadonlySet<number>, visit: (tag: number, at: number) => void): void {
    const cursor = this.#cursor;
    if (!this.read(parent).hasChildren) return;
    const { start, before } = this.#options;
    for (let depth = 1; ; ) {
      const at = cursor.at;
      if (--this.#steps < 0) throw this.error(at, "entries that lie in each other");
      if (cursor.view.getUint8(at) === 0) {
        cursor.at = at + 1;
        depth--;
        if (depth === 0) return;
        continue;
      }
      const one = this.#entry(at);
      let sibling: number | undefined;
      const isWanted = depth === 1 && wanted.has(one.tag);
      if (one.size < 0 || isWanted) {
        this.#read(one);
        sibling = this.values[slots.sibling];
      } else {
        if (one.siblingAt >= 0) sibling = cursor.view.getUint32(cursor.at + one.siblingAt, true) - before;
        cursor.at += one.size;
      }
      const behind = cursor.at;
      if (isWanted) visit(one.tag, at);
      cursor.at = behind;
      if (!one.hasChildren) continue;
      if (sibling === undefined) depth++;
      else if (sibling > behind) cursor.at = sibling;
      else
        throw this.error(
          at,
          `a sibling at 0x${(sibling + before + start).toString(16)}, which is not behind it`,
        );
    }
  }

  /** The value of the enumerator that was read last, exactly. @throws InputError where it is no number */
  exactValue(): bigint {
    const { at, form } = this.#value;
    const value = this.values[slots.value];
    if (value !== undefined && Number.isSafeInteger(value)) return BigInt(value);
    if (form === forms.data8) return this.#cursor.view.getBigUint64(at, true);
    if (form !== forms.udata && form !== forms.sdata)
      throw this.error(at, "an enumerator's value is no number");
    let exact = 0n;
    for (let byte = 0x80, shift = 0n, next = at; byte >= 0x80 && shift < 70n; shift += 7n) {
      byte = this.#cursor.view.getUint8(next++);
      exact |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80 && form === forms.sdata) exact = BigInt.asIntN(Number(shift) + 7, exact);
    }
    return exact;
  }

  #entry(at: number): Abbreviation {
    const code = this.#cursor.leb();
    const one = this.#options.abbreviations.get(code);
    if (one === undefined) throw this.error(at, `an entry of abbreviation ${code}, which there is not`);
    return one;
  }

  #read(one: Abbreviation): Abbreviation {
    this.values.fill(undefined);
    for (const { slot, form, implicit } of one.attributes) {
      const value = this.#attribute(form, slot, implicit);
      if (slot >= 0) this.values[slot] = value;
    }
    return one;
  }

  #attribute(form: number, slot: number, implicit: number): number {
    const cursor = this.#cursor;
    const { format, start, before } = this.#options;
    const { at } = cursor;
    if (slot === slots.name) this.nameForm = nameFormOf.get(form) ?? nameForms.elsewhere;
    if (slot === slots.value) this.#value = { at, form };
    const size = sizeOf(form, format);
    if (inside.includes(form)) return cursor.number(size) - before;
    if (outside.includes(form) || form === forms.data16) {
      cursor.at += size;
      return form === forms.data16 ? Number.NaN : -1;
    }
    switch (form) {
      case forms.refUdata:
        return cursor.leb() - before;
      case forms.refAddr: {
        const to = cursor.number(size) - start - before;
        return to >= 0 && to < this.bytes.length ? to : -1;
      }
      case forms.flagPresent:
        return 1;
      case forms.implicitConst:
        return implicit;
      case forms.sdata:
        return cursor.leb(true);
      case forms.string: {
        const end = this.bytes.indexOf(0, at);
        if (end < 0) throw this.error(at, "a text without an end");
        cursor.at = end + 1;
        return at;
      }
      case forms.indirect: {
        const own = cursor.leb();
        if (own === forms.indirect || own === forms.implicitConst)
          throw this.error(at, `a form ${own} inside`);
        return this.#attribute(own, slot, 0);
      }
    }
    if (size >= 0) return cursor.number(size);
    if (sizes.get(form) === "leb") return cursor.leb();
    const length = blocks.get(form);
    if (length === undefined)
      throw this.error(at, `an attribute of form 0x${form.toString(16)}, which is not known`);
    const bytes = length === 0 ? cursor.leb() : cursor.number(length);
    const end = cursor.at + bytes;
    const isAddition = slot === slots.location && bytes > 1 && cursor.number(1) === DW_OP_plus_uconst;
    const value = isAddition ? cursor.leb() : Number.NaN;
    const isWhole = cursor.at === end;
    cursor.at = end;
    return isWhole ? value : Number.NaN;
  }
}
