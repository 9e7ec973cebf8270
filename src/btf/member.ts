import { type Btf, kinds } from "./btf.ts";

/** Where a member lies. */
export interface MemberPlace {
  /** Bits from the start of the type that its path begins with. */
  readonly bitOffset: number;
  /** Bits of a bit-field; null for any other member. */
  readonly bitSize: number | null;
  /** Number of its type. */
  readonly type: number;
}

/** `type.member[.member...]`, where a member may be an element, `member[1]`. */
export interface MemberPath {
  /** `struct` or `union` where that was said. */
  readonly keyword: string | undefined;
  readonly type: string;
  readonly steps: readonly { readonly name: string; readonly indexes: readonly number[] }[];
}

/** The path that a text names; null where it is none. */
export function parsePath(text: string): MemberPath | null {
  const match = /^(?:(struct|union) )?([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*(?:\[\d{1,9}\])*)+)$/.exec(text);
  if (match === null) return null;
  const [, keyword, type = "", members = ""] = match;
  const steps = members
    .slice(1)
    .split(".")
    .map((step) => {
      const [name = "", ...rest] = step.split("[");
      return { name, indexes: rest.map((index) => Number.parseInt(index, 10)) };
    });
  return { keyword, type, steps };
}

const structs = [kinds.struct, kinds.union];

/** Numbers of types that a path may begin with: structs and unions, and typedefs of such. */
export function typesOf(btf: Btf, { keyword, type }: MemberPath): number[] {
  if (keyword !== undefined) return btf.named(type, [keyword === "struct" ? kinds.struct : kinds.union]);
  const own = btf.named(type, structs);
  return own.length > 0 ? own : btf.named(type, [kinds.typedef]);
}

/**
 * Where the member lies. Anonymous structs and unions on the way are looked through; pointers are not followed.
 * @returns why it is not there, in words, where it is not; also where several types of the name differ in it
 */
export function placeOf(btf: Btf, path: MemberPath): MemberPlace | string {
  const types = typesOf(btf, path);
  if (types.length === 0) return `no ${path.keyword ?? "struct or union"} ${path.type}`;
  const found = types.map((type) => walk(btf, type, path));
  const places = found.filter((place) => typeof place !== "string");
  const [first, ...others] = places;
  if (first === undefined) return found.find((why) => typeof why === "string") ?? "";
  const isOne = others.every((each) => each.bitOffset === first.bitOffset && each.bitSize === first.bitSize);
  return isOne ? first : `${types.length} types are called ${path.type}, and have it at different places`;
}

function walk(btf: Btf, start: number, { type: name, steps }: MemberPath): MemberPlace | string {
  let place: MemberPlace = { bitOffset: 0, bitSize: null, type: start };
  let way = name;
  for (const step of steps) {
    const member = find(btf, place.type, step.name);
    if (member === null) return `${way} has no member ${step.name}`;
    if (typeof member === "string") return `${way} is ${member}: no member can be named behind it`;
    place = { ...member, bitOffset: place.bitOffset + member.bitOffset };
    way = `${way}.${step.name}`;
    for (const index of step.indexes) {
      const array = btf.array(place.type);
      const size = array === null ? null : btf.sizeOf(array.element);
      if (array === null || size === null) return `${way} is no array`;
      // A flexible array, whose count is 0, ends where the memory does.
      if (array.count > 0 && index >= array.count) return `${way} has ${array.count} elements`;
      place = { bitOffset: place.bitOffset + index * size * 8, bitSize: null, type: array.element };
      way = `${way}[${index}]`;
    }
  }
  return place;
}

/** How deep anonymous structs may be nested. No kernel nests them as deep; a hostile file may have them in a circle. */
const DEEPEST = 16;

/**
 * The member of a type by its name. Null: there is no such member. A text: the type has no members, and is this.
 * @param seen types that have no such member: of those that hold each other many times there would be no end
 */
function find(
  btf: Btf,
  type: number,
  name: string,
  seen = new Set<number>(),
  depth = 0,
): MemberPlace | string | null {
  seen.add(type);
  const members = btf.membersNamed(type, name);
  if (members === null)
    return btf.kind(btf.resolve(type)) === kinds.pointer ? "a pointer" : "no struct or union";
  const own = members.find((member) => member.name === name);
  if (own !== undefined) return own;
  for (const inner of depth < DEEPEST ? members : []) {
    if (inner.name !== "" || seen.has(inner.type)) continue;
    const found = find(btf, inner.type, name, seen, depth + 1);
    if (found !== null && typeof found !== "string")
      return { ...found, bitOffset: inner.bitOffset + found.bitOffset };
  }
  return null;
}
