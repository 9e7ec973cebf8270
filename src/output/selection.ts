import { isCertain } from "../offsets/reconcile.ts";
import type { Document, KernelReport, TlsReport } from "./document.ts";
import { exitCodes, Failure } from "./failure.ts";

type Fields = KernelReport["fields"];

/** The document with these constants alone. */
export function keepOnly(document: Document, names: readonly string[]): Document {
  const { kernel, tls } = document;
  return {
    ...document,
    ...(kernel && { kernel: keep(kernel, names) }),
    ...(tls && { tls: tls.map((library) => keep(library, names)) }),
  };
}

const keep = <Part extends KernelReport | TlsReport>(part: Part, names: readonly string[]): Part => ({
  ...part,
  constants: pick(part.constants, names),
  fields: pick(part.fields, names),
});

const pick = <Value>(record: Record<string, Value>, names: readonly string[]): Record<string, Value> =>
  Object.fromEntries(Object.entries(record).filter(([name]) => names.includes(name)));

/** One constant of the document. `why`: what stands between its value and certainty. */
export interface Single {
  readonly value: number | null;
  readonly why: string | null;
}

/** @throws Failure where several libraries have a constant of this name */
export function singleOf({ kernel, tls = [] }: Document, name: string): Single {
  const field = kernel?.fields[name] ?? libraryOf(name, tls)?.fields[name];
  if (field === undefined) {
    const [library] = tls;
    const holder =
      library === undefined ? "no TLS library was found" : `${library.path} (${library.library}) has none`;
    return { value: null, why: holder };
  }
  return { value: field.value, why: isCertain(field) ? null : doubtOf(field) };
}

function libraryOf(name: string, libraries: readonly TlsReport[]): TlsReport | undefined {
  if (libraries.length > 1) throw several(name, libraries);
  return libraries[0];
}

/** That what was asked for is of one library, and there are several. */
export function several(what: string, libraries: readonly TlsReport[]): Failure {
  const paths = libraries.slice(0, 3).map(({ path }) => path);
  const names = `${paths.join(", ")}${libraries.length > paths.length ? ", ..." : ""}`;
  const message = `${what} is of one TLS library, but ${libraries.length} were found (${names}): name one, "offsetof tls PATH"`;
  return new Failure("E_TLS_SEVERAL", message, exitCodes.usage);
}

/** What of the document is not certain, in lines for a person: one a reason, with the constants it is the reason of. */
export function doubts({ kernel, tls = [] }: Document): string[] {
  const ofLibraries = tls.flatMap(({ path, fields }) => doubtsOf(fields).map((doubt) => `${path}: ${doubt}`));
  return [...doubtsOf(kernel?.fields ?? {}), ...ofLibraries];
}

function doubtsOf(fields: Fields): string[] {
  const byReason = Map.groupBy(
    Object.entries(fields).filter(([, field]) => !isCertain(field)),
    ([, field]) => doubtOf(field),
  );
  return [...byReason].map(([reason, rows]) => `${rows.map(([name]) => name).join(", ")}: ${reason}`);
}

const doubtOf = ({ value, status, reason }: Fields[string]): string =>
  `${value === null ? "not known" : status}: ${reason ?? "no reason was told"}`;
