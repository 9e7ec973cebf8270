import { type Btf, KERNEL_BTF, type Libbpf } from "../../ffi/libbpf.ts";
import type { Evidence } from "../offsets/evidence.ts";
import { kernelFields } from "./fields.ts";

/** The `btf` source: what the running kernel's own type information says of every field. */
export function btfEvidence(libbpf: Libbpf, path: string = KERNEL_BTF): Evidence[] {
  using btf = libbpf.openBtf(path);
  return kernelFields.map(({ constant, member }) => {
    const offset = memberOffset(btf, member);
    if (offset !== null) return { source: "btf", constant, candidates: [offset] };
    return { source: "btf", constant, candidates: [], reason: `the kernel's BTF has no ${member}` };
  });
}

/**
 * Byte offset of `type.member[.member…]` from the start of the type, where a member may be an element of an array,
 * `member[1]`. Null when there is no such member, or when it is a bit-field that starts inside a byte. Anonymous
 * structs and unions on the way are looked through.
 */
export function memberOffset(btf: Btf, path: string): number | null {
  const [struct = "", ...steps] = path.split(".");
  let type = btf.struct(struct);
  let bits = 0;
  for (const step of steps) {
    const [, name = "", index] = /^(\w+)(?:\[(\d+)\])?$/.exec(step) ?? [];
    const found = type === null ? null : findMember(btf, type, name);
    if (found === null) return null;
    bits += found.bitOffset;
    type = found.type;
    if (index === undefined) continue;
    const element = btf.element(type);
    if (element === null) return null;
    bits += Number(index) * element.size * 8;
    type = element.type;
  }
  return type === null || bits % 8 !== 0 ? null : bits / 8;
}

function findMember(btf: Btf, type: number, name: string): { type: number; bitOffset: number } | null {
  for (const member of btf.members(type) ?? []) {
    if (member.name === name) return member;
    if (member.name !== "") continue;
    const inner = findMember(btf, member.type, name);
    if (inner !== null) return { type: inner.type, bitOffset: member.bitOffset + inner.bitOffset };
  }
  return null;
}
