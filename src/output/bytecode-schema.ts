import * as v from "valibot";
import { constants, formatVersion } from "./schema-parts.ts";

/** What `offsetof bytecode list --format json` prints. */
export const bytecodeListSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  bytecode: v.array(
    v.strictObject({
      name: v.string(),
      /** The subject whose constants are written into it. */
      for: v.picklist(["kernel", "tls"]),
      /** Bytes of the object. */
      size: v.number(),
      programs: v.array(v.strictObject({ name: v.string(), section: v.string() })),
      constants: v.array(v.string()),
    }),
  ),
});

/** What `offsetof bytecode extract` and `edit` print of the object that they wrote. */
export const bakedSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** Path of the object that was written. */
  output: v.string(),
  /** The embedded object, or null where one was given. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  /** `kernel`, or the library's path. */
  for: v.string(),
  /** What was written into it; null: left absent. */
  constants,
  /** What --set gave besides, in decimal: such a value may have 64 bits, which a number of JSON does not hold. */
  set: v.optional(v.record(v.string(), v.pipe(v.string(), v.regex(/^\d+$/)))),
});

export type BytecodeList = v.InferOutput<typeof bytecodeListSchema>;
export type Baked = v.InferOutput<typeof bakedSchema>;
