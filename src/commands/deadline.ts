import { watchNatively } from "../../ffi/launcher-thread.ts";
import type { Failure } from "../output/failure.ts";
import { progressColumns } from "../output/meter.ts";
import type { Patch, RankedPatch } from "../output/partial.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { eraseLine, writeStderr } from "../output/stderr.ts";
import { watchdog } from "../self/executable.ts";
import { follow, now } from "../self/whereabouts.ts";
import {
  DONE,
  EXPIRED,
  type Late,
  LINE,
  type Printing,
  RUN,
  RUNNING,
  SHOWN,
  type Watch,
  WRITING,
} from "./deadline-state.ts";
import { lateness } from "./lateness.ts";

/** Hands on what is ready of the document. @param rank where it stands, whenever it comes; default 0, as it came */
export type Tell = (ready: Patch, rank?: number) => void;

export interface Deadline<Result> {
  readonly milliseconds: number;
  /** How a failure is told. */
  readonly format: string;
  /** How what is known by the deadline is printed, exit 3. Default: it is of no use, and the run failed. */
  readonly printing?: Printing | null;
  /** What becomes of a result that came too late by a moment. Default: it is not taken. @throws Failure */
  readonly late?: (result: Result, late: Failure) => Result;
}

/**
 * Runs `act`, which may take so many milliseconds. When they have passed, the process ends there and then, whatever system
 * call this thread is blocked in: a second thread waits for that (watchdog.ts). It prints what `act` told that is ready,
 * with E_DEADLINE among its diagnostics and exit code 3, or where nothing is to be printed ends with exit code 1 and
 * E_DEADLINE on stderr. The kernel then takes back what the process held, as after SIGKILL.
 *
 * @throws Failure E_DEADLINE where `act` came back, but too late
 */
export async function withinDeadline<Result>(
  { milliseconds, format, printing = null, late = refuse }: Deadline<Result>,
  act: (tell: Tell) => Promise<Result>,
): Promise<Result> {
  const end = now() + milliseconds;
  const whereabouts = follow(end);
  const watch = { whereabouts, columns: progressColumns(), milliseconds, end, format, printing };
  const { state, tell } = watchOf(watch);
  try {
    const result = await act((patch, rank = 0) => {
      if (printing !== null) tell({ patch, rank });
    });
    return now() > end ? late(result, lateness({ milliseconds, whereabouts })) : result;
  } finally {
    // Only one of the two threads has the last word. Where it is the watchdog's, the process ends in this wait.
    if (Atomics.compareExchange(state, RUN, RUNNING, DONE) === EXPIRED) Atomics.wait(state, RUN, EXPIRED);
    // What is still on its way to the terminal is not waited for long: a person may have stopped that.
    Atomics.wait(state, LINE, WRITING, 1000);
    if (Atomics.load(state, LINE) === SHOWN) writeStderr(eraseLine);
  }
}

/**
 * Has another thread watch the time. One of the launcher's starts this program anew at the deadline; one of this runtime's also tells
 * a person on a terminal what takes long, and does where there is no launcher.
 */
function watchOf(watch: Omit<Watch, "state">): {
  readonly state: Watch["state"];
  readonly tell: (part: RankedPatch) => void;
} {
  const { whereabouts, columns, ...late } = watch;
  const native = columns === 0 ? watchNatively(late.milliseconds, whereabouts) : null;
  if (native !== null) {
    native.tell(JSON.stringify(late satisfies Late));
    return { state: native.state, tell: (part) => native.tell(JSON.stringify(part)) };
  }
  const state = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  const guard = new Worker(watchdog);
  guard.postMessage({ ...watch, state } satisfies Watch);
  guard.unref();
  return { state, tell: (part) => guard.postMessage(part) };
}

function refuse(_: unknown, late: Failure): never {
  throw late;
}

/** A document that was whole, but came a moment too late, with E_DEADLINE among its diagnostics. */
export const withLate = <Late extends { readonly diagnostics: readonly Diagnostic[] }>(
  document: Late,
  { code, message }: Failure,
): Late => ({ ...document, diagnostics: [...document.diagnostics, { code, message }] });
