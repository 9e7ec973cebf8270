import type { BtfType } from "../../../ffi/libbpf.ts";
import { type Composite, type CType, u8, ulong } from "./ctype.ts";

/**
 * Structs and all that they refer to, numbered as BTF does: the first is 1. A pointer to a struct that is not among
 * them leads to one that is declared only. The order follows from the structs alone.
 */
export function btfTypes(structs: readonly Composite[]): BtfType[] {
  const types: BtfType[] = [];
  const ids = new Map<string, number>();
  const byName = new Map<string, CType>([
    [u8.name, u8],
    ...structs.map((each) => [each.name, each] as const),
  ]);

  /** A type's number. It is taken before the type is described, which may lead back to it. */
  const numberOf = (key: string, describe: () => BtfType): number => {
    const known = ids.get(key);
    if (known !== undefined) return known;
    const id = types.push({ kind: "forward", name: "" });
    ids.set(key, id);
    types[id - 1] = describe();
    return id;
  };
  const idOf = (type: CType): number =>
    type.kind === "pointer"
      ? numberOf(`${type.to} *`, () => ({ kind: "pointer", to: pointee(type.to) }))
      : numberOf(keyOf(type), () => described(type));
  const pointee = (name: string): number => {
    const type = byName.get(name);
    return type === undefined ? numberOf(`struct ${name};`, () => ({ kind: "forward", name })) : idOf(type);
  };
  const described = (type: Exclude<CType, { kind: "pointer" }>): BtfType => {
    if (type.kind === "int") return type;
    if (type.kind === "typedef") return { ...type, of: idOf(type.of) };
    if (type.kind === "array")
      return { kind: "array", of: idOf(type.of), index: idOf(ulong), count: type.count };
    return { ...type, members: type.members.map((member) => ({ ...member, type: idOf(member.type) })) };
  };
  for (const each of [ulong, ...structs]) idOf(each);
  return types;
}

/** The same for types that are the same: by name, or by all that they are where they have none. */
const keyOf = (type: CType): string =>
  "name" in type && type.name !== "" ? `${type.kind} ${type.name}` : JSON.stringify(type);
