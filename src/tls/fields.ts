import type { Evidence } from "../offsets/evidence.ts";
import { reconcile, type Verdict } from "../offsets/reconcile.ts";
import { unpublished } from "./code/accessors.ts";
import type { TableField } from "./table.ts";

/**
 * Joins what the table describes with what was measured of this very library, by constant. A constant that was found
 * though the table does not have it comes last.
 *
 * @param members constant to `type.member`
 */
export function joined(
  described: readonly TableField[],
  measured: readonly Evidence[],
  members: Readonly<Record<string, string>>,
): readonly (readonly [string, Verdict])[] {
  const constants = new Set(described.map(({ field }) => field.constant));
  const of = (constant: string): readonly Evidence[] => measured.filter((one) => one.constant === constant);
  const found = measured.filter(
    ({ constant, candidates }) => candidates.length > 0 && !constants.has(constant),
  );
  return [
    ...described.map(({ field, evidence, disputed = evidence }) => {
      const said = of(field.constant);
      const isMeasured = said.some((one) => one.candidates.length === 1);
      return [field.constant, reconcile(field, [...said, isMeasured ? disputed : evidence])] as const;
    }),
    ...found.map(({ constant }) => {
      const member = members[constant] ?? unpublished[constant] ?? constant;
      return [constant, reconcile({ constant, member }, of(constant))] as const;
    }),
  ];
}
