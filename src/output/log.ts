import { createConsola } from "consola/core";
import { printable } from "./printable.ts";
import { writeStderr } from "./stderr.ts";

/** Messages for people, on stderr only: stdout carries the document and nothing else. One line each, whatever is in it. */
export const log = createConsola({
  level: 3,
  reporters: [{ log: ({ type, args }) => writeStderr(`[${type}] ${printable(args.join(" "))}\n`) }],
});

/** consola's levels: 0 errors, 3 information, 4 debug. */
export function setVerbosity({ quiet, verbose }: { quiet: boolean; verbose: boolean }): void {
  log.level = verbose ? 4 : quiet ? 0 : 3;
}
