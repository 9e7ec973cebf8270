import * as v from "valibot";
import { tableMatches } from "../offsets/evidence.ts";

/** What the schemas of several documents share. */

/** Version of the document's shape: a minor step adds, a major step breaks. */
export const formatVersion = "2.1";

/** Bytes. */
export const offset = v.pipe(v.number(), v.integer(), v.minValue(0));
/** A published name: an identifier of C and of a shell, so that no format has to quote it. */
export const constantName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z_]\w*$/, "a constant's name is an identifier"),
);
/** By their names; null where there is no number. */
export const constants = v.record(constantName, v.nullable(offset));

/** Null: it could not be told. */
export const triState = v.nullable(v.boolean());

/** TLS libraries that are told apart. */
export const libraries = [
  "openssl",
  "boringssl",
  "gnutls",
  "aws-lc",
  "libressl",
  "tongsuo",
  "unknown",
] as const;

/** What every description of a library has. */
export const libraryEntries = {
  /**
   * Inside `root`; as it was given where an absolute path was named. Bytes that are not of UTF-8 are `\xff`. Null where a version was
   * asked for instead of a file.
   */
  path: v.nullable(v.string()),
  /** Where the tree it lies in begins, such as a container's `/proc/PID/root`; without it, the machine's own. */
  root: v.optional(v.string()),
  /** It is no longer at its path: processes still use it. */
  deleted: v.optional(v.literal(true)),
  build_id: v.nullable(v.string()),
  library: v.picklist(libraries),
  version: v.nullable(v.string()),
  version_from: v.nullable(v.string()),
  /** The group of constants that equals what was measured, as far as that goes. */
  layout: v.nullable(v.string()),
  /** The group that its version names. */
  described: v.nullable(v.string()),
  /** How the group was chosen that the table speaks of. */
  match: v.nullable(v.picklist(tableMatches)),
  used_by: v.array(v.number()),
};

/** Something the reader should know that belongs to no single field. */
export const diagnosticSchema = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^[EW]_[A-Z0-9_]+$/)),
  message: v.string(),
});

export type Diagnostic = v.InferOutput<typeof diagnosticSchema>;
