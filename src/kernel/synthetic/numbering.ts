import type { NewType } from "../../btf/btf.ts";
import { type Composite, type CType, char, type Enumeration, u8, ulong } from "./ctype.ts";

const INT_SIGNED = 1; // BTF_INT_SIGNED of include/uapi/linux/btf.h

/**
 * Structs and all that they refer to, numbered as BTF does: the first is 1. A pointer to a struct that is not among
 * them leads to one that is declared only. The order follows from the structs alone.
 */
export function btfTypes(declared: readonly (Composite | Enumeration)[]): NewType[] {
  const types: NewType[] = [];
  const ids = new Map<string, number>();
  const byName = new Map<string, CType>([
    [u8.name, u8],
    [char.name, char],
    ...declared.map((each) => [each.name, each] as const),
  ]);

  /** A type's number. It is taken before the type is described, which may lead back to it. */
  const numberOf = (key: string, describe: () => NewType): number => {
    const known = ids.get(key);
    if (known !== undefined) return known;
    const id = types.push({ kind: "forward", name: "", isUnion: false });
    ids.set(key, id);
    types[id - 1] = describe();
    return id;
  };
  const idOf = (type: CType): number =>
    type.kind === "pointer"
      ? numberOf(`${type.to} *`, () => ({ kind: "pointer", name: "", of: pointee(type.to) }))
      : numberOf(keyOf(type), () => described(type));
  const pointee = (name: string): number => {
    if (name === "void") return 0;
    const type = byName.get(name);
    return type === undefined
      ? numberOf(`struct ${name};`, () => ({ kind: "forward", name, isUnion: false }))
      : idOf(type);
  };
  const described = (type: Exclude<CType, { kind: "pointer" }>): NewType => {
    switch (type.kind) {
      case "int":
        return { kind: "int", name: type.name, size: type.size, encoding: type.isSigned ? INT_SIGNED : 0 };
      case "typedef":
        return { kind: "typedef", name: type.name, of: idOf(type.of) };
      case "array":
        return { kind: "array", of: idOf(type.of), index: idOf(ulong), count: type.count };
      case "enum":
        return {
          ...type,
          size: 4,
          isSigned: false,
          enumerators: type.enumerators.map((name, value) => ({ name, value: BigInt(value) })),
        };
      default:
        return {
          ...type,
          members: type.members.map(({ name, offset, type: of, bits }) => ({
            name,
            type: idOf(of),
            bitOffset: offset * 8 + (bits?.first ?? 0),
            bitSize: bits?.count ?? null,
          })),
        };
    }
  };
  for (const each of [ulong, ...declared]) idOf(each);
  return types;
}

/** A key that is the same for types that are the same: the name, or for an anonymous type all that it is made of. */
const keyOf = (type: CType): string =>
  "name" in type && type.name !== "" ? `${type.kind} ${type.name}` : JSON.stringify(type);
