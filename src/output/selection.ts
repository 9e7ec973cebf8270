import { isCertain } from "../offsets/truth.ts";
import type { Document, FieldReport, FunctionReport, KernelReport, TlsReport } from "./document.ts";
import { Failure } from "./failure.ts";

type Part = KernelReport | TlsReport;

/** The kernel's part and the libraries'. */
export const partsOf = ({ kernel, tls = [] }: Document): readonly Part[] => [
  ...(kernel === undefined ? [] : [kernel]),
  ...tls,
];

/**
 * True when a constant is known as well as was asked: certain, or assumed where that is allowed, of the very version that
 * the table has it of.
 */
const isSettled = (field: FieldReport, part: Part): boolean =>
  isCertain(field) ||
  (field.status === "assumed" && field.value !== null && "match" in part && part.match === "exact");

/** True when all constants of a part are settled. */
export const isSettledPart = (part: Part): boolean =>
  Object.values(part.fields).every((field) => isSettled(field, part));

/** True when no number of a part is known. */
export const isBlank = (part: Part): boolean =>
  [...Object.values(part.constants), ...Object.values(functionsIn(part)).map(({ address }) => address)].every(
    (value) => value === null,
  );

const functionsIn = (part: Part): TlsReport["functions"] => ("functions" in part ? part.functions : {});

/** True when it is known where all functions of a part begin that its library has. */
export const isAttachable = (part: Part): boolean =>
  Object.values(functionsIn(part)).every(({ offset, status }) => offset !== null || status === "absent");

/** The numbers of a function, as formats of numbers alone name them: not as what C keeps for itself, which begins with an underscore. */
export const functionNumbers = (
  name: string,
  { address, offset }: Pick<FunctionReport, "address" | "offset">,
): readonly [address: readonly [string, number | null], offset: readonly [string, number | null]] => {
  const macro = name.replace(/^_+/, "").toUpperCase();
  return [
    [`${macro}_ADDRESS`, address],
    [`${macro}_OFFSET`, offset],
  ];
};

/**
 * Names of what is told of a bit-field beside the byte that it begins in: its first bit, counted from that byte's lowest, and how many
 * it has.
 */
export const bitConstants = (constant: string): readonly [offset: string, size: string] => [
  `${constant}_bit_offset`,
  `${constant}_bit_size`,
];

/**
 * The document with these constants and functions alone. One that no part of it has is asked for and not known, which is told.
 * @param besides names that are kept where the document has them
 */
export function keepOnly(
  document: Document,
  names: readonly string[],
  besides: readonly string[] = [],
): Document {
  const kept = [...names, ...besides];
  const { kernel, tls } = document;
  const unknown = names.filter(
    (name) =>
      !partsOf(document).some(
        (part) => Object.hasOwn(part.fields, name) || Object.hasOwn(functionsIn(part), name),
      ),
  );
  const message = `not known: ${unknown.join(", ")}: ${tls?.length === 0 ? "no TLS library was found" : "no library that was found has it"}`;
  return {
    ...document,
    ...(kernel && { kernel: keep(kernel, kept) }),
    ...(tls && { tls: tls.map((library) => keep(library, kept)) }),
    diagnostics: [...document.diagnostics, ...(unknown.length === 0 ? [] : [{ code: "E_ONLY", message }])],
  };
}

const keep = <One extends Part>(part: One, names: readonly string[]): One => ({
  ...part,
  constants: pick(part.constants, names),
  fields: pick(part.fields, names),
  ...("functions" in part && { functions: pick(part.functions, names) }),
});

const pick = <Value>(record: Record<string, Value>, names: readonly string[]): Record<string, Value> =>
  Object.fromEntries(Object.entries(record).filter(([name]) => names.includes(name)));

/** One constant of the document, or of a function where it begins in the file. */
export interface Single {
  readonly value: number | null;
  /** What stands between its value and certainty. */
  readonly why: string | null;
  readonly isSettled: boolean;
}

/** @throws Failure where several libraries have a constant of this name */
export function singleOf({ kernel, tls = [], diagnostics }: Document, name: string): Single {
  // A library that was not reached in time may have another value for this name.
  const late = diagnostics.find(({ code }) => code === "E_DEADLINE");
  if (late !== undefined) return { value: null, why: late.message, isSettled: false };
  const part = kernel !== undefined && Object.hasOwn(kernel.fields, name) ? kernel : libraryOf(name, tls);
  const field = part?.fields[name];
  const one = part === undefined ? undefined : functionsIn(part)[name];
  if (one !== undefined)
    return {
      value: one.offset,
      why: one.offset === null ? doubtOf({ ...one, value: null }) : null,
      isSettled: one.offset !== null,
    };
  if (part === undefined || field === undefined) {
    const [library] = tls;
    const holder =
      library === undefined ? "no TLS library was found" : `${library.path} (${library.library}) has none`;
    return { value: null, why: holder, isSettled: false };
  }
  const { value } = field;
  const why = value !== null && isCertain(field) ? null : doubtOf(field);
  return { value, why, isSettled: value !== null && isSettled(field, part) };
}

function libraryOf(name: string, libraries: readonly TlsReport[]): TlsReport | undefined {
  if (libraries.length > 1) throw several(name, libraries);
  return libraries[0];
}

/** The failure that says that something is of one library alone, and several were found. */
export function several(what: string, libraries: readonly TlsReport[]): Failure {
  const paths = libraries.slice(0, 3).map(({ path }) => path);
  const names = `${paths.join(", ")}${libraries.length > paths.length ? ", ..." : ""}`;
  const message = `${what} is of one TLS library, but ${libraries.length} were found (${names}): name one, "offsetof tls PATH"`;
  return new Failure("E_TLS_SEVERAL", message, "usage");
}

/** What of the document is not certain, in lines for a person: one a reason, with the constants it is the reason of. */
export function doubts({ kernel, tls = [] }: Document): string[] {
  const ofLibraries = tls.flatMap(({ path, fields, functions }) =>
    [...doubtsOf(fields), ...doubtsOf(withValues(functions))].map((doubt) => `${path}: ${doubt}`),
  );
  return [...doubtsOf(kernel?.fields ?? {}), ...ofLibraries];
}

/** Functions as constants are, by their place in the file. */
const withValues = (functions: TlsReport["functions"]): Readonly<Record<string, Doubtful>> =>
  Object.fromEntries(Object.entries(functions).map(([name, one]) => [name, { ...one, value: one.offset }]));

type Doubtful = Pick<FieldReport, "value" | "status" | "reason">;

function doubtsOf(fields: Readonly<Record<string, Doubtful>>): string[] {
  const byReason = Map.groupBy(
    Object.entries(fields).filter(([, field]) => !isCertain(field)),
    ([, field]) => doubtOf(field),
  );
  return [...byReason].map(([reason, rows]) => `${rows.map(([name]) => name).join(", ")}: ${reason}`);
}

const doubtOf = ({ value, status, reason }: Doubtful): string =>
  `${value !== null || status === "absent" ? status : "not known"}: ${reason ?? "no reason was told"}`;
