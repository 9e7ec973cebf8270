/** A member as bpftool tells it, on a random way through a kernel's types. */
export interface RandomMember {
  readonly path: string;
  readonly bitOffset: number;
  /** Null: no bit-field. */
  readonly bitSize: number | null;
}

interface Type {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly values?: readonly { readonly name: string; readonly val: number }[];
  readonly members?: readonly {
    readonly name: string;
    readonly type_id: number;
    readonly bits_offset: number;
    readonly bitfield_size?: number;
  }[];
}

const transparent = new Set(["TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"]);
const ANONYMOUS = "(anon)";

/** All types of a file with BTF as bpftool dumps them. @throws what bpftool says */
export function dumpOf(file: string): readonly Type[] {
  const { stdout, stderr, exitCode } = Bun.spawnSync(["bpftool", "--json", "btf", "dump", "file", file]);
  if (exitCode !== 0) throw new Error(`bpftool cannot read ${file}: ${stderr}${stdout}`);
  return (JSON.parse(stdout.toString()) as { types: readonly Type[] }).types;
}

/**
 * Random members, of structs whose name only one struct or union has: the sums of what bpftool prints on the way down.
 * @param below a random integer from 0 to below a limit
 */
export function randomMembers(
  dump: readonly Type[],
  count: number,
  below: (limit: number) => number,
): RandomMember[] {
  const byId = new Map(dump.map((type) => [type.id, type]));
  const structs = dump.filter(({ kind, members = [] }) => /STRUCT|UNION/.test(kind) && members.length > 0);
  const named = Map.groupBy(structs, ({ name }) => name);
  const heads = structs.filter(({ name }) => name !== ANONYMOUS && named.get(name)?.length === 1);
  const pick = <Item>(items: readonly Item[]): Item => {
    const item = items[below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  };
  const resolve = (id: number): Type | undefined => {
    let type = byId.get(id);
    while (type?.type_id !== undefined && transparent.has(type.kind)) type = byId.get(type.type_id);
    return type;
  };
  const sizeOf = (id: number): number => {
    const type = resolve(id);
    if (type?.kind === "PTR") return 8;
    return type?.kind === "ARRAY" ? (type.nr_elems ?? 0) * sizeOf(type.type_id ?? 0) : (type?.size ?? 0);
  };
  const down = (type: Type, way: RandomMember): RandomMember | null => {
    const { name, type_id, bits_offset, bitfield_size } = pick(type.members ?? []);
    const place = { bitOffset: way.bitOffset + bits_offset, bitSize: bitfield_size || null };
    const inner = resolve(type_id);
    const isStruct = inner !== undefined && (inner.members?.length ?? 0) > 0;
    if (name === ANONYMOUS) return isStruct ? down(inner, { ...way, ...place }) : null;
    const here = { ...place, path: `${way.path}.${name}` };
    if (inner?.kind === "ARRAY" && (inner.nr_elems ?? 0) > 0 && below(2) === 0) {
      const index = below(inner.nr_elems ?? 0);
      const element = inner.type_id ?? 0;
      const at = {
        path: `${here.path}[${index}]`,
        bitOffset: here.bitOffset + index * sizeOf(element) * 8,
        bitSize: null,
      };
      const of = resolve(element);
      return of !== undefined && (of.members?.length ?? 0) > 0 && below(2) === 0 ? down(of, at) : at;
    }
    return isStruct && below(5) < 3 ? down(inner, here) : here;
  };
  const found: RandomMember[] = [];
  while (found.length < count) {
    const head = pick(heads);
    const way = down(head, { path: head.name, bitOffset: 0, bitSize: null });
    if (way !== null) found.push(way);
  }
  return found;
}
