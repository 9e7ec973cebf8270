import type { Expectation, Facts, Observation, Range } from "../../../src/offsets/observation.ts";
import type { Unknown } from "../../../src/offsets/solver.ts";

/** Synthetic memory of one struct instance: random bytes with values planted in it. */
export class Memory {
  readonly bytes: Uint8Array;
  readonly #expected = new Map<string, Expectation>();
  #readable: Range[];

  constructor(size: number, fill: (at: number) => number) {
    this.bytes = Uint8Array.from({ length: size }, (_, at) => fill(at));
    this.#readable = [{ start: 0, end: size }];
  }

  /** Writes the value where the member truly is, and expects it of the constant. */
  member(constant: string, at: number, expectation: Expectation): this {
    this.#expected.set(constant, expectation);
    return this.plant(at, expectation);
  }

  /** Writes a value at another place too: a false positive. */
  plant(at: number, { value, mask }: Expectation): this {
    value.forEach((byte, index) => {
      const keep = ~(mask?.[index] ?? 0xff);
      this.bytes[at + index] = ((this.bytes[at + index] ?? 0) & keep) | (byte & ~keep);
    });
    return this;
  }

  /** Makes [start, end) a hole that could not be read. */
  hole(start: number, end: number): this {
    this.#readable = this.#readable.flatMap((range) =>
      [
        { start: range.start, end: Math.min(range.end, start) },
        { start: Math.max(range.start, end), end: range.end },
      ].filter((part) => part.start < part.end),
    );
    this.bytes.fill(0, start, end);
    return this;
  }

  observe(): Observation {
    return { bytes: this.bytes, readable: this.#readable, expected: this.#expected as Facts };
  }
}

/** An unsigned integer that is naturally aligned. */
export const integer = (constant: string, width: 1 | 2 | 4 | 8): Unknown => ({
  constant,
  shape: { width, align: width },
});

/** A struct in6_addr: 16 bytes, aligned as its u32 words are. */
export const address6 = (constant: string): Unknown => ({ constant, shape: { width: 16, align: 4 } });
