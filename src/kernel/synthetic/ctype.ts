/** A type as C declares it. Sizes and offsets are bytes. */
export type CType =
  | { readonly kind: "int"; readonly name: string; readonly size: number }
  | { readonly kind: "pointer"; readonly to: string }
  | { readonly kind: "array"; readonly of: CType; readonly count: number }
  | { readonly kind: "typedef"; readonly name: string; readonly of: CType }
  | Composite;

export interface Composite {
  readonly kind: "struct" | "union";
  /** Empty for an anonymous one. */
  readonly name: string;
  readonly size: number;
  /** In order of their offsets. */
  readonly members: readonly Member[];
}

export interface Member {
  readonly name: string;
  readonly offset: number;
  readonly type: CType;
}

const int = (name: string, size: number) => ({ kind: "int", name, size }) as const;

export const u8 = int("unsigned char", 1);
export const u16 = int("short unsigned int", 2);
export const u32 = int("unsigned int", 4);
export const ulong = int("long unsigned int", 8);

/** A pointer to a struct of this name, or to {@link u8} by its name. */
export const pointer = (to: string): CType => ({ kind: "pointer", to });
export const array = (of: CType, count: number): CType => ({ kind: "array", of, count });
export const typedef = (name: string, of: CType): CType => ({ kind: "typedef", name, of });
export const at = (offset: number, name: string, type: CType): Member => ({ offset, name, type });

export const struct = (name: string, size: number, ...members: readonly Member[]): Composite => ({
  kind: "struct",
  name,
  size,
  members,
});

export const union = (name: string, size: number, types: Readonly<Record<string, CType>>): Composite => ({
  kind: "union",
  name,
  size,
  members: Object.entries(types).map(([member, type]) => at(0, member, type)),
});

export function sizeOf(type: CType): number {
  if (type.kind === "pointer") return 8; // every kernel that this program runs on has 64 bits
  if (type.kind === "typedef") return sizeOf(type.of);
  return type.kind === "array" ? sizeOf(type.of) * type.count : type.size;
}
