import { createConsola } from "consola/basic";

/** Messages for people, on stderr only: stdout carries the document and nothing else. */
export const log = createConsola({ stdout: process.stderr, stderr: process.stderr, level: 3 });

/** consola's levels: 0 errors, 3 information, 4 debug. */
export function setVerbosity({ quiet, verbose }: { quiet: boolean; verbose: boolean }): void {
  log.level = verbose ? 4 : quiet ? 0 : 3;
}
