import type { Elf, SectionHeader } from "./elf.ts";
import { InputError } from "./input.ts";

/** Elf64_Sym of gabi chapter 4, "Symbol Table". Bytes. */
const symbol = { size: 24, info: 4, section: 6, value: 8, length: 16 };
const functionType = 2;
const undefinedSection = 0;
/** Section types of the tables, the one that the dynamic linker reads first. */
const tables = { dynsym: 11, symtab: 2 };

/** Bytes; Node.js has 3 and 6 MiB. `places`: how often wanted names may stand in the strings, which bounds a hostile file. */
const limits = { symbols: 32 << 20, names: 64 << 20, places: 10_000 };

export interface FunctionSymbol {
  /** Before relocation. */
  readonly address: number;
  /** Bytes; 0 where it is not told. */
  readonly size: number;
}

/**
 * Functions a file defines, by name: from `.dynsym`, and what is not there from `.symtab`. A name with several
 * addresses is in the answer with two of them. @throws InputError
 */
export function findFunctions(
  elf: Elf,
  names: readonly string[],
): ReadonlyMap<string, readonly FunctionSymbol[]> {
  const found = new Map<string, readonly FunctionSymbol[]>();
  const sections = elf.sections();
  for (const type of [tables.dynsym, tables.symtab]) {
    for (const section of sections.filter((one) => one.type === type)) {
      const missing = names.filter((name) => !found.has(name));
      const strings = sections[section.link];
      if (missing.length === 0 || strings === undefined) continue;
      for (const [name, functions] of search(elf, section, strings, missing)) found.set(name, functions);
    }
  }
  return found;
}

function search(elf: Elf, section: SectionHeader, strings: SectionHeader, names: readonly string[]) {
  const text = elf.contents(strings, limits.names);
  /** Each place in the strings a wanted name could be named by: a name may be the end of a longer one. */
  const wanted = new Map<number, string>();
  for (const name of names) {
    const whole = `${name}\0`;
    for (let at = text.indexOf(whole); at >= 0; at = text.indexOf(whole, at + 1)) {
      if (wanted.size >= limits.places) {
        throw new InputError(elf.path, strings.offset, `the same names more than ${limits.places} times`);
      }
      wanted.set(at, name);
    }
  }
  const found = new Map<string, FunctionSymbol[]>();
  if (wanted.size === 0) return found;
  const bytes = elf.contents(section, limits.symbols);
  for (let at = 0; at + symbol.size <= bytes.length; at += symbol.size) {
    const name = wanted.get(bytes.readUInt32LE(at));
    if (name === undefined || ((bytes[at + symbol.info] ?? 0) & 15) !== functionType) continue;
    if (bytes.readUInt16LE(at + symbol.section) === undefinedSection) continue;
    const one = {
      address: Number(bytes.readBigUInt64LE(at + symbol.value)),
      size: Number(bytes.readBigUInt64LE(at + symbol.length)),
    };
    const others = found.get(name) ?? [];
    if (others.length < 2 && others[0]?.address !== one.address) found.set(name, [...others, one]);
  }
  return found;
}
