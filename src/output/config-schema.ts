import * as v from "valibot";
import { formatVersion } from "./schema-parts.ts";

/** What `offsetof config --format json` prints: each setting, and where its value came from. */
export const configDocumentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  config: v.record(
    v.string(),
    v.strictObject({
      value: v.union([v.string(), v.number(), v.boolean(), v.array(v.string())]),
      /** `default`, a file's path, or the name of a variable or flag. */
      from: v.string(),
    }),
  ),
});

export type ConfigDocument = v.InferOutput<typeof configDocumentSchema>;
