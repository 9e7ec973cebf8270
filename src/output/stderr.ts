import { writeSync } from "node:fs";
import { STDERR } from "./terminal.ts";

/** Back to the beginning of a terminal's line, and nothing is left of it: CR and EL (ECMA-48). */
export const eraseLine = "\r\x1b[K";

/** A line of progress in the place of the one before: printable text, cut to so many columns, of which wide characters take two. */
export function progressLine(text: string, columns: number): string {
  const [line = ""] = Bun.wrapAnsi(text, columns, { hard: true, wordWrap: false, trim: false }).split("\n");
  return eraseLine + line;
}

/** Writes on stderr as it is: the runtime's console would colour it on a terminal. One that is gone is no reason to fail. */
export function writeStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {}
}
