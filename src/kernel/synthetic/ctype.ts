/** A type as C declares it. Sizes and offsets are bytes. */
export type CType =
  | { readonly kind: "int"; readonly name: string; readonly size: number; readonly isSigned?: boolean }
  | { readonly kind: "pointer"; readonly to: string }
  | { readonly kind: "array"; readonly of: CType; readonly count: number }
  | { readonly kind: "typedef"; readonly name: string; readonly of: CType }
  | Enumeration
  | Composite;

export interface Composite {
  readonly kind: "struct" | "union";
  /** The tag of a struct or union; empty for an anonymous one. */
  readonly name: string;
  readonly size: number;
  /** In order of their offsets. */
  readonly members: readonly CMember[];
}

/** An enum of 32 bits; its enumerators have the values 0, 1, 2 and so on. */
export interface Enumeration {
  readonly kind: "enum";
  readonly name: string;
  readonly enumerators: readonly string[];
}

export interface CMember {
  /** Empty for an anonymous struct or union. */
  readonly name: string;
  readonly offset: number;
  readonly type: CType;
  /** For a bit-field: its lowest bit, counted from the byte at `offset`, and how many bits it has. */
  readonly bits?: { readonly first: number; readonly count: number };
}

const int = (name: string, size: number) => ({ kind: "int", name, size }) as const;

export const u8 = int("unsigned char", 1);
export const u16 = int("short unsigned int", 2);
export const u32 = int("unsigned int", 4);
export const u64 = int("long long unsigned int", 8);
export const ulong = int("long unsigned int", 8);
export const s16 = { ...int("short int", 2), isSigned: true } as const;
export const s32 = { ...int("int", 4), isSigned: true } as const;
export const s64 = { ...int("long long int", 8), isSigned: true } as const;
export const char = { ...int("char", 1), isSigned: true } as const;

/** A pointer to a struct of this name, to {@link u8} or {@link char} by its name, or to void. */
export const pointer = (to: string): CType => ({ kind: "pointer", to });
/** An array of `count` elements. */
export const array = (of: CType, count: number): CType => ({ kind: "array", of, count });
/** Another name of a type. */
export const typedef = (name: string, of: CType): CType => ({ kind: "typedef", name, of });
/** A member. @param offset bytes from the start of the struct */
export const at = (offset: number, name: string, type: CType): CMember => ({ offset, name, type });

/** A struct of which only these members are known. @param size bytes */
export const struct = (name: string, size: number, ...members: readonly CMember[]): Composite => ({
  kind: "struct",
  name,
  size,
  members,
});

/** A union. @param size bytes @param types its members, all at offset 0, by their names */
export const union = (name: string, size: number, types: Readonly<Record<string, CType>>): Composite => ({
  kind: "union",
  name,
  size,
  members: Object.entries(types).map(([member, type]) => at(0, member, type)),
});

/** A bit-field of an int's bits. */
export interface BitField {
  readonly of: CType;
  readonly width: number;
}

/** A bit-field. @param of the type that it is declared with @param width in bits */
export const bits = (of: CType, width: number): BitField => ({ of, width });

/**
 * A struct as C lays it out: the System V ABI of x86-64 and of AArch64, which agree in this.
 * @param rows in the order of their declaration; a bit-field without a name is padding
 */
export function layOut(name: string, rows: readonly (readonly [string, CType | BitField])[]): Composite {
  const members: CMember[] = [];
  let [end, align] = [0, 1]; // in bits, in bytes
  for (const [member, row] of rows) {
    const type = "width" in row ? row.of : row;
    const [size, own] = [sizeOf(type) * 8, alignOf(type)];
    align = Math.max(align, own);
    if (!("width" in row)) {
      const start = roundUp(end, own * 8);
      members.push(at(start / 8, member, type));
      end = start + size;
      continue;
    }
    const { width } = row;
    // A bit-field lies within one int of its type.
    const start = Math.floor(end / size) === Math.floor((end + width - 1) / size) ? end : roundUp(end, size);
    const offset = Math.floor(start / size) * size;
    if (member !== "")
      members.push({ ...at(offset / 8, member, type), bits: { first: start - offset, count: width } });
    end = start + width;
  }
  return struct(name, roundUp(end, align * 8) / 8, ...members);
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

/** sizeof: bytes of a type on a 64-bit machine. */
export function sizeOf(type: CType): number {
  if (type.kind === "pointer") return 8; // every kernel that this program runs on has 64 bits
  if (type.kind === "enum") return 4;
  if (type.kind === "typedef") return sizeOf(type.of);
  return type.kind === "array" ? sizeOf(type.of) * type.count : type.size;
}

/** _Alignof: a type begins at a multiple of so many bytes. */
export function alignOf(type: CType): number {
  if (type.kind === "typedef" || type.kind === "array") return alignOf(type.of);
  if (type.kind === "struct" || type.kind === "union")
    return Math.max(1, ...type.members.map((member) => alignOf(member.type)));
  return sizeOf(type);
}
