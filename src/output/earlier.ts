import * as v from "valibot";
import { foreign } from "../input/name.ts";
import { JsonError, parseJson } from "../input/strict-json.ts";
import { tableMatches } from "../offsets/evidence.ts";
import { statuses } from "../offsets/truth.ts";
import { functionSchema } from "./document.ts";
import { Failure } from "./failure.ts";
import { constantName } from "./schema-parts.ts";

/** Larger than any struct, and smaller than the absent value of bpf/constants.h. */
const offset = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_fffe));
const subject = {
  constants: v.record(constantName, v.nullable(offset)),
  fields: v.optional(
    v.record(
      constantName,
      v.object({
        status: v.picklist(statuses),
        member: v.optional(v.string()),
        reason: v.optional(v.string()),
      }),
    ),
    {},
  ),
  /** The embedded object that was picked. */
  bytecode: v.optional(v.nullable(v.string()), null),
};

/** In place of a release that a document does not tell. */
export const unknownRelease = "unknown";

const { address, offset: inFile, status, reason } = functionSchema.entries;
/** Documents of format_version 2.0, and those that were merged, tell of none. */
const functions = v.optional(
  v.record(constantName, v.object({ address, offset: inFile, status, reason })),
  {},
);

const version = v.tuple([v.number(), v.number(), v.number()]);
const library = {
  build_id: v.optional(v.nullable(v.string()), null),
  library: v.string(),
  version: v.nullable(v.string()),
  match: v.nullable(v.picklist(tableMatches)),
  layout: v.optional(v.nullable(v.string()), null),
  described: v.optional(v.nullable(v.string()), null),
  functions,
  ...subject,
};
const format = v.pipe(
  v.string(),
  v.regex(
    /^2\.\d+$/,
    "must be a document of format_version 2: make it anew, older ones tell what is not sure",
  ),
);

/** What is taken from a document of this or of an earlier run; members that later versions add are left aside. */
const earlierSchema = v.object({
  format_version: format,
  tool: v.object({ arch: v.string() }),
  host: v.object({
    // A document that is written by hand may tell no more of the kernel than its version.
    kernel: v.object({ release: v.optional(v.string(), unknownRelease), version }),
  }),
  kernel: v.optional(v.object(subject)),
  tls: v.optional(
    v.array(
      v.object({
        path: v.nullable(v.string()),
        root: v.optional(v.string()),
        deleted: v.optional(v.literal(true)),
        ...library,
      }),
    ),
  ),
});

/** What is taken from a document that those of many machines were merged into. */
const layoutsSchema = v.object({
  format_version: format,
  layouts: v.object({
    kernels: v.array(v.object({ arch: v.string(), release: v.string(), version, ...subject })),
    libraries: v.array(v.object({ arch: v.string(), paths: v.array(v.string()), ...library })),
  }),
});

/** Layouts of many machines. */
export type MergedLayouts = v.InferOutput<typeof layoutsSchema>["layouts"];
/** A document of this or of an earlier run. */
export type Earlier = v.InferOutput<typeof earlierSchema>;
/** A library in such a document. */
export type EarlierLibrary = NonNullable<Earlier["tls"]>[number];
/** Statuses by constant; empty where a document was written by hand. */
export type EarlierFields = EarlierLibrary["fields"];

/** Bytes that a document's file may have. */
export const largestDocument = 64 << 20;

/**
 * Reads a document as {@link readEarlier} does, but faster where the text is right, as it mostly is: a key that stands twice is not found.
 * @throws Failure as {@link readEarlier}
 */
export function readQuickly(text: string, path: string): Earlier {
  try {
    const result = v.safeParse(earlierSchema, JSON.parse(text), { abortEarly: true });
    if (result.success && !foreign.test(text)) return result.output;
  } catch {
    // What is wrong with it, and where, is told below.
  }
  return readEarlier(text, path);
}

/** Reads a document from its text. @param path for errors @throws Failure that names the file and the key */
export const readEarlier = (text: string, path: string): Earlier =>
  checked(earlierSchema, attempt(text, path), path);

/** Reads a document, or what many were merged into. @throws Failure as {@link readEarlier} */
export function readEither(text: string, path: string): Earlier | MergedLayouts {
  const value = attempt(text, path);
  const isMerged = typeof value === "object" && value !== null && "layouts" in value;
  return isMerged ? checked(layoutsSchema, value, path).layouts : checked(earlierSchema, value, path);
}

function checked<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  path: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new Failure("E_CONSTANTS", `${path}: ${v.getDotPath(issue) ?? "the document"}: ${issue.message}`);
}

/** A document that this program made, in the form it is read in. */
export const earlierOf = (document: unknown): Earlier => v.parse(earlierSchema, document);

function attempt(text: string, path: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new Failure("E_CONSTANTS", `${path}: ${error.message}`);
  }
}
