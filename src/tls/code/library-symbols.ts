import type { Elf } from "../../elf/elf.ts";
import { type FunctionSymbol, findFunctions } from "../../elf/symbols.ts";
import { InputError } from "../../input/input.ts";
import type { LibraryReport } from "../../output/document.ts";
import { attachable } from "../layouts/attachable.ts";
import { isKnownLibrary } from "../layouts/layouts.ts";
import { type Accessor, functionNames } from "./accessors.ts";

type Symbols = ReadonlyMap<string, readonly FunctionSymbol[]>;

const read = {
  ssl: new WeakMap<Elf, Symbols | InputError>(),
  crypto: new WeakMap<Elf, Symbols | InputError>(),
};

/**
 * The functions of a library's file that anything is asked of, by name: looked up all at once and once a file, also where it cannot be
 * read, since each look into a full symbol table reads all its names. @throws InputError
 */
export function librarySymbols(elf: Elf, file: Accessor["file"], library: LibraryReport["library"]): Symbols {
  const before = read[file].get(elf);
  const symbols = before ?? lookUp(elf, file, library);
  read[file].set(elf, symbols);
  if (symbols instanceof InputError) throw symbols;
  return symbols;
}

function lookUp(elf: Elf, file: Accessor["file"], library: LibraryReport["library"]): Symbols | InputError {
  const attached = file === "ssl" ? (attachable[library] ?? []).flatMap(({ symbols }) => symbols) : [];
  const asked = isKnownLibrary(library) ? functionNames[library][file] : [];
  try {
    return findFunctions(elf, [...new Set([...asked, ...attached])]);
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
}
