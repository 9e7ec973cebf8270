import type { Elf } from "../../elf/elf.ts";
import { InputError } from "../../input/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import type { FunctionEvidence } from "../layouts/attachable.ts";
import type { KnownLibrary } from "../layouts/layouts.ts";
import { withoutVectorLength } from "../layouts/vector.ts";
import { loadDecoder } from "../machine/decoder.ts";
import { boringsslAttach } from "./attach-boringssl.ts";
import { logAttach } from "./attach-log-secret.ts";
import { opensslAttach } from "./attach-openssl.ts";
import type { AttachRecipe } from "./attach-recipe.ts";
import { boringsslNames, readBoringssl } from "./boringssl.ts";
import { keyLog } from "./boringssl-key-log.ts";
import { cipherNames } from "./ciphers.ts";
import { gnutlsNames, readGnutls } from "./gnutls.ts";
import { LoadedFile } from "./loaded-file.ts";
import { logFunction, opensslMethods, opensslNames, readOpenssl } from "./openssl.ts";
import { type SoughtNames, Subject } from "./subject.ts";
import { Witnesses } from "./witnesses.ts";

/** What is made of a library's code and tables. */
interface Recipe {
  /** The constants that this recipe alone tells; the recipes without this pattern tell all others. It needs no pass over all of the code. */
  readonly alone?: RegExp;
  readonly read: (subject: Subject, found: Witnesses) => void;
}

/** What leads to a library's code, and what is made of it. */
const recipes: Readonly<
  Record<KnownLibrary, { readonly names: SoughtNames; readonly rows: readonly Recipe[] }>
> = {
  openssl: {
    names: opensslNames,
    rows: [{ alone: /^BIO_/, read: opensslMethods }, { read: readOpenssl }],
  },
  boringssl: { names: boringsslNames, rows: [{ read: readBoringssl }] },
  gnutls: { names: gnutlsNames, rows: [{ read: readGnutls }] },
};

/** By library: where functions begin without symbols, by two witnesses each, as a member is found. */
const attachRecipes: Readonly<Record<KnownLibrary, readonly AttachRecipe[]>> = {
  openssl: [logAttach("ssl_log_secret", logFunction), opensslAttach],
  boringssl: [logAttach("ssl_log_secret", keyLog), boringsslAttach],
  gnutls: [logAttach("_gnutls_call_keylog_func")],
};

/** What is wanted of a library's code. Nothing else is looked for, since each constant and function costs time. */
export interface WantedReferences {
  /** Constants that are asked for; null: all. */
  readonly constants: ReadonlySet<string> | null;
  /** The functions that symbols do not tell. */
  readonly functions: readonly string[];
}

export interface References {
  readonly evidence: readonly Evidence[];
  /** Where functions begin that were wanted, by name. */
  readonly functions: ReadonlyMap<string, FunctionEvidence>;
}

const joined = (all: readonly SoughtNames[]): SoughtNames => ({
  texts: [...new Set(all.flatMap(({ texts }) => texts))],
  files: [...new Set(all.flatMap(({ files }) => files))],
  apart: all.flatMap(({ apart = [] }) => apart),
  many: all.flatMap(({ many = [] }) => many),
  needles: [...new Set(all.flatMap(({ needles }) => needles))],
});

const tableNames: SoughtNames = { texts: cipherNames, files: [], needles: ["TLS_AES_"] };

/**
 * What strings and tables lead to in a library's code, without symbols and without running it. A constant comes with the one offset
 * that two independent places or a table tell, or with the reason why there is none; so does a function with the address where it begins.
 *
 * @param elf the file with the library's code @throws InputError for what is in the file
 */
export function readReferences(library: KnownLibrary, elf: Elf, wanted: WantedReferences): References {
  const { names, rows } = recipes[library];
  const constants = rows.filter((row) => isWanted(row, rows, wanted.constants));
  const functions = attachRecipes[library].filter((recipe) =>
    recipe.functions.some((name) => wanted.functions.includes(name)),
  );
  const sought = joined([
    ...(constants.length === 0 ? [] : [names, tableNames]),
    ...functions.map((recipe) => recipe.names),
  ]);
  try {
    const subject = new Subject(new LoadedFile(elf), loadDecoder(elf.machine), sought);
    const found = new Witnesses();
    for (const { read } of constants) read(subject, found);
    const entries = new Witnesses(Number.MAX_SAFE_INTEGER);
    for (const { read } of functions) read(subject, entries);
    return {
      evidence: withoutVectorLength(found.evidence()),
      functions: foundOf(wanted.functions, entries.evidence()),
    };
  } catch (error) {
    // A disassembler that gave up on damaged code.
    if (error instanceof WebAssembly.RuntimeError) throw new InputError(elf.path, 0, error.message);
    throw error;
  }
}

/**
 * What references tell of constants alone.
 * @param open the constants that are asked for; null: all
 * @throws InputError for what is in the file
 */
export const referenceEvidence = (
  library: KnownLibrary,
  elf: Elf,
  open: ReadonlySet<string> | null = null,
): readonly Evidence[] => readReferences(library, elf, { constants: open, functions: [] }).evidence;

/** Whether something that is asked for is told of by a recipe. */
function isWanted({ alone }: Recipe, all: readonly Recipe[], open: ReadonlySet<string> | null): boolean {
  if (open === null) return true;
  const isOthers = (constant: string): boolean => all.some((one) => one.alone?.test(constant) === true);
  return [...open].some((constant) => (alone === undefined ? !isOthers(constant) : alone.test(constant)));
}

function foundOf(
  names: readonly string[],
  evidence: readonly Evidence[],
): ReadonlyMap<string, FunctionEvidence> {
  return new Map(
    names.map((name) => {
      const one = evidence.find(({ constant }) => constant === name);
      return [name, { addresses: one?.candidates ?? [], reason: one?.reason ?? "nothing leads to it" }];
    }),
  );
}
