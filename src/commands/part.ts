import { type Failure, failureText } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { joined, type Patch } from "../output/partial.ts";
import { writeStderr } from "../output/stderr.ts";
import type { Printing } from "./deadline-state.ts";
import { type ExitCode, exitOf } from "./exit.ts";
import { print, printDetect } from "./print.ts";

/** Says on stderr why there is no document. @returns the exit code */
export function tellFailure(failure: Failure, format: string): ExitCode {
  writeStderr(`${failureText(failure, format)}\n`);
  return exitOf(failure);
}

/** Prints what is ready of a document at the deadline, with that among its diagnostics. @returns the exit code */
export async function printPart(ready: Patch, late: Failure, printing: Printing): Promise<ExitCode> {
  const { command, choice, style, verbosity } = printing;
  log.level = verbosity;
  const { code, message } = late;
  const document = joined(ready, { diagnostics: [{ code, message }] });
  try {
    return command === "detect" ? await printDetect(document, style) : await print(document, choice, style);
  } catch {
    // There is no document yet, since not even the host was looked at, or this format cannot show what there is.
    return tellFailure(late, style.isSingle ? "table" : style.format);
  }
}
