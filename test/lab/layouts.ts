import { writeFileSync } from "node:fs";
import { btfOf } from "../../src/btf/encode.ts";
import { btfTypes } from "../../src/kernel/synthetic/numbering.ts";
import { hollow, uapi } from "../../src/kernel/synthetic/uapi.ts";
import { dumpOf } from "../unit/btf/random.ts";

type Dump = ReturnType<typeof dumpOf>;

/** Bit offsets and bits of every member by its path, the struct's bytes, and values of enumerators: as bpftool reads them. */
export function layoutsOf(dump: Dump): Map<string, Map<string, string>> {
  const byId = new Map(dump.map((type) => [type.id, type]));
  const resolved = (id: number): Dump[number] | undefined => {
    const type = byId.get(id);
    return type !== undefined && /^(TYPEDEF|CONST|VOLATILE)$/.test(type.kind)
      ? resolved(type.type_id ?? 0)
      : type;
  };
  const into = (layout: Map<string, string>, type: Dump[number], way: string, bits: number) => {
    for (const member of type.members ?? []) {
      const [inner, at] = [resolved(member.type_id), bits + member.bits_offset];
      const isAnonymous = member.name === "(anon)";
      const path = isAnonymous ? way : `${way}.${member.name}`;
      if (!isAnonymous) layout.set(path, `${at} ${member.bitfield_size || ""} ${bytesOf(inner)}`);
      if (inner !== undefined && /STRUCT|UNION/.test(inner.kind)) into(layout, inner, path, at);
    }
  };
  const bytesOf = (type: Dump[number] | undefined): number => {
    if (type?.kind === "PTR") return 8;
    if (type?.kind === "ARRAY") return (type.nr_elems ?? 0) * bytesOf(resolved(type.type_id ?? 0));
    return type?.size ?? 0;
  };
  const layouts = new Map<string, Map<string, string>>();
  for (const type of dump) {
    if (type.name === "(anon)") continue;
    const layout = new Map<string, string>();
    if (type.kind === "STRUCT") into(layout.set("size", `${type.size}`), type, "", 0);
    else if (type.kind === "ENUM") for (const { name, val } of type.values ?? []) layout.set(name, `${val}`);
    else continue;
    layouts.set(type.name, layout);
  }
  return layouts;
}

/** What `uapi` says otherwise than another file with BTF, a line each; empty where that has all of it. */
export function uapiDiffers(
  { machine, version, file }: { machine: "x64" | "arm64"; version: readonly number[]; file: string },
  scratch: string,
  isMeant: (name: string) => boolean = () => true,
): { readonly wrong: readonly string[]; readonly compared: number } {
  const declared = uapi(machine, version);
  writeFileSync(scratch, btfOf(btfTypes(declared)));
  const [ours, theirs] = [layoutsOf(dumpOf(scratch)), layoutsOf(dumpOf(file))];
  let compared = 0;
  const wrong = declared
    .filter(({ name }) => isMeant(name))
    .flatMap(({ name }) => {
      const [own, other] = [ours.get(name), theirs.get(name)];
      if (other === undefined) return [`no ${name}`];
      return [...(own ?? [])].flatMap(([member, place]) => {
        if (member === "size" && (hollow.includes(name) || (machine === "arm64" && name === "pt_regs")))
          return [];
        compared++;
        return other.get(member) === place ? [] : [`${name}${member}: ${place}, not ${other.get(member)}`];
      });
    });
  return { wrong, compared };
}

/** What the structs of tracepoints in one file say otherwise than the kernel's own BTF, a line each; those of modules are not in that. */
export function tracedDiffers(
  made: string,
  kernel: string,
): { readonly wrong: readonly string[]; readonly compared: number } {
  const [ours, theirs] = [layoutsOf(dumpOf(made)), layoutsOf(dumpOf(kernel))];
  let compared = 0;
  const wrong = [...ours].flatMap(([name, own]) => {
    const other = theirs.get(name);
    if (!/^(trace_event_raw_|trace_entry$|syscall_trace_)/.test(name) || other === undefined) return [];
    return [...own].flatMap(([member, place]) => {
      if (member === "size") return []; // unknown, and never told (partial)
      compared++;
      return other.get(member) === place ? [] : [`${name}${member}: ${place}, not ${other.get(member)}`];
    });
  });
  return { wrong, compared };
}
