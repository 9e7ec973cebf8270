import { Failure } from "./output/failure.ts";
import { DONE, EXPIRED, RUNNING, type Watch } from "./watchdog.ts";

/**
 * Runs `act`, which may take so many milliseconds. When they have passed, the process ends there and then with exit
 * code 1 and E_DEADLINE on stderr, whatever system call this thread is blocked in: a second thread waits for that
 * (watchdog.ts). The kernel then takes back what the process held, as after SIGKILL.
 *
 * @param describe the failure as it stands on stderr
 * @throws Failure E_DEADLINE where `act` came back, but too late
 */
export async function withinDeadline<Result>(
  milliseconds: number,
  describe: (failure: Failure) => string,
  act: () => Promise<Result>,
): Promise<Result> {
  const late = new Failure("E_DEADLINE", `not done after ${milliseconds} ms; allow more with --deadline`);
  const state = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const watch: Watch = { state, milliseconds, complaint: describe(late), exit: late.exit };
  const watchdog = new Worker(new URL("./watchdog.ts", import.meta.url).href);
  watchdog.postMessage(watch);
  watchdog.unref();
  const started = performance.now();
  try {
    const result = await act();
    if (performance.now() - started > milliseconds) throw late;
    return result;
  } finally {
    // Only one of the two threads has the last word. Where it is the watchdog's, the process ends in this wait.
    if (Atomics.compareExchange(state, 0, RUNNING, DONE) === EXPIRED) Atomics.wait(state, 0, EXPIRED);
    Atomics.notify(state, 0);
  }
}
