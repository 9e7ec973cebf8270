import * as v from "valibot";
import { name as program } from "../../package.json";
import { wellFormed } from "../elf/name.ts";
import { toJsonLine } from "./json.ts";
import { printable } from "./printable.ts";

/** Exit codes, the same for every command. */
export const exitCodes = { known: 0, failed: 1, usage: 2, incomplete: 3, impossible: 4 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each means. */
export const exitMeanings: Readonly<Record<ExitCode, string>> = {
  0: "All that was asked is known.",
  1: "Failed; where JSON was asked for, the error is one JSON object on standard error.",
  2: "Wrong usage.",
  3: "Incomplete: something is null, assumed or in conflict, or something was not reached in time, or a part needed a privilege that was missing.",
  4: "Not possible on this host.",
};

/** A run that ends without a document: what went wrong and what to do, in one line. */
export class Failure extends Error {
  override readonly name = "Failure";

  constructor(
    /** Names the kind of failure for programs, e.g. `E_USAGE`. */
    readonly code: `E_${string}`,
    message: string,
    readonly exit: Exclude<ExitCode, 0 | 3> = exitCodes.failed,
  ) {
    super(wellFormed(message));
  }
}

/** A failure as a JSON object on stderr. */
export const failureSchema = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^E_[A-Z0-9_]+$/)),
  message: v.string(),
});

const DEFECT = "this is a defect: report it with what --verbose shows";
const isDefect = (thrown: unknown): boolean =>
  [TypeError, RangeError, ReferenceError].some((kind) => thrown instanceof kind);

/** As the runtime throws it. Where it cannot even throw, the launcher has the same words (assets/build/launcher/guard.c). */
const isOutOfMemory = (thrown: unknown): boolean =>
  thrown instanceof RangeError && thrown.message === "Out of memory";
const OUT_OF_MEMORY = "memory ran out (ulimit -v, systemd's LimitAS, vm.overcommit_memory=2): allow 600 MB";

/** Any thrown value as a failure; what is not one already is a plain `E_FAILED`. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown;
  if (isOutOfMemory(thrown)) return new Failure("E_NO_MEMORY", OUT_OF_MEMORY, exitCodes.impossible);
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const failure = new Failure("E_FAILED", isDefect(thrown) ? `${message}; ${DEFECT}` : message);
  failure.cause = thrown;
  return failure;
}

/** Where the cause of a failure was thrown, for --verbose: the runtime's lines below the message, which is told already. */
export function stackText(failure: Failure): string {
  const { name, message, stack = "" } = failure.cause instanceof Error ? failure.cause : failure;
  const frames = stack
    .slice(Math.max(0, stack.indexOf(message)) + message.length)
    .split("\n")
    .slice(1);
  return [`${name}: ${message}`, ...frames].map(printable).join("\n");
}

/** A failure as it stands on stderr: one JSON object where the result would have been JSON, else one line. */
export const failureText = ({ code, message }: Failure, format: string): string =>
  format === "json" ? toJsonLine({ code, message }) : `${program}: ${printable(message)}`;
