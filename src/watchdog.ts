/** What `state` holds: the run goes on, came to its end, or ran out of time. */
export const RUNNING = 0;
export const DONE = 1;
export const EXPIRED = 2;

/** What the watchdog is told; `state` is shared memory. */
export interface Watch {
  readonly state: Int32Array<SharedArrayBuffer>;
  readonly milliseconds: number;
  /** What to write on stderr before the end. */
  readonly complaint: string;
  readonly exit: number;
}

/** Waits for the end of the run or of the time. It sleeps in the kernel meanwhile. */
async function guard({ state, milliseconds, complaint, exit }: Watch): Promise<void> {
  if (Atomics.wait(state, 0, RUNNING, milliseconds) !== "timed-out") return;
  if (Atomics.compareExchange(state, 0, RUNNING, EXPIRED) !== RUNNING) return;
  const { endProcess } = await import("../ffi/libc.ts");
  endProcess(exit, complaint);
}

declare const self: Worker;
// This file is imported for its words too; as a thread of its own it guards.
if (!Bun.isMainThread) self.onmessage = ({ data }: MessageEvent<Watch>) => guard(data);
