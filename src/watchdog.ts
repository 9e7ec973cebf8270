import { write } from "node:fs";
import type { Choice } from "./commands/choice.ts";
import type { Style } from "./commands/print.ts";
import { assembled, type Part, type Patch } from "./output/partial.ts";
import { eraseLine, writeStderr } from "./output/stderr.ts";
import { now, readWhereabouts, START, type Whereabouts } from "./whereabouts.ts";

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

/** Milliseconds that a run is at one thing before a line tells of it, and between two looks. */
const pause = { first: 2000, next: 500 };

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

/** What the printing of a document takes beside it. */
export interface Printing {
  readonly command: "document" | "detect";
  readonly choice: Choice;
  readonly style: Style;
  /** consola's level. */
  readonly verbosity: number;
}

/** Ends the process with all its threads when the time has passed; before that, what is ready is printed. */
async function expire(watch: Watch, ready: Patch): Promise<void> {
  if (Atomics.compareExchange(watch.state, RUN, RUNNING, EXPIRED) !== RUNNING) return;
  // Whatever comes of it, this is the end: the other thread waits for it.
  const { exitNow } = await import("../ffi/libc.ts");
  // The line, or the other thread's meter, may stand there.
  if (watch.columns > 0 && Atomics.load(watch.state, LINE) !== WRITING) writeStderr(eraseLine);
  let exit = 1;
  try {
    exit = await printed(watch, ready);
  } finally {
    exitNow(exit);
  }
}

/** @returns the exit code */
async function printed({ printing, format, ...watch }: Watch, ready: Patch): Promise<number> {
  const [{ lateness }, { printPart, tellFailure }] = await Promise.all([
    import("./deadline.ts"),
    import("./commands/part.ts"),
  ]);
  const late = lateness(watch);
  return printing === null ? tellFailure(late, format) : printPart(ready, late, printing);
}

/** Tells a person on a terminal what the run is at, where that takes long. A thread of the pool writes it, since a terminal may block. */
async function tell({ state, whereabouts, columns }: Watch): Promise<void> {
  const told = readWhereabouts(whereabouts);
  if (told === null || told.current.what === START || told.current.milliseconds < pause.first) return;
  const { printable } = await import("./output/printable.ts");
  const before = Atomics.load(state, LINE);
  if (before === WRITING) return;
  Atomics.store(state, LINE, WRITING);
  const { what, milliseconds } = told.current;
  const time = `, ${Math.floor(milliseconds / 1000)} s`;
  const text = printable(what).slice(0, Math.max(0, columns - time.length)) + time;
  const over = (line: number): void => {
    Atomics.store(state, LINE, line);
    Atomics.notify(state, LINE);
  };
  if (Atomics.load(state, RUN) === RUNNING)
    write(process.stderr.fd, `${eraseLine}${text}`, () => over(SHOWN));
  else over(before);
}

declare const self: Worker;
// The main thread imports this file for its constants and types; started as a worker it is the thread that watches.
if (!Bun.isMainThread)
  self.onmessage = ({ data: watch }: MessageEvent<Watch>) => {
    const parts: Part[] = [];
    self.onmessage = ({ data }: MessageEvent<Part>) => {
      parts.push(data);
    };
    if (watch.columns > 0) setInterval(() => tell(watch), pause.next);
    setTimeout(() => expire(watch, assembled(parts)), Math.max(0, watch.end - now()));
  };
