import type { Evidence, Source } from "./evidence.ts";
import type { Field } from "./field.ts";

/**
 * How sure a constant is. Only `confirmed`, `single` and `assumed` always carry a value; `conflict` carries one
 * when a single measured value stands against a table; `unresolved` never does.
 */
export const statuses = ["confirmed", "single", "assumed", "conflict", "unresolved"] as const;
export type Status = (typeof statuses)[number];

/** What all sources together say of one field. */
export interface Verdict {
  readonly value: number | null;
  readonly member: string;
  readonly status: Status;
  readonly evidence: Partial<Record<Source, readonly number[]>>;
  /** Present whenever `status` is neither `confirmed` nor `single`. */
  readonly reason?: string;
}

/** A table describes what was measured on some other machine; every other source measures this one. */
const isStrong = (evidence: Evidence): boolean => evidence.source !== "table";

const list = (numbers: readonly number[]): string => numbers.join(", ");

/**
 * Joins the evidence of all sources on one field.
 *
 * A source that could not tell its candidates apart confirms nothing, but contradicts a value it does not contain.
 * Measured beats described: a table never overrules a strong source.
 */
export function reconcile(field: Field, evidence: readonly Evidence[]): Verdict {
  const spoke = evidence.filter((one) => one.candidates.length > 0);
  const shown: Partial<Record<Source, readonly number[]>> = {};
  for (const one of spoke) shown[one.source] = one.candidates;
  const verdict = (value: number | null, status: Status, reason?: string): Verdict => ({
    value,
    member: field.member,
    status,
    evidence: shown,
    ...(reason === undefined ? {} : { reason }),
  });

  const strong = spoke.filter(isStrong);
  const table = spoke.find((one) => !isStrong(one));
  const measured = new Set(strong.flatMap((one) => (one.candidates.length === 1 ? one.candidates : [])));

  if (measured.size > 1) {
    const who = strong.map((one) => `${one.source} says ${list(one.candidates)}`).join(", ");
    return verdict(null, "conflict", `measured sources disagree: ${who}`);
  }
  const [value] = measured;
  if (value !== undefined) {
    const denier = strong.find((one) => !one.candidates.includes(value));
    if (denier !== undefined) {
      return verdict(
        null,
        "conflict",
        `${denier.source} leaves only ${list(denier.candidates)}, another source ${value}`,
      );
    }
    if (table !== undefined && !table.candidates.includes(value)) {
      return verdict(
        value,
        "conflict",
        `the table says ${list(table.candidates)}; the measured value stands`,
      );
    }
    const agreeing = spoke.filter((one) => one.candidates.length === 1).length;
    return verdict(value, agreeing > 1 ? "confirmed" : "single");
  }
  if (strong.length > 0) {
    const open = strong.map(
      (one) => `${one.source}: ${one.reason ?? `${list(one.candidates)} not told apart`}`,
    );
    return verdict(null, "unresolved", open.join("; "));
  }
  const [described, ...others] = table?.candidates ?? [];
  if (table !== undefined && described !== undefined) {
    if (others.length > 0) return verdict(null, "unresolved", `the table says ${list(table.candidates)}`);
    if (table.match === "exact") return verdict(described, "single");
    return verdict(
      described,
      "assumed",
      table.reason ?? `from a ${table.match ?? "default"} table match alone`,
    );
  }
  const reasons = evidence.flatMap((one) =>
    one.reason === undefined ? [] : [`${one.source}: ${one.reason}`],
  );
  return verdict(
    null,
    "unresolved",
    reasons.length > 0 ? reasons.join("; ") : "no source speaks of this field",
  );
}

/** True when the constant may be used without a second thought. */
export const isCertain = ({ status }: Pick<Verdict, "status">): boolean =>
  status === "confirmed" || status === "single";
