import type { Elf } from "../elf/elf.ts";
import { segment, segmentFlag } from "../elf/records.ts";
import { InputError } from "../input/input.ts";
import type { FunctionReport, LibraryReport } from "../output/document.ts";
import { librarySymbols } from "./code/library-symbols.ts";
import { type Attachable, attachable, type FunctionEvidence, whyAbsent } from "./layouts/attachable.ts";

/** What the symbols of a file say of the functions of a library, by name. A file that cannot be read says nothing, and why. */
export function functionSymbols(
  library: LibraryReport["library"],
  elf: Elf,
): ReadonlyMap<string, FunctionEvidence> {
  const rows = attachable[library] ?? [];
  if (rows.length === 0) return new Map();
  try {
    const symbols = librarySymbols(elf, "ssl", library);
    return new Map(rows.map((row) => [row.name, foundAs(row, symbols)]));
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const none: FunctionEvidence = { addresses: [], reason: error.message };
    return new Map(rows.map(({ name }) => [name, none]));
  }
}

function foundAs(
  { name, symbols: names }: Attachable,
  symbols: ReturnType<typeof librarySymbols>,
): FunctionEvidence {
  const addresses = [
    ...new Set(names.flatMap((one) => (symbols.get(one) ?? []).map(({ address }) => address))),
  ];
  if (addresses.length === 0) return { addresses, reason: `it has no symbol of ${name}` };
  return addresses.length === 1 ? { addresses } : { addresses, reason: `it has several functions ${name}` };
}

/** The functions that a library has and symbols alone do not tell. */
export const withoutSymbol = (
  { library, version }: Pick<LibraryReport, "library" | "version">,
  symbols: ReadonlyMap<string, FunctionEvidence>,
): readonly string[] =>
  (attachable[library] ?? [])
    .filter((row) => whyAbsent(row, version) === null && symbols.get(row.name)?.addresses.length === 0)
    .map(({ name }) => name);

/**
 * Where the functions of a library begin that programs attach to. Two sources that agree confirm, two that differ are a conflict, and what
 * lies in no code of the file is no function.
 */
export function functionsOf(
  { library, version }: Pick<LibraryReport, "library" | "version">,
  elf: Elf,
  symbols: ReadonlyMap<string, FunctionEvidence>,
  references: ReadonlyMap<string, FunctionEvidence>,
): Record<string, FunctionReport> {
  return Object.fromEntries(
    (attachable[library] ?? []).map((row) => {
      const said = { symbols: symbols.get(row.name), references: references.get(row.name) };
      return [row.name, judged(elf, said, whyAbsent(row, version))];
    }),
  );
}

function judged(
  elf: Elf,
  said: Readonly<Record<"symbols" | "references", FunctionEvidence | undefined>>,
  absent: string | null,
): FunctionReport {
  const sources = [said.symbols, said.references].filter((one) => one !== undefined);
  const evidence = Object.fromEntries(
    Object.entries(said).flatMap(([source, one]) =>
      one === undefined || one.addresses.length === 0 ? [] : [[source, [...one.addresses]]],
    ),
  );
  const none = { address: null, offset: null, evidence };
  const all = new Set(sources.flatMap(({ addresses }) => addresses));
  const [address, ...others] = all;
  if (address === undefined) {
    if (absent !== null) return { ...none, status: "absent", reason: absent };
    return { ...none, status: "unresolved", reason: reasonsOf(sources) };
  }
  if (others.length > 0) {
    const isConflict = sources.every(({ addresses }) => addresses.length === 1);
    return isConflict
      ? { ...none, status: "conflict", reason: "its symbol and references to it differ" }
      : { ...none, status: "unresolved", reason: reasonsOf(sources) };
  }
  const offset = offsetOf(elf, address);
  if (offset === null)
    return { ...none, status: "unresolved", reason: `0x${address.toString(16)} lies in no code of the file` };
  const isConfirmed = sources.filter(({ addresses }) => addresses.length === 1).length > 1;
  return { address, offset, status: isConfirmed ? "confirmed" : "single", evidence };
}

const reasonsOf = (sources: readonly FunctionEvidence[]): string =>
  sources.flatMap(({ reason }) => reason ?? []).join("; ");

/** Where an address of code lies in the file, in bytes; null where no code does. */
export function offsetOf(elf: Elf, address: number): number | null {
  const within = elf.programHeaders.find(
    ({ type, flags, vaddr, filesz }) =>
      type === segment.load &&
      (flags & segmentFlag.execute) !== 0 &&
      address >= vaddr &&
      address < vaddr + filesz,
  );
  return within === undefined ? null : within.offset + address - within.vaddr;
}
