import * as v from "valibot";
import { JsonError, parseJson } from "../json.ts";
import { type Status, statuses } from "../offsets/reconcile.ts";
import { Failure } from "../output/failure.ts";

/** Larger than any struct, and smaller than the absent value of bpf/constants.h. */
const offset = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_fffe));
const subject = {
  constants: v.record(v.string(), v.nullable(offset)),
  fields: v.optional(
    v.record(v.string(), v.object({ status: v.picklist(statuses), reason: v.optional(v.string()) })),
    {},
  ),
};

/** What baking takes from a document of this or of an earlier run; members that later versions add are left aside. */
const sourceSchema = v.object({
  format_version: v.pipe(v.string(), v.regex(/^1\.\d+$/, "must be a document of format_version 1")),
  tool: v.object({ arch: v.string() }),
  host: v.object({ kernel: v.object({ version: v.tuple([v.number(), v.number(), v.number()]) }) }),
  kernel: v.optional(v.object(subject)),
  tls: v.optional(
    v.array(
      v.object({
        path: v.nullable(v.string()),
        root: v.optional(v.string()),
        library: v.string(),
        version: v.nullable(v.string()),
        ...subject,
      }),
    ),
    [],
  ),
});

/** A document with constants. */
export type Source = v.InferOutput<typeof sourceSchema>;

/** A document's file of more bytes than this is none. */
export const largestDocument = 64 << 20;

/** Reads a document from its text. @param path for errors @throws Failure that names the file and the key */
export function readSource(text: string, path: string): Source {
  const result = v.safeParse(sourceSchema, attempt(text, path));
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new Failure("E_CONSTANTS", `${path}: ${v.getDotPath(issue) ?? "the document"}: ${issue.message}`);
}

/** A document that this program made, in the form it is read in. */
export const sourceOf = (document: unknown): Source => v.parse(sourceSchema, document);

function attempt(text: string, path: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new Failure("E_CONSTANTS", `${path}: ${error.message}`);
  }
}

/** One thing whose constants are written: the kernel, or a library. */
export interface Subject {
  /** `kernel`, or the library's path. */
  readonly name: string;
  readonly constants: Readonly<Record<string, number | null>>;
  /** Of each constant, `confirmed` and so on; empty where the document does not tell. */
  readonly fields: Readonly<
    Record<string, { readonly status: Status; readonly reason?: string | undefined }>
  >;
  /** Null for the kernel. */
  readonly library: { readonly library: string; readonly version: string | null } | null;
}

/**
 * The subject that is asked for: `kernel`, or a library by its path, in a container also with the root before it.
 * @throws Failure that tells which there are
 */
export function subjectIn({ kernel, tls }: Source, wanted: string): Subject {
  if (wanted === "kernel") {
    if (kernel === undefined)
      throw missing("the document has no kernel part: run offsetof kernel, or offsetof run");
    return { name: "kernel", ...kernel, library: null };
  }
  const named = tls.filter(
    ({ path, root = "" }) => path !== null && [path, `${root}${path}`].includes(wanted),
  );
  const [one] = named;
  if (one === undefined) {
    const known = tls.flatMap(({ path, root = "" }) => (path === null ? [] : [`${root}${path}`]));
    throw missing(`no library ${wanted}; there are: ${known.join(", ") || "none"}`);
  }
  if (named.length > 1)
    throw missing(`${named.length} libraries are ${wanted}: put the root of one before its path`);
  const { constants, fields, library, version } = one;
  return { name: wanted, constants, fields, library: { library, version } };
}

const missing = (message: string): Failure => new Failure("E_CONSTANTS", message);

/** What an object's constants become. */
export interface Choice {
  /** Null: the absent value. */
  readonly values: ReadonlyMap<string, bigint | null>;
  /** Values that a nearest or a default table match alone tells. */
  readonly assumed: readonly string[];
}

/**
 * The values for the names of an object. A name that the subject does not have is none of ours.
 * @param allowMissing take the absent value for what is not known
 * @throws Failure that names what is not known
 */
export function chooseValues(names: readonly string[], subject: Subject, allowMissing: boolean): Choice {
  const { constants, fields, name: of } = subject;
  const ours = names.filter((name) => Object.hasOwn(constants, name));
  const unknown = ours.filter((name) => constants[name] === null);
  if (unknown.length > 0 && !allowMissing) {
    throw missing(`of ${of} is not known: ${unknown.join(", ")}; --allow-missing leaves that out`);
  }
  const valueFor = (name: string): bigint | null => {
    const value = constants[name];
    return value === null || value === undefined ? null : BigInt(value);
  };
  return {
    values: new Map(ours.map((name) => [name, valueFor(name)])),
    assumed: ours.filter((name) => fields[name]?.status === "assumed" && constants[name] !== null),
  };
}
