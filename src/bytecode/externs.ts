import { InputError } from "../elf/input.ts";

/**
 * BTF of an eBPF object, as far as it names what the loader gives a value to. It is hostile: each read is bounded, each error
 * names the file and the offset. Layouts and numbers: the kernel's Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
 */

/** struct btf_header. Bytes. */
const header = { size: 24, length: 4, types: 8, typesSize: 12, strings: 16, stringsSize: 20 };
const magic = 0xeb9f;
/** struct btf_type: u32 name, u32 info, u32 size or type. */
const TYPE_SIZE = 12;
const kindOf = (info: number): number => (info >>> 24) & 0x1f;
const membersOf = (info: number): number => info & 0xffff;
const DATASEC = 15;
/** struct btf_var_secinfo: u32 type, u32 offset, u32 size. */
const SECTION_ENTRY_SIZE = 12;
/** Bytes behind a btf_type, by its kind: so many in any case, and so many for each of its members. */
const tails: readonly (readonly [fixed: number, each: number])[] = [
  [0, 0], // void
  [4, 0], // INT
  [0, 0], // PTR
  [12, 0], // ARRAY
  [0, 12], // STRUCT
  [0, 12], // UNION
  [0, 8], // ENUM
  [0, 0], // FWD
  [0, 0], // TYPEDEF
  [0, 0], // VOLATILE
  [0, 0], // CONST
  [0, 0], // RESTRICT
  [0, 0], // FUNC
  [0, 8], // FUNC_PROTO
  [4, 0], // VAR
  [0, SECTION_ENTRY_SIZE], // DATASEC
  [0, 0], // FLOAT
  [4, 0], // DECL_TAG
  [0, 0], // TYPE_TAG
  [0, 12], // ENUM64
];
/** Where libbpf looks for externs: options and version of the kernel, and its symbols. Any other it refuses. */
const loaderSections: ReadonlySet<string> = new Set([".kconfig", ".ksyms"]);

/**
 * Names of undefined symbols that the loader resolves: variables and functions in .kconfig and .ksyms.
 * @param btf bytes of the section .BTF
 * @param at where that begins in the file, for errors
 * @throws InputError when it is not sound, or of a kind of type that is younger than this
 */
export function loaderExterns(
  btf: Uint8Array,
  little: boolean,
  path: string,
  at: number,
): ReadonlySet<string> {
  const view = new DataView(btf.buffer, btf.byteOffset, btf.byteLength);
  const error = (offset: number, what: string): InputError =>
    new InputError(path, at + offset, `BTF: ${what}`);
  const u32 = (offset: number): number => {
    if (offset + 4 > btf.length) throw error(offset, `cut short after ${btf.length} bytes`);
    return view.getUint32(offset, little);
  };
  if (btf.length < header.size || view.getUint16(0, little) !== magic) throw error(0, "no magic number");
  const start = u32(header.length);
  const end = start + u32(header.types) + u32(header.typesSize);
  if (end > btf.length) throw error(header.typesSize, "types beyond the end");
  const strings = btf.subarray(start + u32(header.strings)).subarray(0, u32(header.stringsSize));
  const nameAt = (offset: number): string => {
    const name = strings.subarray(offset);
    return new TextDecoder("latin1").decode(name.subarray(0, Math.max(0, name.indexOf(0))));
  };

  const names = [0]; // by type; 0 is void
  const members: number[] = [];
  for (let type = start + u32(header.types); type < end; ) {
    const info = u32(type + 4);
    const [fixed, each] = tails[kindOf(info)] ?? [];
    if (fixed === undefined || each === undefined)
      throw error(type, `a type of kind ${kindOf(info)}, which is not known`);
    const next = type + TYPE_SIZE + fixed + each * membersOf(info);
    if (next > end) throw error(type, "a type beyond the end");
    names.push(u32(type));
    if (kindOf(info) === DATASEC && loaderSections.has(nameAt(u32(type)))) {
      for (let entry = type + TYPE_SIZE; entry < next; entry += SECTION_ENTRY_SIZE) members.push(u32(entry));
    }
    type = next;
  }
  return new Set(members.map((type) => nameAt(names[type] ?? 0)));
}
