import type { Document, TlsReport } from "./document.ts";
import { printable } from "./printable.ts";
import { functionNumbers } from "./selection.ts";

/** What a shell reads as one word: the text itself where no character of it means anything to a shell, else quoted. */
export const shellWord = (text: string): string =>
  /^[\w./:+@%,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

type Assignment = readonly [name: string, value: string | number];

/**
 * The document as assignments of a POSIX shell, one a line: the constants that have a value, in capitals, and of functions that are
 * known `_ADDRESS` and `_OFFSET`; no others.
 *
 * `TLS_COUNT` libraries follow, each with a prefix that tells which it is: `TLS_0_PATH`, `TLS_0_SSL_ST_RBIO`. The
 * constants of an only library stand there without a prefix too; of several they would hide each other.
 */
export function toEnv(
  { kernel, tls }: Document,
  { exported, isTerminal = false }: { readonly exported: boolean; readonly isTerminal?: boolean },
): string {
  const [library, ...others] = tls ?? [];
  const assignments: readonly Assignment[] = [
    ...constantsOf(kernel),
    ...(tls === undefined ? [] : [["TLS_COUNT", tls.length] as const]),
    ...(tls ?? []).flatMap((each, index) =>
      [...identityOf(each), ...constantsOf(each), ...functionsOf(each)].map(
        ([name, value]) => [`TLS_${index}_${name}`, value] as const,
      ),
    ),
    ...(others.length === 0 ? [...constantsOf(library), ...functionsOf(library)] : []),
  ];
  const prefix = exported ? "export " : "";
  // A shell gets each text as it is.
  const written = (value: string | number): string => (isTerminal ? printable(String(value)) : String(value));
  return assignments.map(([name, value]) => `${prefix}${name}=${shellWord(written(value))}\n`).join("");
}

const constantsOf = (part: Pick<TlsReport, "constants"> | undefined): Assignment[] =>
  Object.entries(part?.constants ?? {}).flatMap(([constant, value]) =>
    value === null ? [] : [[constant.toUpperCase(), value] as const],
  );

const functionsOf = (part: Pick<TlsReport, "functions"> | undefined): Assignment[] =>
  Object.entries(part?.functions ?? {}).flatMap(([name, one]) =>
    functionNumbers(name, one).flatMap(([constant, value]) =>
      value === null ? [] : [[constant, value] as const],
    ),
  );

const identityOf = ({ path, root, library, version }: TlsReport): Assignment[] =>
  Object.entries({ PATH: path, ROOT: root, LIBRARY: library, VERSION: version }).flatMap(([name, value]) =>
    value === null || value === undefined ? [] : [[name, value] as const],
  );
