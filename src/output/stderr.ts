import { writeSync } from "node:fs";

/** Writes on stderr as it is: the runtime's console would colour it on a terminal. One that is gone is no reason to fail. */
export function writeStderr(text: string): void {
  try {
    writeSync(process.stderr.fd, text);
  } catch {}
}
