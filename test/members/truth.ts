import { run } from "../../assets/build/run.ts";
import { ANONYMOUS, plain, type Type, type Types as TypesById, typesIn } from "../lab/truth.ts";

/** Where a member lies. */
export interface Place {
  /** From the beginning of the type that the way to it begins in. */
  readonly bit: number;
  /** Of a bit-field alone: how many bits it has. */
  readonly bits: number | null;
}

/** How deep a way goes. */
const deepest = 4;

/** The types of a BTF file, as bpftool prints them. */
export class Types {
  private constructor(private readonly types: TypesById) {}

  static async of(btf: string): Promise<Types> {
    return new Types(await typesIn(btf));
  }

  /** Structs and unions where no two have one name. @param hasBits those with bit-fields alone */
  named(hasBits = false): readonly Type[] {
    const structs = [...this.types.values()].filter(
      ({ kind, name }) => (kind === "STRUCT" || kind === "UNION") && name !== undefined && name !== ANONYMOUS,
    );
    const single = [...Map.groupBy(structs, ({ name }) => name).values()].flatMap((same) =>
      same.length === 1 ? same : [],
    );
    return hasBits
      ? single.filter(({ members = [] }) => members.some(({ bitfield_size: bits }) => bits))
      : single;
  }

  /**
   * A way from a type to one of its members, chosen by chance, through structs, unions and elements of arrays.
   * @param random below a limit @returns null where the type has none
   */
  someWay(
    from: Type,
    random: (limit: number) => number,
  ): { readonly path: string; readonly place: Place } | null {
    let [path, bit] = [from.name ?? "", 0];
    let bits: number | null = null;
    let at: Type = from;
    let last: typeof path | null = null;
    for (let depth = 0; depth < deepest; depth++) {
      const { members = [], kind, nr_elems: count = 0, type_id: element = 0 } = at;
      if (kind === "ARRAY") {
        const of = plain(this.types, element);
        if (count === 0 || of.size === undefined) break;
        const index = random(count);
        [path, bit, at] = [`${path}[${index}]`, bit + index * of.size * 8, of];
        last = path;
        continue;
      }
      const member = members[random(members.length)];
      if (member === undefined) break;
      bit += member.bits_offset;
      at = plain(this.types, member.type_id);
      if (member.name === ANONYMOUS) {
        depth -= 1;
        continue;
      }
      path = last = `${path}.${member.name}`;
      bits = member.bitfield_size || null;
      if (bits !== null || random(2) === 0) break;
    }
    return last === null || last !== path ? null : { path, place: { bit, bits } };
  }
}

/** One line of pahole's: what is declared, its offset in bytes, in a bit-field the bit from there. */
const declaration = /^\t+(.*);\s+\/\*\s+(\d+)(?::\s*(\d+))?\s+\d+\s+\*\/$/;

/** Members of structs as pahole prints them, by `type.member`; those of anonymous structs and unions too. */
export async function paholeOf(btf: string): Promise<ReadonlyMap<string, Place>> {
  const { stdout } = await run(["pahole", btf]);
  const places = new Map<string, Place>();
  /** Of each bracket that is open: its members so far. */
  const open: [name: string, place: Place][][] = [];
  let type = "";
  for (const line of stdout.split("\n")) {
    const [, named] = /^(?:struct|union) (\w+) \{$/.exec(line) ?? [];
    if (named !== undefined) [type, open.length] = [named, 1];
    if (named !== undefined) open[0] = [];
    else if (/^\t+.*\{$/.test(line)) open.push([]);
    else if (line.startsWith("}")) {
      for (const [name, place] of open[0] ?? []) places.set(`${type}.${name}`, place);
      open.length = 0;
    } else if (open.length > 0) {
      const [, declared = "", bytes, bit] = declaration.exec(line) ?? [];
      if (bytes === undefined) continue;
      const text = declared.replaceAll(/\s*__attribute__\(\(.*?\)\)/g, "");
      const inner = text.startsWith("}") ? open.pop() : undefined;
      const name = /\(\*+\s*(\w+)/.exec(text)?.[1] ?? /(\w+)(?:\[\d*\])*(?::\d+)?$/.exec(text)?.[1];
      const bits = /:(\d+)$/.exec(text)?.[1];
      const own = open.at(-1);
      if (inner !== undefined && text === "}") own?.push(...inner);
      else if (name !== undefined) {
        const place = {
          bit: Number(bytes) * 8 + Number(bit ?? 0),
          bits: bits === undefined ? null : Number(bits),
        };
        own?.push(
          [name, place],
          ...(inner ?? []).map(([below, each]) => [`${name}.${below}`, each] as [string, Place]),
        );
      }
    }
  }
  return places;
}
