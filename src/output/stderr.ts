import { writeSync } from "node:fs";
import { STDERR } from "./terminal.ts";

/** Writes on stderr as it is: the runtime's console would colour it on a terminal. One that is gone is no reason to fail. */
export function writeStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {}
}
