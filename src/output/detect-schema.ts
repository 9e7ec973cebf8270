import * as v from "valibot";
import { tableMatches } from "../offsets/evidence.ts";
import { documentSchema, hostSchema, strategies, tlsSchema } from "./document.ts";
import { diagnosticSchema, formatVersion, triState } from "./schema-parts.ts";

const planned = {
  /** `null`: only trying would tell. */
  would: triState,
  reason: v.string(),
};
/** Whether a source would speak. */
const sourcePlan = v.strictObject(planned);

/** What would be done to learn of the running kernel. */
export const kernelPlanSchema = v.strictObject({
  sources: v.strictObject({ guess: sourcePlan, btf: sourcePlan }),
  strategy: v.nullable(v.picklist(strategies)),
  /** The eBPF object that would be loaded. */
  bytecode: v.nullable(v.string()),
  /** By struct: the rung of its ladder that would be attached. Empty where nothing would be guessed. */
  structs: v.record(v.string(), v.strictObject({ rung: v.nullable(v.string()), ...planned })),
});

/** What would be done to learn of a TLS library. Keys as in `tls` of a document. */
export const tlsPlanSchema = v.strictObject({
  path: v.string(),
  root: v.optional(v.string()),
  deleted: v.optional(v.literal(true)),
  build_id: v.nullable(v.string()),
  library: tlsSchema.entries.library,
  version: v.nullable(v.string()),
  version_from: v.nullable(v.string()),
  described: v.nullable(v.string()),
  match: v.nullable(v.picklist(tableMatches)),
  used_by: v.array(v.number()),
  /** The eBPF object that would be picked, by the version alone: what would be measured may tell another. */
  bytecode: v.nullable(v.string()),
  bytecode_reason: v.string(),
  sources: v.strictObject({
    probe: sourcePlan,
    code: sourcePlan,
    references: sourcePlan,
    table: sourcePlan,
  }),
});

/** What `offsetof detect --format json` prints. */
export const detectDocumentSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  tool: documentSchema.entries.tool,
  host: hostSchema,
  detect: v.strictObject({
    kernel: kernelPlanSchema,
    tls: v.array(tlsPlanSchema),
    missing: v.array(
      v.strictObject({
        what: v.string(),
        why: v.string(),
        /** What is not known without it. */
        cost: v.string(),
        /** The one command, capability or setting that would change it. */
        help: v.string(),
      }),
    ),
  }),
  diagnostics: v.array(diagnosticSchema),
});

export type KernelPlan = v.InferOutput<typeof kernelPlanSchema>;
export type TlsPlan = v.InferOutput<typeof tlsPlanSchema>;
export type DetectDocument = v.InferOutput<typeof detectDocumentSchema>;
