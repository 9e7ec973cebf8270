import type { Evidence } from "../../offsets/evidence.ts";
import type { Field } from "../../offsets/field.ts";
import { measuredOf } from "../../offsets/truth.ts";
import type { Measured, TableField } from "./describe.ts";
import { unpublished } from "./layouts.ts";

/**
 * The fields of a library: those described, and behind them those that were found though the table does not have them.
 *
 * @param members constant to `type.member`
 */
export function libraryFields(
  described: readonly TableField[],
  measured: readonly Evidence[],
  members: Readonly<Record<string, string>>,
): readonly Field[] {
  const constants = new Set(described.map(({ field }) => field.constant));
  const found = measured
    .filter(({ constant, candidates }) => candidates.length > 0 && !constants.has(constant))
    .map(({ constant }) => constant);
  return [
    ...described.map(({ field }) => field),
    ...[...new Set(found)].map((constant) => ({
      constant,
      member: members[constant] ?? unpublished[constant] ?? constant,
    })),
  ];
}

/** The offsets that were measured and that no source contradicts, by constant. */
export const measuredIn = (evidence: readonly Evidence[]): Measured =>
  new Map(
    [...Map.groupBy(evidence, ({ constant }) => constant)].flatMap(([constant, said]) => {
      const offset = measuredOf(said);
      return offset === null ? [] : [[constant, offset] as const];
    }),
  );
