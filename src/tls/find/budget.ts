import { now } from "../../self/whereabouts.ts";

/** A time limit, in milliseconds, that all things of one kind share: however many there are, the rest does not wait longer for them. */
export class Budget {
  #left: number;

  constructor(milliseconds: number) {
    this.#left = milliseconds;
  }

  get isSpent(): boolean {
    return this.#left <= 0;
  }

  /** Runs `act` to its end, even where the limit is reached meanwhile, and takes the time that it took from what is left. */
  spend<Result>(act: () => Result): Result {
    const start = now();
    try {
      return act();
    } finally {
      this.#left -= now() - start;
    }
  }
}
