import { InputError } from "../input/input.ts";
import type { Elf, SectionHeader } from "./elf.ts";

/** Elf64_Sym of gabi chapter 4, "Symbol Table". Bytes. */
const symbol = { size: 24, info: 4, section: 6, value: 8, length: 16 };
const functionType = 2;
const undefinedSection = 0;
const symtab = 2;

/** How often wanted names may stand in the strings, which bounds a hostile file. */
const mostPlaces = 10_000;

export interface FunctionSymbol {
  /** The function's address before relocation. */
  readonly address: number;
  /** Bytes of the function; 0 where the symbol does not tell. */
  readonly size: number;
}

/**
 * Functions a file defines, by name: the dynamic ones, and those that are not among them from `.symtab`, where the file
 * was not stripped of it. A name with several addresses is in the answer with two of them. @throws InputError
 */
export function findFunctions(
  elf: Elf,
  names: readonly string[],
): ReadonlyMap<string, readonly FunctionSymbol[]> {
  const found = new Map<string, readonly FunctionSymbol[]>();
  for (const name of names) {
    let functions: readonly FunctionSymbol[] = [];
    for (const one of elf.dynamicSymbols(name))
      if (one.type === functionType) functions = joined(functions, one);
    if (functions.length > 0) found.set(name, functions);
  }
  const missing = names.filter((name) => !found.has(name));
  if (missing.length === 0) return found;
  const sections = elf.sections();
  for (const section of sections.filter((one) => one.type === symtab)) {
    const strings = sections[section.link];
    if (strings === undefined) continue;
    for (const [name, functions] of search(elf, section, strings, missing)) found.set(name, functions);
  }
  return found;
}

/** The addresses of two answers together, at most two: more would say no more than that there are several. */
const joined = (
  functions: readonly FunctionSymbol[],
  { address, size }: FunctionSymbol,
): readonly FunctionSymbol[] =>
  functions.length > 1 || functions[0]?.address === address ? functions : [...functions, { address, size }];

function search(elf: Elf, section: SectionHeader, strings: SectionHeader, names: readonly string[]) {
  /** Each place in the strings a wanted name could be named by: a name may be the end of a longer one. */
  const wanted = new Map<number, string>();
  const sought = names.map((name) => ({ name, whole: Buffer.from(`${name}\0`) }));
  for (const { offset, bytes } of elf.bytes(strings)) {
    const base = offset - strings.offset;
    for (const { name, whole } of sought) {
      for (let at = bytes.indexOf(whole); at >= 0; at = bytes.indexOf(whole, at + 1)) {
        if (wanted.size >= mostPlaces)
          throw new InputError(elf.path, strings.offset, `the same names more than ${mostPlaces} times`);
        wanted.set(base + at, name);
      }
    }
  }
  const found = new Map<string, readonly FunctionSymbol[]>();
  if (wanted.size === 0) return found;
  for (const bytes of elf.records(section, symbol.size)) {
    for (let at = 0; at < bytes.length; at += symbol.size) {
      const name = wanted.get(bytes.readUInt32LE(at));
      if (name === undefined || ((bytes[at + symbol.info] ?? 0) & 15) !== functionType) continue;
      if (bytes.readUInt16LE(at + symbol.section) === undefinedSection) continue;
      const one = {
        address: Number(bytes.readBigUInt64LE(at + symbol.value)),
        size: Number(bytes.readBigUInt64LE(at + symbol.length)),
      };
      found.set(name, joined(found.get(name) ?? [], one));
    }
  }
  return found;
}
