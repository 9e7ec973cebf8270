import { writeSync } from "node:fs";
import { STDERR } from "./terminal.ts";

/** Back to the beginning of a terminal's line, and nothing is left of it: CR and EL (ECMA-48). */
export const eraseLine = "\r\x1b[K";

/** Writes on stderr as it is: the runtime's console would colour it on a terminal. One that is gone is no reason to fail. */
export function writeStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {}
}
