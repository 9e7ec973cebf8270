import { printableJson } from "./printable.ts";

/** A document as JSON, indented for reading, with a newline at the end. */
export const toJson = (document: { readonly format_version: string }): string =>
  `${printableJson(JSON.stringify(document, null, 2))}\n`;

/** An object as JSON in one line, without its end. */
export const toJsonLine = (value: object): string => printableJson(JSON.stringify(value));
