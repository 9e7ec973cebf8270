import type { NewType } from "./btf.ts";
import { type Btf, kinds } from "./btf.ts";
import type { CoreQuestion } from "./core-question.ts";
import type { FoundAccess } from "./relocate.ts";

/**
 * The types of a kernel's BTF that these relocations need, and no others: as bpftool gen min_core_btf has it. Structs hold
 * the members alone that are on a way, at their places; pointers whose target nobody asks for lead to void.
 */
export function minimalTypes(
  btf: Btf,
  found: Iterable<{ readonly question: CoreQuestion; readonly found: FoundAccess }>,
): NewType[] {
  /** Types that are needed, with what is of their members. */
  const needed = new Map<number, Set<string>>();
  /** @param isWhole also what pointers lead to, and every member: the type itself is compared */
  const need = (type: number, isWhole: boolean): void => {
    if (type === 0 || (needed.has(type) && !isWhole)) return;
    const isNew = !needed.has(type);
    const members = needed.get(type) ?? new Set<string>();
    needed.set(type, members);
    const described = btf.described(type);
    switch (described.kind) {
      case "array":
        need(described.of, false);
        need(described.index, false);
        break;
      case "prototype":
        if (!isNew) break;
        need(described.returns, isWhole);
        for (const parameter of described.parameters) need(parameter.type, isWhole);
        break;
      case "pointer":
        if (isWhole && isNew) need(described.of, true);
        break;
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "typeTag":
        need(described.of, isWhole && isNew);
        break;
      default:
    }
  };
  const whole = new Set<number>();
  /** Also every member, down to pointers: what bpf_core_type_matches may compare. */
  const needMembers = (type: number): void => {
    need(type, false);
    const id = btf.resolve(type);
    if (whole.has(id)) return;
    whole.add(id);
    const array = btf.array(id);
    if (array !== null) needMembers(array.element);
    for (const member of btf.members(id) ?? []) {
      needed.get(id)?.add(memberKey(member));
      needMembers(member.type);
    }
  };
  for (const { question, found: one } of found) {
    if (question === "type matches") {
      needMembers(one.root);
      continue;
    }
    if (question === "local type id") continue;
    need(one.root, question.includes("type"));
    // A root that is a typedef is looked through.
    for (let type = one.root; btf.kind(type) === kinds.typedef; type = btf.refersTo(type)) need(type, false);
    for (const { struct, member } of one.members) {
      need(struct, false);
      needed.get(struct)?.add(memberKey(member));
      need(member.type, false);
    }
  }
  const ids = new Map([...needed.keys()].sort((a, b) => a - b).map((id, index) => [id, index + 1] as const));
  const renumbered = (type: number): number => ids.get(type) ?? 0;
  return [...ids.keys()].map((id): NewType => {
    const type = btf.described(id);
    switch (type.kind) {
      case "array":
        return { ...type, of: renumbered(type.of), index: renumbered(type.index) };
      case "struct":
      case "union": {
        const kept = type.members.filter((member) => needed.get(id)?.has(memberKey(member)));
        return { ...type, members: kept.map((member) => ({ ...member, type: renumbered(member.type) })) };
      }
      case "prototype":
        return {
          ...type,
          returns: renumbered(type.returns),
          parameters: type.parameters.map((one) => ({ ...one, type: renumbered(one.type) })),
        };
      case "int":
      case "float":
      case "forward":
      case "enum":
      case "enum64":
        return type;
      default:
        return { ...type, of: renumbered(type.of) };
    }
  });
}

/** Anonymous members have no name, and members of unions no place of their own. */
const memberKey = ({ name, bitOffset, type }: { name: string; bitOffset: number; type: number }): string =>
  `${name}\0${bitOffset}\0${type}`;
