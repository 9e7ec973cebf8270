import type { OwnMemory } from "../../../ffi/memory.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import type { Shape } from "../../offsets/field.ts";
import { crop, type Expectation, type Observation } from "../../offsets/observation.ts";
import { placesOf, type Relation, type Solution, solve } from "../../offsets/solver.ts";
import { pointer } from "../../offsets/values.ts";
import { whyNot } from "./attempts.ts";

/** Members of one struct, by name, with how they lie in memory. */
export type Members = Readonly<Record<string, Shape>>;

type Told = Expectation | undefined;

/** What is known of an instance: by the name of a member the value that it holds, or a function that asks the library for it. */
export type KnownMembers = Readonly<Record<string, Told | (() => Told)>>;

/** Everything seen of the instances of one struct. */
export class Notes {
  readonly #members: Members;
  readonly #relations: readonly Relation[];
  readonly #observations: Observation[] = [];
  /** By the name of a member, the reason why the library could not tell its value. */
  readonly #missing = new Map<string, string>();
  #solutions: ReadonlyMap<string, Solution> | undefined;

  constructor(members: Members, relations: readonly Relation[] = []) {
    this.#members = members;
    this.#relations = relations;
  }

  /** Adds an instance. What is not known of it, or cannot be asked for, stays out. */
  add(bytes: Uint8Array, known: KnownMembers): void {
    const expected = new Map<string, Expectation>();
    for (const [member, told] of Object.entries(known)) {
      const reason = whyNot(() => {
        const expectation = typeof told === "function" ? told() : told;
        if (expectation !== undefined) expected.set(member, expectation);
      });
      if (reason !== null) this.#missing.set(member, reason);
    }
    this.#solutions = undefined;
    this.#observations.push({ bytes, readable: [{ start: 0, end: bytes.length }], expected });
  }

  /** What the instances leave of each member, in the members' order. */
  solve(): ReadonlyMap<string, Solution> {
    this.#solutions ??= this.#solve();
    return this.#solutions;
  }

  #solve(): ReadonlyMap<string, Solution> {
    const unknowns = Object.entries(this.#members).map(([constant, shape]) => ({ constant, shape }));
    // The struct is no longer than its shortest instance; what an allocator gave beyond that tells nothing.
    const seen = this.#observations.filter(({ bytes }) => bytes.length > 0);
    const size = Math.min(...seen.map(({ bytes }) => bytes.length));
    const solutions = solve(
      unknowns,
      this.#relations,
      seen.map((one) => crop(one, size)),
    );
    for (const [member, reason] of this.#missing)
      if (solutions.get(member)?.is === "open") solutions.set(member, { is: "open", reason });
    return solutions;
  }
}

/** What was found of one constant. */
export type Finding = Pick<Evidence, "constant" | "candidates" | "absent" | "reason">;

/** A measurement of a library, which can be made again with new values. */
export interface Probe {
  /** Does everything once, with new values. */
  observe(): void;
  /** Whether nothing is ambiguous any more. */
  isSolved(): boolean;
  findings(): readonly Finding[];
}

/** What a probe finds, which does everything again while something is ambiguous. @param most rounds */
export function roundsOf(probe: Probe, most: number): readonly Finding[] {
  for (let round = 0; round < most; round++) {
    probe.observe();
    if (probe.isSolved()) break;
  }
  return probe.findings();
}

/** What a solution says of a constant. */
export const findingOf = (constant: string, solution: Solution | undefined): Finding =>
  solution === undefined || solution.is === "open"
    ? { constant, candidates: [], reason: solution?.reason ?? "never observed" }
    : oneOf(constant, placesOf(solution));

/** What the notes of a struct say, where their members are named as the constants are. */
export const findingsOf = (notes: Notes): readonly Finding[] =>
  [...notes.solve()].map(([constant, solution]) => findingOf(constant, solution));

/** The finding of a constant of which these places are left. */
export function oneOf(constant: string, candidates: readonly number[]): Finding {
  const distinct = [...new Set(candidates)];
  if (distinct.length === 1) return { constant, candidates: distinct };
  const reason =
    distinct.length === 0 ? "no place holds what is expected" : "several places hold what is expected";
  return { constant, candidates: distinct, reason };
}

export const pointerShape: Shape = { width: 8, align: 8 };
/** int, and BoringSSL's uint32_t. */
export const intShape: Shape = { width: 4, align: 4 };
/** An array of bytes; it may hold more. */
export const bytesShape = (width: number): Shape => ({ width, align: 1 });

/** An address as a pointer member holds it; null is NULL. */
export const address = (value: { readonly address: number } | number | null): Expectation =>
  pointer(BigInt(typeof value === "number" ? value : (value?.address ?? 0)));

/** The expectation that a member holds these bytes; undefined where they are not known. */
export const rawOf = (value: Uint8Array | null | undefined): Expectation | undefined =>
  value ? { value } : undefined;

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  new DataView(buffer, byteOffset, byteLength);

/** The pointer or size_t at `at`, as a number; user space has none beyond 2^53. */
export function wordAt(bytes: Uint8Array, at: number): number {
  const view = viewOf(bytes);
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** The number that the int at `at` is. */
export const intAt = (bytes: Uint8Array, at: number): number => viewOf(bytes).getInt32(at, true);

/** The aligned places of `width` bytes that lie in every instance; none where there is no instance. */
export function placesIn(instances: readonly Uint8Array[], width: number): readonly number[] {
  const size = instances.length === 0 ? 0 : Math.min(...instances.map(({ length }) => length));
  return Array.from({ length: Math.floor(size / width) }, (_, index) => index * width);
}

/** A pointer member of one struct, and a member of the struct behind it. */
export interface Chain {
  readonly first: number;
  readonly second: number;
}

/** Bytes of a struct behind a pointer that are looked at. */
const LARGEST_TARGET = 16 << 10;

/**
 * Finds a struct that no function tells: the pointer members that lead, in every instance, to a block with the value
 * expected of that instance, at one and the same place. Where a block holds it at several, each is a chain.
 *
 * @param sizeAt bytes of the allocator's block that begins at an address; 0 where none does
 */
export function chainsTo(
  instances: readonly { readonly bytes: Uint8Array; readonly value: Uint8Array }[],
  memory: OwnMemory,
  sizeAt: (address: number) => number,
): readonly Chain[] {
  const member = "value";
  const chains: Chain[] = [];
  const structs = instances.map(({ bytes }) => bytes);
  for (const first of placesIn(structs, 8)) {
    const targets: Uint8Array[] = [];
    for (const { bytes, value } of instances) {
      const at = wordAt(bytes, first);
      const length = at % 8 === 0 && memory.readable(at - 8) > 8 ? Math.min(sizeAt(at), LARGEST_TARGET) : 0;
      const target = length === 0 ? new Uint8Array() : memory.copy(at, length);
      // Most words are no pointers, and most pointers lead elsewhere: one instance tells that of all.
      if (target.length === 0 || !Buffer.from(target.buffer).includes(value)) break;
      targets.push(target);
    }
    if (targets.length < instances.length) continue;
    const notes = new Notes({ [member]: bytesShape(instances[0]?.value.length ?? 0) });
    for (const [index, target] of targets.entries()) {
      const { value } = instances[index] ?? {};
      if (value !== undefined) notes.add(target, { [member]: { value } });
    }
    for (const second of placesOf(notes.solve().get(member))) chains.push({ first, second });
  }
  return chains;
}
