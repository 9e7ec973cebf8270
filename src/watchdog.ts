import { write } from "node:fs";
import { EXPIRED, LINE, RUN, RUNNING, SHOWN, type Watch, WRITING } from "./commands/deadline-state.ts";
import { assembled, type Patch, type RankedPatch } from "./output/partial.ts";
import { eraseLine, progressLine } from "./output/stderr.ts";
import { STDERR } from "./output/terminal.ts";
import { now, readWhereabouts, START } from "./self/whereabouts.ts";

/** Milliseconds that a run is at one thing before a line tells of it, and between two looks. */
const pause = { first: 2000, next: 500 };

/** Ends the process with all its threads when the time has passed; before that, what is ready is printed. */
async function expire(watch: Watch, ready: Patch): Promise<void> {
  if (Atomics.compareExchange(watch.state, RUN, RUNNING, EXPIRED) !== RUNNING) return;
  // Whatever comes of it, this is the end: the other thread waits for it.
  const { exitNow } = await import("../ffi/libc.ts");
  let exit = 1;
  try {
    // The line, or the other thread's meter, may stand there.
    if (watch.columns > 0 && Atomics.load(watch.state, LINE) !== WRITING) await erased();
    const { printed } = await import("./late.ts");
    exit = await printed(watch, ready);
  } finally {
    exitNow(exit);
  }
}

/** Takes the line away; where the terminal was stopped (^S) that is not waited for long. */
const erased = (): Promise<void> =>
  Promise.race([new Promise<void>((done) => write(STDERR, eraseLine, () => done())), Bun.sleep(pause.next)]);

/** Tells a person on a terminal what the run is at, where that takes long. A thread of the pool writes it, since a terminal may block. */
async function tell({ state, whereabouts, columns }: Watch): Promise<void> {
  const told = readWhereabouts(whereabouts);
  if (told === null || told.current.what === START || told.current.milliseconds < pause.first) return;
  const { printable } = await import("./output/printable.ts");
  const before = Atomics.load(state, LINE);
  if (before === WRITING) return;
  Atomics.store(state, LINE, WRITING);
  const { what, milliseconds } = told.current;
  const text = `${Math.floor(milliseconds / 1000)} s: ${printable(what)}`;
  const over = (line: number): void => {
    Atomics.store(state, LINE, line);
    Atomics.notify(state, LINE);
  };
  if (Atomics.load(state, RUN) === RUNNING) write(STDERR, progressLine(text, columns), () => over(SHOWN));
  else over(before);
}

declare const self: Worker;
self.onmessage = ({ data: watch }: MessageEvent<Watch>) => {
  const parts: RankedPatch[] = [];
  self.onmessage = ({ data }: MessageEvent<RankedPatch>) => {
    parts.push(data);
  };
  if (watch.columns > 0) setInterval(() => tell(watch), pause.next);
  setTimeout(() => expire(watch, assembled(parts)), Math.max(0, watch.end - now()));
};
