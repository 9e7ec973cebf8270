import * as v from "valibot";
import { questions } from "../btf/core-question.ts";
import { diagnosticSchema, formatVersion } from "./schema-parts.ts";

/** What CO-RE relocations ask for that a kernel's BTF does not have. */
const unmetSchema = v.array(
  v.strictObject({
    /** As C would say it, with the program's own names: `task_struct___x.__state`. */
    what: v.string(),
    question: v.picklist(questions),
    reason: v.string(),
  }),
);

/** What `offsetof btf --for` prints. */
export const relocationsSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** Whose BTF they were held against; null where the document names none. */
  kernel: v.strictObject({ release: v.nullable(v.string()) }),
  objects: v.array(
    v.strictObject({
      path: v.string(),
      /** Whether all its functions would. */
      relocates: v.boolean(),
      /** Programs, and functions in .text that they call. */
      functions: v.array(
        v.strictObject({
          name: v.string(),
          section: v.string(),
          /** How many it has. */
          relocations: v.number(),
          relocates: v.boolean(),
          /** Whether the kernel checks it against its own BTF too, which no file stands in for. */
          needs_kernel_btf: v.boolean(),
          /** What it comes to at work: the kernel refuses the program. */
          missing: unmetSchema,
          /** What it does without: it asks first whether that is there. */
          absent: unmetSchema,
        }),
      ),
    }),
  ),
  diagnostics: v.array(diagnosticSchema),
});

/** What `offsetof btf --install` prints. */
export const placesSchema = v.strictObject({
  format_version: v.literal(formatVersion),
  /** The kernel whose BTF is looked for. */
  release: v.string(),
  places: v.array(
    v.strictObject({
      loader: v.string(),
      /** Where it looks; null: it has to be told, by `setting`. */
      file: v.nullable(v.string()),
      setting: v.nullable(v.string()),
      /** BTF alone, or an ELF file with a section .BTF. */
      format: v.picklist(["raw", "elf", "either"]),
      /** What writes such a file. */
      command: v.string(),
    }),
  ),
  diagnostics: v.array(diagnosticSchema),
});

export type Relocations = v.InferOutput<typeof relocationsSchema>;
export type Places = v.InferOutput<typeof placesSchema>;
