import type { Evidence } from "../../offsets/evidence.ts";

/** Bytes. No member lies further from the start of its struct; the tables refuse larger offsets too. */
const farthestMember = 65_535;
/** A single witness is wrong now and then: an offset is told where so many different ones agree and none contradicts. */
const enough = 2;

/**
 * What was seen of each constant, and where. A witness is a place in the code with a meaning of its own: the same thing seen twice in
 * one function is one. A table in the file's data is enough by itself, because it is what the library itself goes by.
 */
export class Witnesses {
  readonly #most: number;
  readonly #said = new Map<string, Map<number, Set<string>>>();
  readonly #tables = new Set<string>();

  /** @param most the highest number that can be meant */
  constructor(most = farthestMember) {
    this.#most = most;
  }

  /** @param witness names the function and what is seen there */
  say(constant: string, offset: number, witness: string): void {
    if (!Number.isInteger(offset) || offset < 0 || offset > this.#most) return;
    const offsets = this.#said.get(constant) ?? new Map<number, Set<string>>();
    this.#said.set(constant, offsets.set(offset, (offsets.get(offset) ?? new Set()).add(witness)));
  }

  /** What a table in data tells. */
  table(constant: string, offset: number, witness: string): void {
    this.say(constant, offset, witness);
    this.#tables.add(constant);
  }

  /** The one offset in bytes that is told of a constant; null where there are several, or where one alone says so. */
  known(constant: string): number | null {
    const [only, ...others] = this.#said.get(constant) ?? [];
    if (only === undefined || others.length > 0) return null;
    const [offset, witnesses] = only;
    return witnesses.size >= enough || this.#tables.has(constant) ? offset : null;
  }

  /** The one offset in bytes that was seen, however often; for what other recipes start from. */
  seen(constant: string): number | null {
    const [only, ...others] = this.#said.get(constant)?.keys() ?? [];
    return only === undefined || others.length > 0 ? null : only;
  }

  /** The evidence of each constant of which anything was seen. */
  evidence(): readonly Evidence[] {
    return [...this.#said.keys()].map((constant) => {
      const offset = this.known(constant);
      if (offset !== null) return { source: "references", constant, candidates: [offset] };
      return { source: "references", constant, candidates: [], reason: this.#doubt(constant) };
    });
  }

  #doubt(constant: string): string {
    const said = [...(this.#said.get(constant) ?? [])].map(
      ([offset, witnesses]) => `${offset} (${[...witnesses].slice(0, enough).join(", ")})`,
    );
    return said.length > 1
      ? `places in its code differ: ${said.slice(0, 4).join(" and ")}`
      : `one place in its code alone says ${said.join()}`;
  }
}
