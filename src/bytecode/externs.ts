import { Btf, kinds } from "../btf/btf.ts";

/** Where libbpf looks for externs: options and version of the kernel, and its symbols. Any other it refuses. */
const loaderSections = [".kconfig", ".ksyms"];

/**
 * Names of undefined symbols that the loader resolves: variables and functions in .kconfig and .ksyms.
 * @param bytes of the section .BTF
 * @param at where that begins in the file, for errors
 * @throws InputError when it is not sound, or of a kind of type that is younger than this
 */
export function loaderExterns(bytes: Uint8Array, path: string, at: number): ReadonlySet<string> {
  const btf = new Btf(bytes, { path, at });
  const sections = loaderSections.flatMap((name) => btf.named(name, [kinds.section]));
  return new Set(sections.flatMap((section) => btf.sectionEntries(section).map((type) => btf.name(type))));
}
