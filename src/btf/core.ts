import { InputError } from "../input/input.ts";
import type { Btf } from "./btf.ts";
import { type CoreQuestion, questions } from "./core-question.ts";

/**
 * CO-RE relocations of an eBPF object: struct btf_ext_header and struct bpf_core_relo of the section .BTF.ext, as in the
 * kernel's Documentation/bpf/btf.rst and llvm_reloc.rst. It is hostile: each read is bounded, each error names file and offset.
 */

export interface Relocation {
  readonly section: string;
  /** Where its instruction lies, in bytes from the start of the section. */
  readonly instruction: number;
  /** Number of a type of the object's own BTF. */
  readonly type: number;
  /** Numbers of members and elements, as `0:1:2`. */
  readonly access: string;
  readonly question: CoreQuestion;
}

/** struct btf_ext_header and bpf_core_relo; bytes. */
const header = { size: 32, length: 4, relocations: 24, relocationsSize: 28 };
const record = { size: 16, instruction: 0, type: 4, access: 8, kind: 12 };
const MAGIC = 0xeb9f;
/** How many relocations an object may have; no real one comes near it. */
const MOST = 1 << 16;

/**
 * All CO-RE relocations, in the order of the file.
 * @param bytes of .BTF.ext @param path and `at`, where the section begins in that file, for errors
 * @throws InputError where it is not sound, or asks for what is younger than this
 */
export function relocationsIn(bytes: Uint8Array, btf: Btf, path: string, at: number): readonly Relocation[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const error = (offset: number, what: string) => new InputError(path, at + offset, `.BTF.ext: ${what}`);
  const u32 = (offset: number): number => {
    if (offset + 4 > bytes.length) throw error(offset, "cut short");
    return view.getUint32(offset, true);
  };
  if (bytes.length < 8 || view.getUint16(0, true) !== MAGIC) throw error(0, "no magic number");
  if (u32(header.length) < header.size || u32(header.relocationsSize) === 0) return []; // older than CO-RE, or without
  const start = u32(header.length) + u32(header.relocations);
  const end = start + u32(header.relocationsSize);
  if (end > bytes.length) throw error(header.relocations, "relocations beyond the end");
  const size = u32(start);
  if (size < record.size || size % 4 !== 0) throw error(start, `a relocation of ${size} bytes`);
  const found: Relocation[] = [];
  for (let place = start + 4; place < end; ) {
    const [section, count] = [btf.text(u32(place)), u32(place + 4)];
    place += 8;
    if (count === 0 || place + count * size > end)
      throw error(place - 4, `${count} relocations beyond the end`);
    for (const stop = place + count * size; place < stop; place += size) {
      const question = questions[u32(place + record.kind)];
      if (question === undefined)
        throw error(
          place + record.kind,
          `a relocation of kind ${u32(place + record.kind)}, which is not known`,
        );
      const access = btf.text(u32(place + record.access));
      const type = u32(place + record.type);
      if (found.push({ section, instruction: u32(place), type, access, question }) > MOST)
        throw error(place, `more than ${MOST} relocations`);
    }
  }
  return found;
}
