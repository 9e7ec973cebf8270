import * as v from "valibot";
import { attempt } from "../../assets/build/run.ts";

/**
 * Byte offsets of `type.member` paths, e.g. `net.ns.inum`, `flowi4.uli.ports.sport` or
 * `nf_conn.tuplehash[1].tuple`, from the start of `struct type`, as bpftool reads them from BTF: we only add
 * up the offsets it prints on the way down. `null`: this kernel has no such struct or member.
 *
 * (Letting gcc lay out the C declarations that bpftool writes is wrong: BTF holds no alignment, and structs of
 * sid's -rt kernel come out 32 bytes too short.)
 *
 * @param btfFile raw BTF of a whole 64-bit kernel, e.g. `/sys/kernel/btf/vmlinux`.
 * @throws when bpftool cannot read the file, when a member is a bit-field, or when structs of one name differ.
 */
export async function truthOf(
  btfFile: string,
  members: readonly string[],
): Promise<Map<string, number | null>> {
  const found = await bitsOf(btfFile, members);
  const bytes = (path: string, bits: number | null) => {
    if (bits !== null && bits % 8 !== 0) throw new Error(`${path} is a bit-field at bit ${bits}`);
    return bits === null ? null : bits / 8;
  };
  return new Map([...found].map(([path, bits]) => [path, bytes(path, bits)]));
}

/** The same in bits, of bit-fields too. */
export async function bitsOf(
  btfFile: string,
  members: readonly string[],
): Promise<Map<string, number | null>> {
  const types = await typesIn(btfFile);
  return new Map(members.map((member) => [member, offsetOf(types, member)]));
}

/** The types of a BTF file by their numbers, as bpftool prints them. @throws when bpftool cannot read it */
export async function typesIn(btfFile: string): Promise<Types> {
  const dump = await attempt(["bpftool", "--json", "btf", "dump", "file", btfFile]);
  if (dump.status !== 0)
    throw new Error(`bpftool cannot read the BTF in ${btfFile}: ${dump.stderr}${dump.stdout}`);
  return new Map(v.parse(Dump, JSON.parse(dump.stdout)).types.map((type) => [type.id, type]));
}

/** What is used of bpftool's types. */
const Type = v.object({
  id: v.number(),
  kind: v.string(),
  name: v.optional(v.string()),
  /** Bytes. */
  size: v.optional(v.number()),
  /** What a typedef, a qualifier or an array is of. */
  type_id: v.optional(v.number()),
  nr_elems: v.optional(v.number()),
  members: v.optional(
    v.array(
      v.object({
        name: v.string(),
        type_id: v.number(),
        bits_offset: v.number(),
        /** Bits; none or 0 of what is no bit-field. */
        bitfield_size: v.optional(v.number()),
      }),
    ),
  ),
});
const Dump = v.object({ types: v.array(Type) });
export type Type = v.InferOutput<typeof Type>;
export type Types = ReadonlyMap<number, Type>;

interface Place {
  readonly type: Type;
  readonly bits: number;
}

export const ANONYMOUS = "(anon)";
const TRANSPARENT = new Set(["TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"]);

function offsetOf(types: Types, path: string): number | null {
  const [struct = "", ...steps] = path.split(/\.|(?=\[)/);
  const found = new Set<number | null>();
  for (const type of types.values())
    if (type.kind === "STRUCT" && type.name === struct) found.add(descend(types, type, steps));
  if (found.size > 1) throw new Error(`${path}: structs of this name differ: ${[...found].join(", ")}`);
  const [bits = null] = found;
  return bits;
}

/** Bits from the start of `type` to where the steps (member names and `[index]`) lead. */
function descend(types: Types, type: Type, steps: readonly string[]): number | null {
  let place: Place = { type, bits: 0 };
  for (const step of steps) {
    const index = /^\[(\d+)\]$/.exec(step)?.[1];
    const next: Place | null =
      index === undefined ? memberOf(types, place.type, step) : elementOf(types, place.type, Number(index));
    if (next === null) return null;
    place = { type: next.type, bits: place.bits + next.bits };
  }
  return place.bits;
}

/** A member by name, also one of an anonymous struct or union inside, as C has it. */
function memberOf(types: Types, type: Type, name: string): Place | null {
  for (const member of type.members ?? []) {
    const place = { type: plain(types, member.type_id), bits: member.bits_offset };
    if (member.name === name) return place;
    if (member.name !== ANONYMOUS) continue;
    const inside = memberOf(types, place.type, name);
    if (inside !== null) return { type: inside.type, bits: place.bits + inside.bits };
  }
  return null;
}

function elementOf(types: Types, type: Type, index: number): Place | null {
  if (type.kind !== "ARRAY" || index >= (type.nr_elems ?? 0)) return null;
  const element = plain(types, type.type_id);
  if (element.size === undefined) throw new Error(`an element of kind ${element.kind} tells no size`);
  return { type: element, bits: index * element.size * 8 };
}

/** The type behind typedefs and qualifiers. */
export function plain(types: Types, id: number | undefined): Type {
  const type = types.get(id ?? -1);
  if (type === undefined) return { id: 0, kind: "VOID" };
  return TRANSPARENT.has(type.kind) ? plain(types, type.type_id) : type;
}
