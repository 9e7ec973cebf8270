import type { Evidence, Source } from "./evidence.ts";
import type { Field } from "./field.ts";

/** How sure a constant is. Only `confirmed` and `single` always carry a value; `assumed` does where it is allowed. */
export const statuses = ["confirmed", "single", "assumed", "absent", "conflict", "unresolved"] as const;
export type Status = (typeof statuses)[number];

/** Whether a status always comes with a number that may be used. */
export const isNumber = (status: Status): boolean => status === "confirmed" || status === "single";

/** What all sources together say of one field. */
export interface Verdict {
  /** Bytes from the start of the type; null where there is no number that may be used. */
  readonly value: number | null;
  readonly member: string;
  readonly status: Status;
  readonly evidence: Partial<Record<Source, readonly number[]>>;
  /** Present whenever `status` is neither `confirmed` nor `single`. */
  readonly reason?: string;
}

/** A measured member that disagrees with what a table says of it. */
export interface Refutation {
  readonly constant: string;
  /** The table's number; null: that there is no such member. */
  readonly described: number | null;
  /** The measured offsets; empty where it was measured that there is no such member. */
  readonly measured: readonly number[];
}

/** Which values are told though nothing vouches for them. */
export interface Allowance {
  /** Whether a table's number is told that no measured member vouches for. */
  readonly assumed: boolean;
}

/** A table describes what was measured on some other machine; every other source measures this very thing. */
const isStrong = ({ source }: Evidence): boolean => source !== "table";

const list = (numbers: readonly number[]): string => numbers.join(", ");

/** The struct that a member lies in: members of unions and of structs inside count from its start as well. */
const structOf = ({ member }: Field): string => member.split(".", 1)[0] ?? member;

/** One field with what was said of it. */
interface Reading {
  readonly field: Field;
  readonly evidence: readonly Evidence[];
  /** The strong sources that named a place. */
  readonly strong: readonly Evidence[];
  /** The offset that a strong source told and none contradicts. */
  readonly measured: number | null;
  /** A strong source that saw that there is no such member. */
  readonly gone: Evidence | undefined;
  readonly table: Evidence | undefined;
  /** The table's number. */
  readonly described: number | null;
}

/** The offset in bytes of one constant that a strong source told and no other contradicts; null where there is none. */
export function measuredOf(evidence: readonly Evidence[]): number | null {
  const strong = evidence.filter((one) => isStrong(one) && one.candidates.length > 0);
  const told = strong.find(({ candidates }) => candidates.length === 1)?.candidates[0];
  return told !== undefined && strong.every(({ candidates }) => candidates.includes(told)) ? told : null;
}

function readingOf(field: Field, evidence: readonly Evidence[]): Reading {
  const table = evidence.find((one) => !isStrong(one));
  const [described, ...more] = table?.candidates ?? [];
  return {
    field,
    evidence,
    strong: evidence.filter((one) => isStrong(one) && one.candidates.length > 0),
    measured: measuredOf(evidence),
    gone: evidence.find((one) => isStrong(one) && one.absent === true),
    table,
    described: described === undefined || more.length > 0 ? null : described,
  };
}

/** Whether something measured disagrees with the table. A strong source that left the table's number open does not. */
const isRefuting = ({ strong, gone, table, described }: Reading): boolean =>
  (described !== null && gone !== undefined) ||
  ((described !== null || table?.absent === true) &&
    strong.some(({ candidates }) => described === null || !candidates.includes(described)));

const isAnchor = ({ measured, described, table }: Reading): boolean =>
  measured !== null && measured === described && table?.disputed === undefined;

/** The alignment of a pointer, which no padding is as large as. */
const COARSE = 8;

/**
 * Whether a member that is in its place vouches for one that the table has at `described`. What moves a member moves
 * those behind it, unless padding takes it up: so what lies between pointers' boundaries, such as an array of bytes,
 * may move by less than brings a member on such a boundary out of its place.
 */
const vouches = (anchor: number, described: number): boolean =>
  described <= anchor && (anchor % COARSE !== 0 || described % COARSE === 0);

/** What was measured of a struct, and how that agrees with the table. */
interface Struct {
  readonly name: string;
  readonly refuting: readonly Reading[];
  /** Offsets that were measured and are as the table says. */
  readonly anchors: readonly number[];
}

/** @param readings of one struct */
function structWith(name: string, readings: readonly Reading[]): Struct {
  const anchors = readings.filter(isAnchor).flatMap(({ measured }) => measured ?? []);
  return { name, refuting: readings.filter(isRefuting), anchors };
}

/**
 * Joins the evidence of all sources on the fields of one subject, by one rule:
 *
 * - Strong sources measure this very thing. Two that agree confirm; two that differ are a conflict.
 * - A table was measured elsewhere. One measured member that differs silences it for that whole struct. Where none does, it
 *   confirms what it agrees with, and speaks alone of what lies at or below a measured member that it agrees with and that
 *   vouches for it. Anything else it says is `assumed`: no value, unless that is allowed.
 *
 * @param fields each constant once; evidence on others is left aside
 */
export function judge(
  fields: readonly Field[],
  evidence: readonly Evidence[],
  allow: Allowance = { assumed: false },
): Map<string, Verdict> {
  const readings = readAll(fields, evidence);
  const structs = structsOf(readings);
  return new Map(
    readings.map((reading) => {
      const struct = structs.get(structOf(reading.field)) ?? structWith("", []);
      return [reading.field.constant, verdictOf(reading, struct, allow)];
    }),
  );
}

/** What measured members say against the table, in the fields' order. */
export const refutations = (fields: readonly Field[], evidence: readonly Evidence[]): Refutation[] =>
  readAll(fields, evidence)
    .filter(isRefuting)
    .map(({ field: { constant }, described, strong }) => ({
      constant,
      described,
      measured: [...new Set(strong.flatMap(({ candidates }) => candidates))],
    }));

function readAll(fields: readonly Field[], evidence: readonly Evidence[]): readonly Reading[] {
  const said = Map.groupBy(evidence, ({ constant }) => constant);
  return fields.map((field) => readingOf(field, said.get(field.constant) ?? []));
}

const structsOf = (readings: readonly Reading[]): ReadonlyMap<string, Struct> =>
  new Map(
    [...Map.groupBy(readings, ({ field }) => structOf(field))].map(([name, those]) => [
      name,
      structWith(name, those),
    ]),
  );

function verdictOf(reading: Reading, struct: Struct, allow: Allowance): Verdict {
  const { field, strong, measured, gone, table, described } = reading;
  const shown: Partial<Record<Source, readonly number[]>> = {};
  for (const one of reading.evidence) if (one.candidates.length > 0) shown[one.source] = one.candidates;
  const verdict = (value: number | null, status: Status, reason?: string): Verdict => ({
    value,
    member: field.member,
    status,
    evidence: shown,
    ...(reason === undefined ? {} : { reason }),
  });

  if (gone !== undefined && strong.length === 0)
    return verdict(null, "absent", gone.reason ?? "it has no such member");
  if (gone !== undefined)
    return verdict(null, "conflict", `measured sources disagree: ${gone.source} says that there is none`);
  if (measured !== null) {
    const sources = new Set(strong.flatMap((one) => (one.candidates.length === 1 ? one.source : [])));
    const isBacked = struct.refuting.length === 0 && isAnchor(reading);
    return verdict(measured, sources.size > 1 || isBacked ? "confirmed" : "single");
  }
  if (strong.some(({ candidates }) => candidates.length === 1)) {
    const who = strong.map((one) => `${one.source} says ${list(one.candidates)}`).join(", ");
    return verdict(null, "conflict", `measured sources disagree: ${who}`);
  }
  const open = reasonsOf(reading);
  const unresolved = (...reasons: readonly string[]) =>
    verdict(null, "unresolved", [...open, ...reasons].join("; ") || "no source speaks of this field");
  if (table === undefined || (described === null && table.absent !== true)) return unresolved();
  if (table.disputed !== undefined) return unresolved(`table: ${table.disputed}`);
  const [refuting] = struct.refuting;
  if (refuting !== undefined) return unresolved(silencedBy(refuting, struct.name));
  if (described === null) return verdict(null, "absent", table.reason ?? "it has no such member");
  if (struct.anchors.some((anchor) => vouches(anchor, described))) return verdict(described, "single");
  if (strong.length > 0)
    return unresolved(`the table's ${described} is one of them, and nothing vouches for it`);
  const unmeasured = `nothing of ${struct.name} was measured${shortOf(struct, described)}, so only the table says ${described}`;
  const why = [unmeasured, ...(table.reason === undefined ? [] : [table.reason]), ...open].join("; ");
  return verdict(allow.assumed ? described : null, "assumed", why);
}

/** Why the measured members of a struct do not vouch for a place in it, in words. */
function shortOf({ anchors }: Struct, described: number): string {
  if (anchors.length === 0) return "";
  const farthest = Math.max(...anchors);
  return farthest < described ? ` beyond ${farthest}` : " that padding before it could not keep in its place";
}

/** Why sources told no number, or more than one. */
const reasonsOf = ({ evidence }: Reading): readonly string[] =>
  evidence.flatMap(({ source, candidates, reason }) => {
    if (candidates.length === 1) return [];
    if (reason !== undefined) return [`${source}: ${reason}`];
    return candidates.length === 0 ? [] : [`${source}: ${list(candidates)} not told apart`];
  });

const silencedBy = ({ field, described, strong }: Reading, struct: string): string => {
  const says = described === null ? "has no" : `says ${described} of`;
  const found = [...new Set(strong.flatMap(({ candidates }) => candidates))];
  const seen = found.length === 0 ? "seen was that there is none" : `measured was ${list(found)}`;
  return `table: not believed in ${struct}: it ${says} ${field.constant}, ${seen}`;
};

/** True when nothing is left to be learned of the constant, and its number, where it has one, needs no second thought. */
export const isCertain = ({ status }: Pick<Verdict, "status">): boolean =>
  isNumber(status) || status === "absent";
