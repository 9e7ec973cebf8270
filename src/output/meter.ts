import { LogLevels } from "consola/core";
import { log } from "./log.ts";
import { writeStderr } from "./stderr.ts";
import { isTerminal, STDERR } from "./terminal.ts";

/** Milliseconds before the first line, so that a quick run shows none, and between two. */
const pause = { first: 300, next: 100 };
const eraseLine = "\r\x1b[K";

/** One line on stderr that tells how far a long task is: on a terminal only, not under --quiet, gone when it is done. */
export class Meter {
  readonly #isWanted = isTerminal(STDERR) && log.level >= LogLevels.info;
  #next = performance.now() + pause.first;
  #isShown = false;

  /** @param total undefined where it is not known before the end */
  show(what: string, done: number, total?: number): void {
    if (!this.#isWanted || performance.now() < this.#next) return;
    this.#next = performance.now() + pause.next;
    const amount = total === undefined ? done : `${done} of ${total}`;
    writeStderr(`${eraseLine}${amount} ${what}`);
    this.#isShown = true;
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#isShown) writeStderr(eraseLine);
    this.#isShown = false;
  }
}
