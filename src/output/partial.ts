/** Some of a document: what stands in it is of the document too, lists are the beginning of its lists. */
export type Patch = { readonly [key: string]: unknown };

/** Some of a document, and where among the others it stands. */
export interface RankedPatch {
  readonly patch: Patch;
  readonly rank: number;
}

const isObject = (value: unknown): value is Patch =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The document with what was added to it: lists grow, objects are joined, and all else takes the place of what was there. */
export const joined = (document: Patch, more: Patch): Patch => ({
  ...document,
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [key, join(document[key], value)])),
});

/** The document of parts that came in any order: by rank, and of one rank as they came. */
export const assembled = (parts: readonly RankedPatch[]): Patch =>
  parts.toSorted((one, other) => one.rank - other.rank).reduce((all, { patch }) => joined(all, patch), {});

function join(before: unknown, more: unknown): unknown {
  if (Array.isArray(before) && Array.isArray(more)) return [...before, ...more];
  return isObject(before) && isObject(more) ? joined(before, more) : more;
}
