import type { Diagnostic } from "../output/document.ts";
import type { Failure } from "../output/failure.ts";
import { progressColumns } from "../output/meter.ts";
import type { Patch, RankedPatch } from "../output/partial.ts";
import { eraseLine, writeStderr } from "../output/stderr.ts";
import { watchdog } from "../self/executable.ts";
import { follow, now } from "../self/whereabouts.ts";
import {
  DONE,
  EXPIRED,
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
  const state = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  const end = now() + milliseconds;
  const watch: Watch = {
    state,
    whereabouts: follow(end),
    columns: progressColumns(),
    milliseconds,
    end,
    format,
    printing,
  };
  const guard = new Worker(watchdog);
  guard.postMessage(watch);
  guard.unref();
  try {
    const result = await act((patch, rank = 0) => {
      if (printing !== null) guard.postMessage({ patch, rank } satisfies RankedPatch);
    });
    return now() > watch.end ? late(result, lateness(watch)) : result;
  } finally {
    // Only one of the two threads has the last word. Where it is the watchdog's, the process ends in this wait.
    if (Atomics.compareExchange(state, RUN, RUNNING, DONE) === EXPIRED) Atomics.wait(state, RUN, EXPIRED);
    // What is still on its way to the terminal is not waited for long: a person may have stopped that.
    Atomics.wait(state, LINE, WRITING, 1000);
    if (Atomics.load(state, LINE) === SHOWN) writeStderr(eraseLine);
  }
}

function refuse(_: unknown, late: Failure): never {
  throw late;
}

/** A document that was whole, but came a moment too late, with E_DEADLINE among its diagnostics. */
export const withLate = <Late extends { readonly diagnostics: readonly Diagnostic[] }>(
  document: Late,
  { code, message }: Failure,
): Late => ({ ...document, diagnostics: [...document.diagnostics, { code, message }] });
