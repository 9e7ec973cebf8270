import { InputError } from "../input/input.ts";
import type { Elf } from "./elf.ts";
import {
  type SectionHeader,
  sectionNumber,
  sectionType,
  symbolEntry,
  symbolType,
  typeOf,
} from "./records.ts";

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
      if (one.type === symbolType.function) functions = joined(functions, one);
    if (functions.length > 0) found.set(name, functions);
  }
  const missing = names.filter((name) => !found.has(name));
  if (missing.length === 0) return found;
  const sections = elf.sections();
  for (const section of sections.filter((one) => one.type === sectionType.symtab)) {
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

/** Functions of these names by one symbol table. */
function search(elf: Elf, table: SectionHeader, strings: SectionHeader, names: readonly string[]) {
  const found = new Map<string, readonly FunctionSymbol[]>();
  for (const { name, type, address, size } of symbolsCalled(elf, table, strings, names))
    if (type === symbolType.function) found.set(name, joined(found.get(name) ?? [], { address, size }));
  return found;
}

/**
 * Whether the full symbol table, where the file was not stripped of it, defines one of these names or one that ends in `_` and
 * it: a prefixed build calls them `prefix_SSL_new`. @throws InputError
 */
export function definesStatic(elf: Elf, ...names: readonly string[]): boolean {
  const sections = elf.sections();
  const table = sections.find((one) => one.type === sectionType.symtab);
  const strings = table === undefined ? undefined : sections[table.link];
  if (table === undefined || strings === undefined) return false;
  return !symbolsCalled(elf, table, strings, names, "_").next().done;
}

/**
 * The symbols of these names that a table defines. Its strings are looked through first, so that of the symbols themselves
 * only numbers are compared.
 *
 * @param joint what may stand between a longer name's beginning and the name; without it the whole name is meant
 * @throws InputError
 */
function* symbolsCalled(
  elf: Elf,
  table: SectionHeader,
  strings: SectionHeader,
  names: readonly string[],
  joint?: string,
): Generator<FunctionSymbol & { readonly name: string; readonly type: number }> {
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
        if (at === 0 || String.fromCharCode(bytes[at - 1] ?? 0) !== joint) continue;
        const start = bytes.lastIndexOf(0, at - 1) + 1;
        // A name that begins before this piece ended in the one before.
        if (start > 0 || base === 0) wanted.set(base + start, name);
      }
    }
  }
  if (wanted.size === 0) return;
  for (const bytes of elf.records(table, symbolEntry.size)) {
    for (let at = 0; at < bytes.length; at += symbolEntry.size) {
      const name = wanted.get(bytes.readUInt32LE(at + symbolEntry.name));
      if (name === undefined || bytes.readUInt16LE(at + symbolEntry.section) === sectionNumber.undefined)
        continue;
      yield {
        name,
        type: typeOf(bytes[at + symbolEntry.info] ?? 0),
        address: Number(bytes.readBigUInt64LE(at + symbolEntry.value)),
        size: Number(bytes.readBigUInt64LE(at + symbolEntry.length)),
      };
    }
  }
}
