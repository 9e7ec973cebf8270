import type { Expectation } from "../../offsets/observation.ts";
import type { Relation } from "../../offsets/solver.ts";
import { once } from "../../self/once.ts";
import type { CType } from "../synthetic/ctype.ts";

/** A version of Linux: major, minor. */
export type Version = readonly [major: number, minor: number];

/** What is known of a member of one instance: what it holds, or what it leads to. */
export type Row<Facts> = {
  readonly type: CType;
  /** It is told elsewhere, as a constant or as part of a struct. Here it only leads further, and tells other members apart. */
  readonly isNamed?: true;
  /** Its offset in bytes, where no kernel may have another, as of the text that a name leads to. */
  readonly fixed?: number;
  /** Bytes that every kernel aligns it by at least, where kernels differ. Default: what its type needs. */
  readonly align?: number;
  /** The first kernels that have it, and the first that have it no more. */
  readonly since?: Version;
  readonly until?: Version;
} & (
  | { readonly holds: (facts: Partial<Facts>) => Expectation | undefined }
  /** A pointer: the thing that it leads to; null where it is NULL, undefined where that is not known. */
  | {
      readonly leads: (facts: Partial<Facts>) => Thing | null | undefined;
      /** What it holds where it leads to nothing that is known. */
      readonly holds?: (facts: Partial<Facts>) => Expectation | undefined;
    }
);

/** A struct of the kernel, by what is known of its members. */
export interface Struct {
  readonly name: string;
  /** No kernel's struct is longer, in bytes. */
  readonly limit: number;
  /** So many bytes before it are looked at as well, a multiple of 8: of what it lies in. Members count from there. */
  readonly before?: number;
  readonly members: ReadonlyMap<
    string,
    Omit<Row<never>, "holds" | "leads"> & { readonly isPointer: boolean }
  >;
  /** The members that a pointer to this struct is known by. */
  readonly keys: readonly string[];
  readonly relations: readonly Relation[];
  /** Members in the order of their declaration, the same in every kernel that does not shuffle the struct's members. */
  readonly order: readonly string[];
  /** Members of `order` that are declared in one line: each begins where the one before it ends. */
  readonly together: readonly string[];
}

/** One instance of a struct, at rest, and what is known of it. */
export interface Thing {
  readonly struct: Struct;
  /** What each member that holds a value has to hold. */
  expected(): ReadonlyMap<string, Expectation>;
  /** The same, as it is known now: a value that moved since `expected` tells nothing. */
  expectedNow(): ReadonlyMap<string, Expectation>;
  /** What each pointer leads to; null: it is NULL. */
  leads(): ReadonlyMap<string, Thing | null>;
  /** Other structs that begin where this one does, as a tcp_sock with its sock. */
  readonly parts: readonly Thing[];
  /** The struct that it lies within, in every instance at the same offset. */
  readonly whole?: Thing;
}

export interface KnownStruct<Facts> extends Struct {
  /**
   * A thing of which these facts are known. Facts may be added to the object until `expected` is called for the first time.
   * @param more `again` tells the same facts as they are now, and is left out where they never move
   */
  readonly of: (
    facts: Partial<Facts>,
    more?: Partial<Pick<Thing, "parts" | "whole">> & { readonly again?: () => Partial<Facts> },
  ) => Thing;
}

/** Declares a struct: a row a member. */
export function struct<Facts>(
  name: string,
  limit: number,
  keys: readonly string[],
  rows: Readonly<Record<string, Row<Facts>>>,
  {
    relations = [],
    order = [],
    together = [],
    before = 0,
  }: Partial<Pick<Struct, "relations" | "order" | "together" | "before">> = {},
): KnownStruct<Facts> {
  const all = Object.entries(rows);
  const members = new Map(all.map(([member, row]) => [member, { ...row, isPointer: "leads" in row }]));
  const expectedOf = (facts: Partial<Facts>) =>
    new Map(
      all.flatMap(([member, row]) => {
        const held = row.holds?.(facts);
        return held === undefined ? [] : [[member, held] as const];
      }),
    );
  const self: KnownStruct<Facts> = {
    name,
    limit,
    members,
    keys,
    relations,
    order,
    together,
    before,
    of: (facts, { again, parts = [], whole } = {}) => {
      const expected = once(() => expectedOf(facts));
      const leads = once(
        () =>
          new Map(
            all.flatMap(([member, row]) => {
              const thing = "leads" in row ? row.leads(facts) : undefined;
              return thing === undefined ? [] : [[member, thing] as const];
            }),
          ),
      );
      const expectedNow = () => (again === undefined ? expected() : expectedOf(again()));
      return { struct: self, expected, expectedNow, leads, parts, ...(whole && { whole }) };
    },
  };
  return self;
}

/** A member that holds a value. */
export const value = <Facts>(
  type: CType,
  holds: (facts: Partial<Facts>) => Expectation | undefined,
): Row<Facts> => ({ type, holds });

/** A pointer. */
export const leads = <Facts>(
  type: CType,
  to: (facts: Partial<Facts>) => Thing | null | undefined,
): Row<Facts> => ({ type, leads: to });

/** What a fact tells, where it is known. */
export const known = <Fact, Told>(fact: Fact | undefined, tell: (fact: Fact) => Told): Told | undefined =>
  fact === undefined ? undefined : tell(fact);

/** A text as the kernel keeps it: bytes with a zero behind them. */
export const ended = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);
