import * as v from "valibot";
import { statuses } from "../offsets/truth.ts";
import { constantName, formatVersion, offset } from "./schema-parts.ts";

/** Where a number comes from, of each part that has it. */
export const explainedSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  explain: v.array(
    v.strictObject({
      constant: constantName,
      /** The kernel or the library. */
      of: v.string(),
      /** Null of a function. */
      member: v.nullable(v.string()),
      /** Bytes; of a function from the file's beginning. */
      value: v.nullable(offset),
      status: v.picklist(statuses),
      /** What the status means, in words. */
      meaning: v.string(),
      reason: v.optional(v.string()),
      evidence: v.array(
        v.strictObject({ source: v.string(), numbers: v.array(offset), meaning: v.string() }),
      ),
    }),
  ),
});

export type Explained = v.InferOutput<typeof explainedSchema>;
