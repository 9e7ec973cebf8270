/** Some of a document: what stands in it is of the document too, lists are the beginning of its lists. */
export type Patch = { readonly [key: string]: unknown };

const isObject = (value: unknown): value is Patch =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The document with what was added to it: lists grow, objects are joined, and all else takes the place of what was there. */
export const joined = (document: Patch, more: Patch): Patch => ({
  ...document,
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [key, join(document[key], value)])),
});

function join(before: unknown, more: unknown): unknown {
  if (Array.isArray(before) && Array.isArray(more)) return [...before, ...more];
  return isObject(before) && isObject(more) ? joined(before, more) : more;
}
