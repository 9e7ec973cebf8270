import type { Status } from "../offsets/truth.ts";
import type { Diff } from "../output/diff-schema.ts";
import type { Earlier, EarlierFields, EarlierLibrary } from "../output/earlier.ts";
import { sureness } from "./sureness.ts";

type Constants = EarlierLibrary["constants"];
type Changes = NonNullable<Diff["diff"]["kernel"]>["constants"];
type Change = Changes[string];
type LibraryDiff = NonNullable<Diff["diff"]["tls"]>[number];

/** Constants with what is known of each. */
interface Subject {
  readonly constants: Constants;
  readonly fields: EarlierFields;
}

const nothing: Subject = { constants: {}, fields: {} };

/**
 * What differs between two documents, in the parts that both have. Releases, versions and build ids are shown and are no
 * difference: who attaches programs is asked for their constants, and the object that serves.
 */
export function diffOf(from: Earlier, to: Earlier): Diff["diff"] {
  const kernel = kernelDiff(from, to);
  const tls = from.tls === undefined || to.tls === undefined ? undefined : librariesDiff(from.tls, to.tls);
  const isSame = (kernel === undefined || isUnchanged(kernel)) && (tls ?? []).every(isUnchanged);
  return { same: isSame, ...(kernel && { kernel }), ...(tls && { tls }) };
}

/** The parts that one of two documents has alone, which therefore are not compared. */
export const uncompared = (from: Earlier, to: Earlier): readonly ("kernel" | "tls")[] =>
  (["kernel", "tls"] as const).filter((part) => (from[part] === undefined) !== (to[part] === undefined));

function isUnchanged({
  from,
  to,
  constants,
}: Pick<LibraryDiff, "constants"> &
  Record<"from" | "to", { readonly bytecode: string | null } | null>): boolean {
  return from !== null && to !== null && from.bytecode === to.bytecode && Object.keys(constants).length === 0;
}

function kernelDiff(from: Earlier, to: Earlier): Diff["diff"]["kernel"] {
  if (from.kernel === undefined || to.kernel === undefined) return undefined;
  const side = ({ host, tool }: Earlier, bytecode: string | null) => ({
    release: host.kernel.release,
    arch: tool.arch,
    bytecode,
  });
  return {
    from: side(from, from.kernel.bytecode),
    to: side(to, to.kernel.bytecode),
    constants: changesOf(from.kernel, to.kernel),
  };
}

function librariesDiff(from: readonly EarlierLibrary[], to: readonly EarlierLibrary[]): LibraryDiff[] {
  const pairs = pairsOf(from, to);
  const isPaired = new Set(pairs.flat());
  const gone = from.filter((one) => !isPaired.has(one)).map((one) => [one, null] as const);
  const come = to.filter((one) => !isPaired.has(one)).map((one) => [null, one] as const);
  return [...pairs, ...gone, ...come].map(([before, after]) => ({
    from: before && side(before),
    to: after && side(after),
    constants: changesOf(before ?? nothing, after ?? nothing),
  }));
}

const side = ({ path, root, deleted, build_id, library, version, layout, bytecode }: EarlierLibrary) => ({
  path,
  ...(root === undefined ? {} : { root }),
  ...(deleted === undefined ? {} : { deleted }),
  build_id,
  library,
  version,
  layout,
  bytecode,
});

/**
 * Keys by which a library is found again in another document, the strictest first. The later ones leave a container's root out, in which
 * another number stands each time.
 */
const likenesses: readonly ((library: EarlierLibrary) => string | null)[] = [
  ({ path, root, deleted, build_id }) => path && [root, path, deleted, build_id].join("\0"),
  ({ path, root, deleted }) => path && [root, path, deleted].join("\0"),
  ({ path, root, deleted, build_id }) =>
    build_id && path && [root !== undefined, path, deleted, build_id].join("\0"),
  ({ build_id }) => build_id,
];

function pairsOf(
  from: readonly EarlierLibrary[],
  to: readonly EarlierLibrary[],
): (readonly [EarlierLibrary, EarlierLibrary])[] {
  const pairs = new Map<EarlierLibrary, EarlierLibrary>();
  const taken = new Set<EarlierLibrary>();
  for (const likeness of likenesses) {
    const left = Map.groupBy(
      to.filter((one) => !taken.has(one)),
      likeness,
    );
    for (const before of from) {
      const key = likeness(before);
      if (pairs.has(before) || key === null) continue;
      const after = left.get(key)?.shift();
      if (after === undefined) continue;
      pairs.set(before, after);
      taken.add(after);
    }
  }
  return from.flatMap((before) => {
    const after = pairs.get(before);
    return after === undefined ? [] : [[before, after] as const];
  });
}

function changesOf(from: Subject, to: Subject): Changes {
  const names = new Set([...Object.keys(from.constants), ...Object.keys(to.constants)]);
  return Object.fromEntries(
    [...names].flatMap((name) => {
      const change = changeOf(from, to, name);
      return change === null ? [] : [[name, change] as const];
    }),
  );
}

function changeOf(before: Subject, after: Subject, name: string): Change | null {
  const from = before.constants[name] ?? null;
  const to = after.constants[name] ?? null;
  const [wasStatus, isStatus] = [before.fields[name]?.status ?? null, after.fields[name]?.status ?? null];
  const change = kindOf(from, to, wasStatus, isStatus);
  if (change === null) return null;
  const reason = to === null ? after.fields[name]?.reason : undefined;
  const statuses = { from_status: wasStatus, to_status: isStatus };
  return { change, from, to, ...statuses, ...(reason === undefined ? {} : { reason }) };
}

function kindOf(
  from: number | null,
  to: number | null,
  was: Status | null,
  is: Status | null,
): Change["change"] | null {
  if (from !== to) return from === null ? "appeared" : to === null ? "lost" : "moved";
  const [before, after] = [was, is].map((status) => (status === null ? null : sureness[status]));
  if (before === after || before == null || after == null) return null;
  return after > before ? "surer" : "less_sure";
}
