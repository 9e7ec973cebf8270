import * as v from "valibot";
import { statuses } from "../offsets/truth.ts";
import { constantName, diagnosticSchema, formatVersion, libraryEntries, offset } from "./schema-parts.ts";

/** What became of a constant from one document to the other. */
export const changes = ["moved", "appeared", "lost", "surer", "less_sure"] as const;

const changeSchema = v.strictObject({
  change: v.picklist(changes),
  from: v.nullable(offset),
  to: v.nullable(offset),
  /** Null: that document does not have the constant, or was written by hand. */
  from_status: v.nullable(v.picklist(statuses)),
  to_status: v.nullable(v.picklist(statuses)),
  /** Why there is no number any more. */
  reason: v.optional(v.string()),
});

/** One side of a comparison of libraries. */
const comparedLibrary = v.strictObject({
  path: libraryEntries.path,
  root: libraryEntries.root,
  deleted: libraryEntries.deleted,
  build_id: libraryEntries.build_id,
  library: v.string(),
  version: libraryEntries.version,
  layout: libraryEntries.layout,
  bytecode: v.nullable(v.string()),
});

const comparedKernel = v.strictObject({
  release: v.string(),
  arch: v.string(),
  bytecode: v.nullable(v.string()),
});

/** What `offsetof diff` prints. */
export const diffSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  diff: v.strictObject({
    /** Whether all that was compared is equal: numbers, how sure they are, and the objects that are picked. */
    same: v.boolean(),
    kernel: v.optional(
      v.strictObject({
        from: comparedKernel,
        to: comparedKernel,
        constants: v.record(constantName, changeSchema),
      }),
    ),
    tls: v.optional(
      v.array(
        v.strictObject({
          /** Null: that document has no such library. */
          from: v.nullable(comparedLibrary),
          to: v.nullable(comparedLibrary),
          constants: v.record(constantName, changeSchema),
        }),
      ),
    ),
  }),
  diagnostics: v.array(diagnosticSchema),
});

export type Diff = v.InferOutput<typeof diffSchema>;
