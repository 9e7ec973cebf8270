import * as v from "valibot";
import { statuses } from "../offsets/truth.ts";
import { hostSchema } from "./document.ts";
import {
  constantName,
  constants,
  diagnosticSchema,
  formatVersion,
  libraryEntries,
  offset,
} from "./schema-parts.ts";

const unsure = {
  /** The surest that a machine told with this value; `conflict` where machines told different ones. */
  status: v.picklist(statuses),
  reason: v.optional(v.string()),
  /** How many machines told no number, and the first of them. */
  unknown: v.optional(v.strictObject({ machines: v.number(), first: v.array(v.string()) })),
};
/** A constant of a layout that several machines told. */
const layoutFields = v.record(constantName, v.strictObject({ member: v.string(), ...unsure }));

const layout = {
  arch: v.string(),
  /** How many documents told of it, and the first of them. */
  machines: v.number(),
  first: v.array(v.string()),
  constants,
  fields: layoutFields,
};

const told = v.union([offset, v.literal("absent")]);

/** Of a machine that tells another layout than the others do of the same thing. */
const oddSchema = v.strictObject({
  machine: v.string(),
  arch: v.string(),
  release: v.optional(v.string()),
  build_id: v.optional(v.string()),
  constants: v.record(
    constantName,
    v.strictObject({
      told,
      /** What more than half of the machines tell; null: nothing is told by as many. */
      others: v.nullable(told),
    }),
  ),
});

/** What `offsetof merge` prints: one layout for each kernel release and each build id of a TLS library. */
export const mergeSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  tool: v.strictObject({ name: v.literal("offsetof"), version: v.string() }),
  documents: v.number(),
  layouts: v.strictObject({
    kernels: v.array(
      v.strictObject({ release: v.string(), version: hostSchema.entries.kernel.entries.version, ...layout }),
    ),
    libraries: v.array(
      v.strictObject({
        build_id: v.string(),
        library: libraryEntries.library,
        version: libraryEntries.version,
        layout: libraryEntries.layout,
        described: libraryEntries.described,
        match: libraryEntries.match,
        /** The first of the paths that it lies at. */
        paths: v.array(v.string()),
        ...layout,
        /** Where functions lie that programs attach to. Machines that differ in it are odd by `NAME_ADDRESS` and `NAME_OFFSET`. */
        functions: v.record(
          constantName,
          v.strictObject({ address: v.nullable(offset), offset: v.nullable(offset), ...unsure }),
        ),
      }),
    ),
  }),
  /** Kernels of one layout. */
  groups: v.array(v.strictObject({ arch: v.string(), machines: v.number(), releases: v.array(v.string()) })),
  odd: v.array(oddSchema),
  /** Documents that could not be read. */
  failed: v.array(v.strictObject({ machine: v.string(), message: v.string() })),
  diagnostics: v.array(diagnosticSchema),
});

export type Merged = v.InferOutput<typeof mergeSchema>;
