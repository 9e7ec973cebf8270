import { wellFormed } from "../input/name.ts";

/** What a terminal obeys instead of showing it, or shows as nothing: control and format characters, and ends of lines. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu;

/**
 * Text that a terminal shows as it is, in one line: characters that paths, version strings and names may carry to move the
 * cursor, recolour the screen, turn the order of letters or begin a line become `\x1b` and the like, and a byte of a name that
 * is not of UTF-8 `\xff`. What goes to a person passes through here at the rim: the log, failures, tables, comments.
 */
export const printable = (text: string): string =>
  wellFormed(text).replace(unprintable, (char) => `\\x${char.codePointAt(0)?.toString(16).padStart(2, "0")}`);

/** The same characters but the end of a line: those in JSON are its own layout, since in its strings they are escaped already. */
const unprintableInJson = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu;

/** The same for JSON, with its own escapes: a program that reads it gets the text as it was. */
export const printableJson = (json: string): string => json.replace(unprintableInJson, escapes);

const escapes = (char: string): string =>
  Array.from(
    { length: char.length },
    (_, at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, "0")}`,
  ).join("");
