import { LogLevels } from "consola/core";
import { log } from "./log.ts";
import { eraseLine, progressLine, writeStderr } from "./stderr.ts";
import { isTerminal, STDERR } from "./terminal.ts";

/** Milliseconds before the first line, so that a quick run shows none, and between two. */
const pause = { first: 300, next: 100 };
/**
 * Columns that a line of progress may have: on a terminal alone, and neither under --quiet nor beside the messages of --verbose; else 0.
 * One fewer than there are, since a line that reaches the end of its row cannot be taken back everywhere.
 */
export const progressColumns = (): number =>
  log.level === LogLevels.info && isTerminal(STDERR) ? (process.stderr.columns || 80) - 1 : 0;

/** One line on stderr that tells how far a long task is: where {@link progressColumns} allow it, gone when it is done. */
export class Meter {
  readonly #columns = progressColumns();
  #next = performance.now() + pause.first;
  #isShown = false;

  /** @param total undefined where it is not known before the end */
  show(what: string, done: number, total?: number): void {
    if (this.#columns === 0 || performance.now() < this.#next) return;
    this.#next = performance.now() + pause.next;
    const amount = total === undefined ? done : `${done} of ${total}`;
    writeStderr(progressLine(`${amount} ${what}`, this.#columns));
    this.#isShown = true;
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#isShown) writeStderr(eraseLine);
    this.#isShown = false;
  }
}
