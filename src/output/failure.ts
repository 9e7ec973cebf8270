import * as v from "valibot";
import { name as program } from "../../package.json";
import { wellFormed } from "../input/name.ts";
import { toJsonLine } from "./json.ts";
import { printable } from "./printable.ts";

/** Why a run ends without a document: something failed, it was called wrongly, or this host cannot do what was asked. */
export const failureKinds = ["failed", "usage", "impossible"] as const;
export type FailureKind = (typeof failureKinds)[number];

/** A run that ends without a document: what went wrong and what to do, in one line. */
export class Failure extends Error {
  override readonly name = "Failure";

  constructor(
    /** Names the kind of failure for programs, e.g. `E_USAGE`. */
    readonly code: `E_${string}`,
    message: string,
    readonly kind: FailureKind = "failed",
  ) {
    super(wellFormed(message));
  }
}

/** Wrong usage. */
export const usage = (message: string): Failure => new Failure("E_USAGE", message, "usage");

/** A failure as a JSON object on stderr. */
export const failureSchema = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^E_[A-Z0-9_]+$/)),
  message: v.string(),
});

const DEFECT = "this is a defect: report it with what --verbose shows";
const isDefect = (thrown: unknown): boolean =>
  [TypeError, RangeError, ReferenceError].some((kind) => thrown instanceof kind);

/** What the runtime throws where there is no more of something. Where it cannot even throw, the launcher says the same (guard.c). */
const exhausted = [
  {
    thrown: /^Out of memory$/,
    code: "E_NO_MEMORY",
    message: "memory ran out (ulimit -v, systemd's LimitAS, vm.overcommit_memory=2): allow 1 GB",
  },
  {
    thrown: /^(?:Failed to spawn worker thread|pthread_create: (?:EAGAIN|EWOULDBLOCK))/,
    code: "E_NO_TASK",
    message:
      "no thread can be started (ulimit -u, pids.max of the cgroup, systemd's TasksMax): allow 32 more",
  },
] as const;

/** Any thrown value as a failure; what is not one already is a plain `E_FAILED`. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const ended = exhausted.find((one) => one.thrown.test(message));
  if (ended !== undefined) return new Failure(ended.code, ended.message, "impossible");
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
