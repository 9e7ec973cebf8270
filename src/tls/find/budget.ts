import { now } from "../../self/whereabouts.ts";

/** Milliseconds that all of one kind may take together, so that however much of it there is the rest is not kept waiting. */
export class Budget {
  #left: number;

  constructor(milliseconds: number) {
    this.#left = milliseconds;
  }

  get isSpent(): boolean {
    return this.#left <= 0;
  }

  /** Does something, which is done to its end. */
  spend<Result>(act: () => Result): Result {
    const start = now();
    try {
      return act();
    } finally {
      this.#left -= now() - start;
    }
  }
}
