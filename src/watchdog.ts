import type { Choice } from "./commands/choice.ts";
import type { Style } from "./commands/print.ts";
import { assembled, type Part, type Patch } from "./output/partial.ts";
import { now, type Whereabouts } from "./whereabouts.ts";

/** What `state` holds: the run goes on, came to its end, or ran out of time. */
export const RUNNING = 0;
export const DONE = 1;
export const EXPIRED = 2;

/** What the watchdog is told at the start; `state` and `whereabouts` are shared memory. What is ready follows. */
export interface Watch {
  readonly state: Int32Array<SharedArrayBuffer>;
  readonly whereabouts: Whereabouts;
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
  if (Atomics.compareExchange(watch.state, 0, RUNNING, EXPIRED) !== RUNNING) return;
  // Whatever comes of it, this is the end: the other thread waits for it.
  const { exitNow } = await import("../ffi/libc.ts");
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

declare const self: Worker;
// This file is imported for its words too; as a thread of its own it guards.
if (!Bun.isMainThread)
  self.onmessage = ({ data: watch }: MessageEvent<Watch>) => {
    const parts: Part[] = [];
    self.onmessage = ({ data }: MessageEvent<Part>) => {
      parts.push(data);
    };
    setTimeout(() => expire(watch, assembled(parts)), Math.max(0, watch.end - now()));
  };
