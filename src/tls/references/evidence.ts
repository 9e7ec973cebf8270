import type { Elf } from "../../elf/elf.ts";
import { InputError } from "../../elf/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import type { KnownLibrary } from "../layouts.ts";
import { loadDecoder } from "../machine/decoder.ts";
import { boringsslNames, readBoringssl } from "./boringssl.ts";
import { cipherNames } from "./ciphers.ts";
import { gnutlsNames, readGnutls } from "./gnutls.ts";
import { Image } from "./image.ts";
import { opensslMethods, opensslNames, readOpenssl } from "./openssl.ts";
import { type Names, Subject } from "./subject.ts";
import { Witnesses } from "./witnesses.ts";

/** What is made of a library's code and tables. */
interface Recipe {
  /** Constants that it alone tells of; of all others the rest tells. It needs no look at the code as a whole. */
  readonly alone?: RegExp;
  readonly read: (subject: Subject, found: Witnesses) => void;
}

/** What leads to a library's code, and what is made of it. */
const recipes: Readonly<Record<KnownLibrary, { readonly names: Names; readonly rows: readonly Recipe[] }>> = {
  openssl: {
    names: opensslNames,
    rows: [{ alone: /^BIO_/, read: opensslMethods }, { read: readOpenssl }],
  },
  boringssl: { names: boringsslNames, rows: [{ read: readBoringssl }] },
  gnutls: { names: gnutlsNames, rows: [{ read: readGnutls }] },
};

const withTables = ({ texts, files, needles }: Names): Names => ({
  texts: [...texts, ...cipherNames],
  files,
  needles: [...needles, "TLS_AES_"],
});

/**
 * What strings and tables lead to in a library's code, without symbols and without running it. A constant comes with the one offset
 * that two independent places or a table tell, or with the reason why there is none.
 *
 * @param elf the file with the library's code @param open constants that are asked for; null: all
 * @throws InputError for what is in the file
 */
export async function referenceEvidence(
  library: KnownLibrary,
  elf: Elf,
  open: ReadonlySet<string> | null = null,
): Promise<readonly Evidence[]> {
  const { names, rows } = recipes[library];
  const found = new Witnesses();
  try {
    const subject = new Subject(new Image(elf), await loadDecoder(), withTables(names));
    for (const { read } of rows.filter((row) => isWanted(row, rows, open))) read(subject, found);
  } catch (error) {
    // A disassembler that gave up on damaged code.
    if (error instanceof WebAssembly.RuntimeError) throw new InputError(elf.path, 0, error.message);
    throw error;
  }
  return found.evidence();
}

/** Whether something that is asked for is told of by a recipe. */
function isWanted({ alone }: Recipe, all: readonly Recipe[], open: ReadonlySet<string> | null): boolean {
  if (open === null) return true;
  const isOthers = (constant: string): boolean => all.some((one) => one.alone?.test(constant) === true);
  return [...open].some((constant) => (alone === undefined ? !isOthers(constant) : alone.test(constant)));
}
