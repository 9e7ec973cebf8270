import { resolve } from "node:path";
import * as v from "valibot";
import { readTrusted, UntrustedError } from "../host/trusted.ts";
import { below, nameOf } from "../input/name.ts";
import { JsonError, parseJson } from "../input/strict-json.ts";
import { sources } from "../offsets/evidence.ts";
import { Failure } from "../output/failure.ts";
import { didYouMean, distance } from "../output/suggest.ts";
import { codeOf, messageOf } from "../self/thrown.ts";

/** A kind of value: its schema, how variables and flags write it, and what is allowed, in words. */
interface Kind<Value> {
  readonly schema: v.GenericSchema<unknown, Value>;
  /** What a text stands for; the text itself where it stands for nothing, which the schema then refuses. */
  readonly fromText: (text: string) => unknown;
  readonly allowed: string;
  /** What stands for a value in help. Words in small letters are values themselves, those in capitals stand for others. */
  readonly hint: string;
}

/** One thing that can be set. */
export interface Setting<Value = unknown> extends Kind<Value> {
  readonly standard: Value;
  readonly description: string;
}

const oneOf = <const Name extends string>(names: readonly Name[]): Kind<Name> => ({
  schema: v.picklist(names),
  fromText: (text) => text,
  allowed: names.join(" or "),
  hint: names.join("|"),
});

/** A list of some of these names: a JSON array in the file, separated by commas in a variable or flag. */
const someOf = <const Name extends string>(names: readonly Name[]): Kind<readonly Name[]> => ({
  schema: v.pipe(
    v.array(v.picklist(names)),
    v.minLength(1),
    v.check((list) => new Set(list).size === list.length),
  ),
  fromText: (text) => text.split(","),
  allowed: `one or more of ${names.join(", ")}, each once`,
  hint: names.join(","),
});

const integer = (least: number, most: number, unit?: string): Kind<number> => ({
  schema: v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most)),
  fromText: (text) => (/^\d{1,15}$/.test(text) ? Number(text) : text),
  allowed: `${least} to ${most}${unit === undefined ? "" : ` ${unit}`}`,
  hint: "N",
});

const truth: Kind<boolean> = {
  schema: v.boolean(),
  fromText: (text) => (text === "true" ? true : text === "false" ? false : text),
  allowed: "true or false",
  hint: "true|false",
};

const folder: Kind<string> = {
  schema: v.pipe(
    v.string(),
    v.startsWith("/"),
    v.maxLength(4095), // PATH_MAX without the closing zero byte
    v.check((path) => !path.includes("\0")),
  ),
  fromText: (text) => text,
  allowed: "an absolute path",
  hint: "PATH",
};

const setting = <Value>(
  kind: Kind<Value>,
  standard: NoInfer<Value>,
  description: string,
): Setting<Value> => ({
  ...kind,
  standard,
  description,
});

const paths: Kind<readonly string[]> = {
  schema: v.array(folder.schema),
  fromText: (text) => text.split(","),
  allowed: "absolute paths",
  hint: "PATH,...",
};

/**
 * Everything that can be set, by its key in the file and in the document. The variable, the flag, the checks, the help
 * and the README's table follow from these rows.
 */
export const settings = {
  strategy: setting(oneOf(["snapshot", "stepwise"]), "snapshot", "How the kernel is guessed"),
  bytecode: setting(
    oneOf(["auto", "current", "old"]),
    "auto",
    "Which eBPF objects are loaded and picked: old for old kernels, which newer ones take too; auto by the kernel's version",
  ),
  source: setting(
    someOf(sources),
    sources,
    "Which sources may speak: guess and btf of the kernel, dwarf of one that does not run here; probe, code, references and table of TLS libraries",
  ),
  allow: setting(
    oneOf(["none", "assumed"]),
    "none",
    "What is told though nothing vouches for it: assumed, what only a table says of a library",
  ),
  trust: setting(
    paths,
    [],
    "Libraries, by path, that are executed, and folders that what they need is looked for in, though others than root could have written them",
  ),
  threshold: setting(integer(1, 3000, "bytes"), 400, "How far stepwise searches"),
  retries: setting(integer(0, 100), 2, "How often a guess that failed is tried again"),
  stability_window: setting(
    integer(1, 1_000_000, "microseconds"),
    100,
    "Time between two readings of TCP_INFO, which must agree",
  ),
  stability_attempts: setting(integer(1, 10_000), 20, "How often a pair of readings is tried"),
  collect_tcpv4: setting(truth, true, "Learn from TCP over IPv4"),
  collect_tcpv6: setting(truth, true, "Learn from TCP over IPv6"),
  collect_udpv4: setting(truth, true, "Learn from UDP over IPv4"),
  collect_udpv6: setting(truth, true, "Learn from UDP over IPv6"),
  proc_root: setting(folder, "/proc", "Where the host's procfs is mounted, in a container often /host/proc"),
  deadline: setting(integer(1, 3_600_000, "milliseconds"), 60_000, "How long a run may take"),
} as const;

export type SettingKey = keyof typeof settings;
export const settingKeys = Object.keys(settings) as SettingKey[];

/** The value of every setting. */
export type Config = {
  readonly [Key in SettingKey]: v.InferOutput<(typeof settings)[Key]["schema"]>;
};

/** Every setting with where its value came from: `default`, a file's path, a variable's or a flag's name. */
export type EffectiveConfig = {
  readonly [Key in SettingKey]: { readonly value: Config[Key]; readonly from: string };
};

type Dashed<Key extends string> = Key extends `${infer Head}_${infer Tail}` ? `${Head}-${Dashed<Tail>}` : Key;

/** A setting's flag without its dashes, e.g. `proc-root`. */
export type FlagName = Dashed<SettingKey>;
/** The flag of a setting, without its dashes. */
export const flagName = (key: SettingKey): FlagName => key.replaceAll("_", "-") as FlagName;
/** A setting's environment variable, e.g. `OFFSETOF_PROC_ROOT`. */
export const variableName = (key: SettingKey): string => `OFFSETOF_${key.toUpperCase()}`;

/** The file that is read when no other is named. It need not be there. */
export const usualFile = "/etc/offsetof.json";
const largestFile = 64 << 10;

/** What a run was started with. */
export interface Origins {
  /** Values of flags by {@link flagName}; `config` names another file. */
  readonly flags: Readonly<Partial<Record<FlagName | "config", string | undefined>>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * The settings in force: flags, then variables (an empty one counts as not set), then the file, then the defaults.
 * Each origin is checked in full, whether another outdoes it or not.
 * @throws Failure of wrong usage that names the flag, the variable or the file and key, and what is allowed
 */
export function loadConfig({ flags, env }: Origins): EffectiveConfig {
  checkVariables(env);
  const file = readFile(flags.config);
  const effective = settingKeys.map((key) => {
    const flag = flags[flagName(key)];
    const variable = env[variableName(key)];
    const [first] = [
      ...(flag === undefined ? [] : [textValue(key, flag, `--${flagName(key)}`, "E_USAGE")]),
      ...(variable === undefined || variable === ""
        ? []
        : [textValue(key, variable, variableName(key), "E_CONFIG")]),
      ...(Object.hasOwn(file.values, key) ? [fileValue(key, file.values[key], file.path)] : []),
      { value: settings[key].standard, from: "default" },
    ];
    return [key, first];
  });
  return Object.fromEntries(effective);
}

/** The values alone. */
export const configOf = (effective: EffectiveConfig): Config =>
  Object.fromEntries(settingKeys.map((key) => [key, effective[key].value])) as Config;

interface Sourced {
  readonly value: unknown;
  readonly from: string;
}

function textValue(key: SettingKey, text: string, from: string, code: "E_USAGE" | "E_CONFIG"): Sourced {
  const { schema, fromText, allowed } = settings[key];
  const result = v.safeParse(schema, fromText(text));
  if (result.success) return { value: result.output, from };
  throw new Failure(code, `${from} cannot be ${shown(text)}: ${allowed}`, "usage");
}

function fileValue(key: SettingKey, value: unknown, path: string): Sourced {
  const { schema, allowed } = settings[key];
  const result = v.safeParse(schema, value);
  if (result.success) return { value: result.output, from: path };
  const [issue] = result.issues;
  const keyPath = [key, v.getDotPath(issue)].filter((part) => part !== null).join(".");
  throw refuse(`${path}: ${keyPath} cannot be ${shown(issue.input)}: ${allowed}`);
}

/** A value as JSON, cut where it is long. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value);
  return text.length > 64 ? `${text.slice(0, 64)}…` : text;
};

const refuse = (message: string): Failure => new Failure("E_CONFIG", message, "usage");

/** Refuses misspelled variables. Others with our prefix may be a container platform's service links. */
function checkVariables(env: Origins["env"]): void {
  const known = settingKeys.map(variableName);
  for (const name of Object.keys(env)) {
    if (!name.startsWith("OFFSETOF_") || known.includes(name)) continue;
    const meant = known.find((each) => distance(name, each) <= 2);
    if (meant !== undefined) throw refuse(`unknown variable ${name}, did you mean "${meant}"?`);
  }
}

/**
 * The absolute path that a path means, counted from the working directory. {@link resolve} would lose bytes of a name that is not of
 * UTF-8: there `.` and `..` stay as they are.
 */
export const absolute = (path: string): string =>
  path.isWellFormed() ? resolve(path) : path.startsWith("/") ? path : below(process.cwd(), path);

/** The file's members; none where the usual file is missing. */
function readFile(named: string | undefined): { path: string; values: Readonly<Record<string, unknown>> } {
  const path = named === undefined ? usualFile : absolute(named);
  const bytes = attempt(path, () => readTrusted(path, largestFile));
  if (bytes === null) {
    if (named !== undefined) throw refuse(`${path} is not there; --config needs a file`);
    return { path, values: {} };
  }
  const values = attempt(path, () => parseJson(nameOf(bytes)));
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw refuse(`${path}: must be one JSON object, such as {"threshold": 400}`);
  }
  for (const key of Object.keys(values)) {
    if (Object.hasOwn(settings, key)) continue;
    const hint = didYouMean(key, settingKeys);
    throw refuse(`${path}: unknown key ${shown(key)}${hint}; keys are ${settingKeys.join(", ")}`);
  }
  return { path, values: { ...values } };
}

/** Runs `read`; what it throws becomes a failure that names the file. */
function attempt<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof UntrustedError) throw refuse(`${path} is not used: ${error.message}`);
    if (error instanceof JsonError) throw refuse(`${path}: ${error.message}`);
    const code = codeOf(error);
    throw refuse(`${path} ${code === undefined ? messageOf(error) : `cannot be read: ${code}`}`);
  }
}
