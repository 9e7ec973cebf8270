import type { Evidence, TableMatch } from "../../offsets/evidence.ts";
import type { Field } from "../../offsets/field.ts";
import type { Layouts } from "./layouts.ts";
import { compareReleases, parseRelease, type Release, seriesOf } from "./release.ts";

/** The group chosen for a version. `reason` says what stands between the version and the measured one. */
export interface LayoutChoice {
  readonly layout: string;
  /** Others that fit as well and contradict it in nothing: of constants that it does not have, they tell. */
  readonly beside?: readonly string[];
  readonly match: TableMatch;
  readonly reason?: string;
}

/** No group may speak for the version. */
export interface NoLayout {
  readonly layout: null;
  readonly match: null;
  readonly reason: string;
}

interface Known {
  readonly text: string;
  readonly release: Release;
  readonly group: string;
}

/** The published versions in numeric order, oldest first. */
function knownVersions(layouts: Layouts): readonly Known[] {
  return Object.entries(layouts.versions)
    .flatMap(([text, group]) => {
      const release = parseRelease(text);
      return release === null ? [] : [{ text, release, group }];
    })
    .sort((a, b) => compareReleases(a.release, b.release));
}

/**
 * The group for a version text.
 *
 * `exact`: the text itself is published. `nearest`: the newest published version of the same series that is not newer.
 * Otherwise none: a layout of a newer version, or from another series, would be a guess.
 */
export function chooseLayout(layouts: Layouts, version: string): LayoutChoice | NoLayout {
  const exact = Object.hasOwn(layouts.versions, version) ? layouts.versions[version] : undefined;
  if (exact !== undefined) return { layout: exact, match: "exact" };

  const release = parseRelease(version);
  const none = (why: string): NoLayout => ({ layout: null, match: null, reason: why });
  if (release === null) return none(`${version} is not a version of a form that is known`);
  const series = knownVersions(layouts).filter((one) => seriesOf(one.release) === seriesOf(release));
  // A version with a suffix is another build: no other suffix says anything of it, the plain release does as far as is known.
  const akin = series.filter((one) => one.release.suffix === "" || one.release.suffix === release.suffix);
  const older = akin.findLast((one) => compareReleases(one.release, release) <= 0);
  if (older === undefined) {
    return none(
      series.length === 0
        ? `no layout is published for ${version} or another of its series`
        : `${version} is older than all that are published of its series`,
    );
  }
  const same = compareReleases(older.release, release) === 0;
  const why = same
    ? `${version} is published only without its suffix:`
    : `${version} is not published, the nearest older`;
  const { measured_on: measured, checked_up_to: checked } = layouts.groups[older.group] ?? {};
  const figures = `${older.group}, measured on ${measured}, checked up to ${checked?.version}`;
  return { layout: older.group, match: "nearest", reason: `${why} ${older.text} is used (${figures})` };
}

type Constants = Layouts["groups"][string]["constants"];

/** What was measured: constants with the one offset that is left of each. */
export type Measured = ReadonlyMap<string, number>;

/** Members of the connection whose struct tells how a library holds one. */
const connectionMembers = /^(ssl_st|ssl_connection_st)\.(?!type$)/;

/**
 * The struct that holds a connection, as these constants tell: ssl_st, or from OpenSSL 3.2 on ssl_connection_st. Null where they do not
 * tell.
 */
function connectionOf({ members }: Layouts, constants: Iterable<string>): string | null {
  for (const constant of constants) {
    const [, struct] = connectionMembers.exec(members[constant] ?? "") ?? [];
    if (struct !== undefined) return struct;
  }
  return null;
}

/** Whether a group holds connections in the same struct as these constants, as far as they tell. */
const isOfKind = (layouts: Layouts, constants: Constants, told: Iterable<string>): boolean => {
  const struct = connectionOf(layouts, told);
  return struct === null || connectionOf(layouts, Object.keys(constants)) === struct;
};

/** The constants that are in every whole group that holds connections in the same struct as the constants told, as far as these say. */
export function commonConstants(layouts: Layouts, told: readonly string[]): readonly string[] {
  const [first, ...others] = Object.values(layouts.groups)
    .filter(({ partial }) => partial !== true)
    .map((group) => group.constants)
    .filter((constants) => isOfKind(layouts, constants, told));
  return Object.keys(first ?? {}).filter((constant) => others.every((one) => Object.hasOwn(one, constant)));
}

/** Whether a group has at least one of the measured constants, and each that it has at the measured offset. */
function fits(layouts: Layouts, constants: Constants, measured: Measured): boolean {
  const shared = [...measured].filter(([constant]) => Object.hasOwn(constants, constant));
  return (
    isOfKind(layouts, constants, measured.keys()) &&
    shared.length > 0 &&
    shared.every(([constant, offset]) => constants[constant] === offset) &&
    // A library that has a member's successor does not have that member any more.
    Object.entries(layouts.successors).every(
      ([constant, successor]) => !measured.has(successor) || typeof constants[constant] !== "number",
    )
  );
}

/**
 * The layout that describes a library: its version's, unless that is of another kind than was measured; or where the
 * measured values differ from that, or there is no version, the one known layout that they all fit.
 */
export function describe(
  layouts: Layouts,
  named: LayoutChoice | NoLayout,
  version: string | null,
  measured: Measured,
): LayoutChoice | NoLayout {
  const constantsOf = (layout: string): Constants => layouts.groups[layout]?.constants ?? {};
  const isRight = named.layout !== null && fits(layouts, constantsOf(named.layout), measured);
  if (isRight) return named;
  const fitting = Object.entries(layouts.groups).filter(
    ([name, { constants }]) => !isNewer(layouts, name, version) && fits(layouts, constants, measured),
  );
  const [found, ...others] = fitting;
  if (found !== undefined && isOne(fitting.map(([, { constants }]) => constants))) {
    const [layout] = found;
    const beside = others.map(([name]) => name);
    const reason = `${layout} is the one known layout that all measured values fit`;
    return { layout, match: "fit", reason, ...(beside.length > 0 && { beside }) };
  }
  if (named.layout === null) return named;
  if (isOfKind(layouts, constantsOf(named.layout), measured.keys())) return named;
  const reason = `the layout of ${version} (${named.layout}) is of another kind than what was measured`;
  return { layout: null, match: null, reason };
}

/** Whether no two of these layouts tell different things of a constant. */
function isOne(layouts: readonly Constants[]): boolean {
  const all: Constants = Object.assign({}, ...layouts);
  return layouts.every((constants) =>
    Object.entries(constants).every(([constant, offset]) => all[constant] === offset),
  );
}

/** Whether a group is known of newer releases than a version alone. */
function isNewer(layouts: Layouts, group: string, version: string | null): boolean {
  const release = version === null ? null : parseRelease(version);
  const [oldest] = knownVersions(layouts).filter((one) => one.group === group);
  return release !== null && oldest !== undefined && compareReleases(oldest.release, release) > 0;
}

/** One field of a library with what the table says of it. */
export interface TableField {
  readonly field: Field;
  readonly evidence: Evidence;
}

const fieldOf = ({ members }: Layouts, constant: string): Field => ({
  constant,
  member: members[constant] ?? constant,
});

/** What the table says, in published order. */
export function tableFields(
  layouts: Layouts,
  choice: LayoutChoice,
  version: string | null,
): readonly TableField[] {
  const isOf = (text: string, suffix: string): boolean =>
    text.includes(suffix) && layouts.versions[text] === choice.layout;
  // A figure that was measured on builds without a suffix is disputed for builds that have one.
  const disputes = layouts.disputed.filter(
    ({ group, suffix }) =>
      group === choice.layout ||
      (suffix !== undefined &&
        version?.includes(suffix) === true &&
        !Object.keys(layouts.versions).some((text) => isOf(text, suffix))),
  );
  const constantsOf = (name: string): Constants => layouts.groups[name]?.constants ?? {};
  const all: Constants = Object.assign(
    {},
    constantsOf(choice.layout),
    ...(choice.beside ?? []).map(constantsOf),
  );
  const published = Object.entries(all);
  return published.map(([constant, offset]) => {
    const disputed = disputes.find((one) => one.constants.includes(constant))?.reason;
    const evidence: Evidence = {
      source: "table",
      constant,
      match: choice.match,
      candidates: offset === null ? [] : [offset],
      ...(offset === null && { absent: true, reason: "the struct of this version has no such member" }),
      ...(offset !== null && choice.reason !== undefined && { reason: choice.reason }),
      ...(disputed !== undefined && { disputed }),
    };
    return { field: fieldOf(layouts, constant), evidence };
  });
}

/**
 * The fields of a library of which no layout describes it, all unknown for the same reason: those that every group of
 * the measured kind has.
 */
export function unknownFields(layouts: Layouts, reason: string, measured: Measured): readonly TableField[] {
  return commonConstants(layouts, [...measured.keys()]).map((constant) => {
    const successor = layouts.successors[constant];
    const isReplaced = successor !== undefined && measured.has(successor);
    const evidence: Evidence = isReplaced
      ? { source: "table", constant, candidates: [], absent: true, reason: `${successor} took its place` }
      : { source: "table", constant, candidates: [], reason };
    return { field: fieldOf(layouts, constant), evidence };
  });
}
