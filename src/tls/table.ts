import type { Evidence, TableMatch } from "../offsets/evidence.ts";
import type { Field } from "../offsets/field.ts";
import type { Layouts } from "./layouts.ts";
import { compareReleases, parseRelease, type Release, seriesOf } from "./release.ts";

/** The group chosen for a version. `reason` says what stands between the version and the measured one. */
export interface Choice {
  readonly layout: string;
  readonly match: TableMatch;
  readonly reason?: string;
}

/** No group may speak for the version. */
export interface NoChoice {
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
 * `exact`: the text itself is published. `nearest`: the newest published version of the same series that is not newer;
 * where all are newer, the oldest, and the reason says so. `default`: the newest published series before it of the same
 * major version. Otherwise none: a layout from further away would be a guess.
 */
export function chooseLayout(layouts: Layouts, version: string): Choice | NoChoice {
  const exact = Object.hasOwn(layouts.versions, version) ? layouts.versions[version] : undefined;
  if (exact !== undefined) return { layout: exact, match: "exact" };

  const release = parseRelease(version);
  const none = (why: string): NoChoice => ({ layout: null, match: null, reason: why });
  if (release === null) return none(`${version} is not a version of a form that is known`);
  const chosen = (match: TableMatch, { text, group }: Known, why: string): Choice => {
    const { measured_on: measured, checked_up_to: checked } = layouts.groups[group] ?? {};
    const figures = `${group}, measured on ${measured}, checked up to ${checked?.version}`;
    return { layout: group, match, reason: `${why} ${text} is used (${figures})` };
  };

  const known = knownVersions(layouts);
  const series = known.filter((one) => seriesOf(one.release) === seriesOf(release));
  const older = series.findLast((one) => compareReleases(one.release, release) <= 0);
  if (older !== undefined) {
    const same = compareReleases(older.release, release) === 0;
    const why = same
      ? `${version} is published only without its suffix:`
      : `${version} is not published, the nearest older`;
    return chosen("nearest", older, why);
  }
  const [newer] = series;
  if (newer !== undefined)
    return chosen("nearest", newer, `${version} is older than all published: the newer`);

  const before = known.findLast(
    (one) => one.release.numbers[0] === release.numbers[0] && compareReleases(one.release, release) < 0,
  );
  if (before === undefined) return none(`no layout is published for ${version} or a series before it`);
  return chosen("default", before, `series ${seriesOf(release)} is not published, the newest before it`);
}

/** One field of a library with what the table says of it. */
export interface TableField {
  readonly field: Field;
  readonly evidence: Evidence;
  /** The published figure where it is disputed: shown beside a measured one, never told alone. */
  readonly disputed?: Evidence;
}

const fieldOf = ({ members }: Layouts, constant: string): Field => ({
  constant,
  member: members[constant] ?? constant,
});

/** What the table says, in published order. A figure that is disputed or absent is a reason, never a number. */
export function tableFields(layouts: Layouts, choice: Choice, version: string): readonly TableField[] {
  const disputes = layouts.disputed.filter(
    ({ group, suffix }) => group === choice.layout || (suffix !== undefined && version.includes(suffix)),
  );
  const published = Object.entries(layouts.groups[choice.layout]?.constants ?? {});
  return published.map(([constant, offset]) => {
    const said = { source: "table", constant, match: choice.match } as const;
    const dispute = disputes.find((one) => one.constants.includes(constant));
    const why =
      dispute?.reason ?? (offset === null ? "the struct of this version has no such member" : undefined);
    const evidence: Evidence =
      why !== undefined || offset === null
        ? { ...said, candidates: [], reason: why ?? "" }
        : {
            ...said,
            candidates: [offset],
            ...(choice.reason === undefined ? {} : { reason: choice.reason }),
          };
    const disputed = { ...said, candidates: offset === null ? [] : [offset] };
    return {
      field: fieldOf(layouts, constant),
      evidence,
      ...(dispute === undefined ? {} : { disputed }),
    };
  });
}

/** The fields every group of a library has, all unknown for the same reason: which group it is cannot be told. */
export function unknownFields(layouts: Layouts, reason: string): readonly TableField[] {
  const [first, ...others] = Object.values(layouts.groups).map((group) => group.constants);
  const shared = Object.keys(first ?? {}).filter((constant) =>
    others.every((one) => Object.hasOwn(one, constant)),
  );
  return shared.map((constant) => ({
    field: fieldOf(layouts, constant),
    evidence: { source: "table", constant, candidates: [], reason },
  }));
}
