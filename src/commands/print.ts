import * as v from "valibot";
import { isNumber } from "../offsets/truth.ts";
import { heading, paper, type Screen } from "../output/columns.ts";
import { toDetectTable } from "../output/detect.ts";
import { detectDocumentSchema } from "../output/detect-schema.ts";
import { type Document, documentSchema } from "../output/document.ts";
import { toEnv } from "../output/env.ts";
import { toHeader } from "../output/header.ts";
import { toJson, toJsonLine } from "../output/json.ts";
import { log } from "../output/log.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import {
  bitConstants,
  doubts,
  isAttachable,
  isBlank,
  isSettledPart,
  keepOnly,
  partsOf,
  singleOf,
} from "../output/selection.ts";
import { writeStdout } from "../output/stdout.ts";
import { toTable } from "../output/table.ts";
import { isTerminal, STDOUT } from "../output/terminal.ts";
import { hasHeld } from "../verify/held.ts";
import type { Choice } from "./choice.ts";
import { type ExitCode, exitCodes } from "./exit.ts";
import type { DocumentFlags, documentFormats, Flags, formats } from "./flags.ts";

type Format = (typeof formats)[number];
type DocumentFormat = (typeof documentFormats)[number];

/** The format asked for, or the one that suits what stdout is. */
export const formatFor = <Asked extends DocumentFormat>(asked: Asked | undefined): Asked | Format =>
  asked ?? (isTerminal(STDOUT) ? "table" : "json");

/** How a failure is told: in JSON where the result would have been. */
export const failureFormat = (args: Flags | DocumentFlags): DocumentFormat =>
  !("get" in args) || args.get === undefined ? formatFor(args.format) : "table";

/** What standard output is: colours are for terminals that can show them and people who did not refuse them (no-color.org). */
export const screen = (): Screen =>
  isTerminal(STDOUT)
    ? { colour: !process.env.NO_COLOR && process.env.TERM !== "dumb", width: process.stdout.columns || 80 }
    : paper;

/** Prints what is no document of constants, in the format asked for. */
export async function printAs<Result extends { readonly format_version: string }>(
  result: Result,
  format: Format | undefined,
  toTable: (result: Result, screen: Screen) => string,
): Promise<void> {
  await writeStdout(formatFor(format) === "json" ? toJson(result) : toTable(result, screen()));
}

/** How a document is printed, as plain data: another thread may have to do it (watchdog.ts). */
export interface Style extends Screen {
  readonly format: DocumentFormat;
  /** Whether --format env writes `export` before each assignment, so that programs which the shell starts see it too. */
  readonly exported: boolean;
  /** Whether a person reads it on a terminal. */
  readonly isTerminal: boolean;
  /** Whether it is of this machine, so that more can be asked of it. */
  readonly isLive?: boolean;
  /** Whether one bare number is asked for in the place of the document (--get). */
  readonly isSingle: boolean;
  /** Whether JSON is written in one line, as where there are several documents. */
  readonly isLine?: boolean;
}

/** How the flags of a command, and what stdout is, say that its document is printed. */
export const styleOf = (args: Flags | DocumentFlags): Style => ({
  format: formatFor(args.format),
  ...screen(),
  exported: "export" in args && args.export === true,
  isTerminal: isTerminal(STDOUT),
  isSingle: "get" in args && args.get !== undefined,
});

/** A way to write documents. `isWhole`: with reasons and diagnostics, which the others leave to stderr. */
interface Writer {
  readonly isWhole: boolean;
  readonly write: (document: Document, style: Style) => string;
}

const writers: Readonly<Record<DocumentFormat, Writer>> = {
  json: {
    isWhole: true,
    write: (document, { isLine }) => (isLine ? `${toJsonLine(document)}\n` : toJson(document)),
  },
  table: {
    isWhole: true,
    write: (document, style) =>
      toTable(document, style) +
      (style.isTerminal && style.isLive ? `\n${heading(nextStep(document), style)}\n` : ""),
  },
  env: { isWhole: false, write: toEnv },
  header: { isWhole: false, write: toHeader },
};

/** What a person may do next, in the last line. */
function nextStep(document: Document): string {
  const [doubtful] = partsOf(document).flatMap(({ fields }) =>
    Object.entries(fields).flatMap(([name, { status }]) =>
      isNumber(status) || status === "absent" ? [] : [name],
    ),
  );
  if (doubtful !== undefined)
    return `NEXT  offsetof explain ${doubtful}: why it is not known; offsetof detect: what is missing here`;
  if (document.kernel === undefined && document.tls?.length === 0)
    return "NEXT  offsetof tls: what is found on this machine; --all: in all programs too";
  if (document.verify === undefined)
    return "NEXT  offsetof verify kernel, verify tls: proof on live connections; --format json|env|header: for programs";
  return "NEXT  --format json|env|header: for programs; offsetof bytecode: eBPF objects with these numbers in them";
}

/**
 * 3 as soon as one constant is not certain or was not proved, a function that was asked for is not known, a part could not be done, or
 * nothing at all is known of a thing that was asked for; else 0.
 *
 * @param whole the document before constants were chosen of it: what is left of a library may be nothing
 */
export function exitCodeOf(document: Document, whole = document): ExitCode {
  const isIncomplete =
    !partsOf(document).every(isSettledPart) ||
    (document !== whole && !partsOf(document).every(isAttachable)) ||
    partsOf(whole).some(isBlank) ||
    document.diagnostics.some(({ code }) => code.startsWith("E_")) ||
    (document.verify !== undefined && !hasHeld(document.verify));
  return isIncomplete ? exitCodes.incomplete : exitCodes.known;
}

/** Checks a document against its schema, and prints what is chosen of it. @returns the exit code that this earns */
export async function print(
  document: unknown,
  { names, asked = [] }: Choice,
  style: Style,
): Promise<ExitCode> {
  const whole = v.parse(documentSchema, document);
  if (style.isSingle) return printValue(whole, names?.[0] ?? "");
  const bits = asked.flatMap(({ constant }) => bitConstants(constant));
  const checked = names === undefined ? whole : keepOnly(whole, names, bits);
  const { isWhole, write } = writers[style.format];
  if (!isWhole) {
    tellDiagnostics(checked.diagnostics);
    for (const doubt of doubts(checked)) log.warn(doubt);
    if (checked.verify !== undefined && !hasHeld(checked.verify))
      log.error("not every constant was proved: --format json or table tells which");
  }
  await writeStdout(write(checked, style));
  return exitCodeOf(checked, whole);
}

/** One bare number; where it is not certain, why, on stderr. */
async function printValue(document: Document, name: string): Promise<ExitCode> {
  const { value, why, isSettled } = singleOf(document, name);
  if (why !== null) log.warn(`${name}: ${why}`);
  if (value !== null) await writeStdout(`${value}\n`);
  return isSettled ? exitCodes.known : exitCodes.incomplete;
}

/** Checks a document of `detect` and prints it. @returns the exit code that it earns */
export async function printDetect(document: unknown, style: Style): Promise<ExitCode> {
  const checked = v.parse(detectDocumentSchema, document);
  await writeStdout(style.format === "json" ? toJson(checked) : toDetectTable(checked, style));
  const isFailed = checked.diagnostics.some(({ code }) => code.startsWith("E_"));
  return isFailed ? exitCodes.incomplete : exitCodes.known;
}

/** Tells diagnostics on stderr, where the result itself has no room for them: errors always, all others with --verbose. */
export function tellDiagnostics(diagnostics: readonly Diagnostic[]): void {
  for (const { code, message } of diagnostics) {
    const text = `${code} ${message}`;
    if (code.startsWith("E_")) log.error(text);
    else log.debug(text);
  }
}
