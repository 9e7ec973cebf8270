import * as v from "valibot";
import { isCertain } from "../offsets/reconcile.ts";
import { type Document, documentSchema } from "../output/document.ts";
import { type ExitCode, exitCodes } from "../output/failure.ts";
import { toJson } from "../output/json.ts";
import { writeStdout } from "../output/stdout.ts";
import { toTable } from "../output/table.ts";
import type { formats } from "./flags.ts";

export type Format = (typeof formats)[number];

/** The format asked for, or the one that suits what stdout is. */
export const formatFor = (asked: Format | undefined): Format =>
  asked ?? (process.stdout.isTTY ? "table" : "json");

/** Colours are for terminals that can show them and people who did not refuse them (no-color.org). */
export const wantsColour = (): boolean =>
  process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";

/** 3 as soon as one constant is not certain or a part could not be done, else 0. */
export function exitCodeOf(document: Document): ExitCode {
  const parts = [document.kernel, ...(document.tls ?? [])];
  const isIncomplete =
    parts.some((part) => !Object.values(part?.fields ?? {}).every(isCertain)) ||
    document.diagnostics.some(({ code }) => code.startsWith("E_"));
  return isIncomplete ? exitCodes.incomplete : exitCodes.known;
}

/** Checks a document against its schema, prints it and sets the exit code it earns. */
export async function print(document: Document, asked: Format | undefined): Promise<void> {
  const checked = v.parse(documentSchema, document);
  const text = formatFor(asked) === "json" ? toJson(checked) : toTable(checked, { colour: wantsColour() });
  await writeStdout(text);
  process.exitCode = exitCodeOf(checked);
}
