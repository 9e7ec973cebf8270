import type { Elf } from "../../elf/elf.ts";
import { InputError } from "../../elf/input.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { loadDecoder } from "../machine/decoder.ts";
import { boringsslNames, readBoringssl } from "./boringssl.ts";
import { cipherNames } from "./ciphers.ts";
import { Image } from "./image.ts";
import { opensslNames, readOpenssl } from "./openssl.ts";
import { type Names, Subject } from "./subject.ts";
import { Witnesses } from "./witnesses.ts";

/** Libraries whose code is known. */
export type ReferenceLibrary = "openssl" | "boringssl";

/** What leads to a library's code, and what is made of it. */
const recipes: Readonly<
  Record<
    ReferenceLibrary,
    { readonly names: Names; readonly read: (subject: Subject, found: Witnesses) => void }
  >
> = {
  openssl: { names: opensslNames, read: readOpenssl },
  boringssl: { names: boringsslNames, read: readBoringssl },
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
 * @param elf the file with the library's code @throws InputError for what is in the file
 */
export async function referenceEvidence(library: ReferenceLibrary, elf: Elf): Promise<readonly Evidence[]> {
  const { names, read } = recipes[library];
  const found = new Witnesses();
  try {
    const subject = new Subject(new Image(elf), await loadDecoder(), withTables(names));
    read(subject, found);
  } catch (error) {
    // A disassembler that gave up on damaged code.
    if (error instanceof WebAssembly.RuntimeError) throw new InputError(elf.path, 0, error.message);
    throw error;
  }
  return found.evidence();
}
