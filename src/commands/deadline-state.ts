import type { Whereabouts } from "../self/whereabouts.ts";
import type { Choice } from "./choice.ts";
import type { Style } from "./print.ts";

/** The words of `state`: how the run stands, and whether the line that tells what it is at stands on the terminal. */
export const RUN = 0;
export const LINE = 1;

/** How the run stands: it goes on, came to its end, or ran out of time. */
export const RUNNING = 0;
export const DONE = 1;
export const EXPIRED = 2;

/** The line: it was never there, is being written at this moment, or was. */
export const WRITING = 1;
export const SHOWN = 2;

/** What the watchdog is told at the start; `state` and `whereabouts` are shared memory. What is ready follows. */
export interface Watch {
  readonly state: Int32Array<SharedArrayBuffer>;
  readonly whereabouts: Whereabouts;
  /** Columns of the line that tells a person what takes long; 0: none is written. */
  readonly columns: number;
  readonly milliseconds: number;
  /** When they have passed, by the clock of whereabouts.ts. */
  readonly end: number;
  /** How a failure is told. */
  readonly format: string;
  /** How what is ready by then is printed; null: a part is of no use. */
  readonly printing: Printing | null;
}

/** What a process is told that prints what another one knew; lines of JSON with what is ready follow. */
export type Late = Pick<Watch, "milliseconds" | "end" | "format" | "printing">;

/** What the printing of a document takes beside it. */
export interface Printing {
  readonly command: "document" | "detect";
  readonly choice: Choice;
  readonly style: Style;
  /** The level of the log: 0 errors, 3 information, 4 debug. */
  readonly verbosity: number;
}
