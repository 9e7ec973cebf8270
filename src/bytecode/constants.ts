import type { TableMatch } from "../offsets/evidence.ts";
import { type Allowance, isNumber, type Status } from "../offsets/truth.ts";
import type { Earlier } from "../output/earlier.ts";
import { Failure } from "../output/failure.ts";

/** One thing whose constants are written: the kernel, or a library. */
export interface BakeSubject {
  /** `kernel`, or the library's path. */
  readonly name: string;
  readonly constants: Readonly<Record<string, number | null>>;
  /** By constant, its status, `confirmed` and so on; empty where the document does not tell. */
  readonly fields: Readonly<
    Record<string, { readonly status: Status; readonly reason?: string | undefined }>
  >;
  /** Null for the kernel. */
  readonly library: {
    readonly library: string;
    readonly version: string | null;
    readonly match: TableMatch | null;
  } | null;
}

/**
 * The subject that is asked for: `kernel`, or a library by its build id or its path, in a container also with the root
 * before it.
 * @param alias another name of that library
 * @throws Failure that tells which there are
 */
export function subjectIn(
  { kernel, tls = [] }: Pick<Earlier, "kernel" | "tls">,
  wanted: string,
  alias = wanted,
): BakeSubject {
  if (wanted === "kernel") {
    if (kernel === undefined)
      throw refused("the document has no kernel part: run offsetof kernel, or offsetof run");
    return { name: "kernel", ...kernel, library: null };
  }
  const named = tls.filter(({ path, root = "", build_id }) =>
    [path, path && `${root}${path}`, build_id].some((name) => name === wanted || name === alias),
  );
  const [one] = named;
  if (one === undefined) {
    const known = tls.flatMap(({ path, root = "" }) => (path === null ? [] : [`${root}${path}`]));
    throw refused(`no library ${wanted}; there are: ${known.join(", ") || "none"}`);
  }
  if (named.length > 1)
    throw refused(`${named.length} libraries are ${wanted}: put the root of one before its path`);
  const { constants, fields, library, version, match } = one;
  return { name: wanted, constants, fields, library: { library, version, match } };
}

/** The subject with constants of its kind that its document leaves out, as `--only` does: they are not known. */
export const withUntold = (subject: BakeSubject, kind: readonly string[]): BakeSubject => ({
  ...subject,
  constants: { ...Object.fromEntries(kind.map((name) => [name, null])), ...subject.constants },
});

const refused = (message: string): Failure => new Failure("E_CONSTANTS", message);

/** What an object's constants become. */
export interface BakedValues {
  /** The value of each name; null: the absent value. */
  readonly values: ReadonlyMap<string, bigint | null>;
  /** Constants that a table alone tells, of another version than the subject's. */
  readonly assumed: readonly string[];
  /** Constants that are not known, and that no `absent` member explains. */
  readonly missing: readonly string[];
  /** Names that got a value of the person's own, which stands before the document's. */
  readonly set: readonly string[];
}

/** What is written though it is not known, or not sure. */
export interface Latitude extends Allowance {
  /** Whether the absent value is written in the place of what is not known (--allow missing). */
  readonly missing: boolean;
}

/**
 * The values for the names of an object. A name that the subject does not have is none of ours.
 * @param settings values of the person's own, which are asked for no constant
 * @throws Failure that names what is not known
 */
export function chooseValues(
  names: readonly string[],
  subject: BakeSubject,
  allow: Latitude,
  settings: ReadonlyMap<string, bigint> = new Map(),
): BakedValues {
  const { constants, fields, library, name: of } = subject;
  const isExact = library?.match === "exact";
  const ours = names.filter((name) => Object.hasOwn(constants, name) && !settings.has(name));
  const told = (name: string): number | null => {
    const status = fields[name]?.status;
    // A document without statuses was written by hand: its numbers count as certain.
    const isTold = status === undefined || isNumber(status) || (status === "assumed" && allow.assumed);
    return isTold ? (constants[name] ?? null) : null;
  };
  const missing = ours.filter((name) => told(name) === null && fields[name]?.status !== "absent");
  if (missing.length > 0 && !allow.missing) {
    throw refused(`of ${of} is not known: ${missing.join(", ")}; --allow-missing leaves that out`);
  }
  const values = ours.map((name) => [name, told(name)] as const);
  return {
    values: new Map([
      ...values.map(([name, value]) => [name, value === null ? null : BigInt(value)] as const),
      ...settings,
    ]),
    assumed: ours.filter((name) => !isExact && fields[name]?.status === "assumed" && told(name) !== null),
    missing,
    set: [...settings.keys()],
  };
}
