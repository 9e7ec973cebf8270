import { parseArgs } from "node:util";
import type { ArgsDef } from "citty";
import { strategies } from "../output/document.ts";
import { exitCodes, Failure } from "../output/failure.ts";

/** How a document can be printed. */
export const formats = ["json", "table"] as const;

/** Flags that every command takes. */
export const flags = {
  format: {
    type: "enum",
    options: [...formats],
    description: "Output format (default: table on a terminal, json otherwise)",
  },
  strategy: {
    type: "enum",
    options: [...strategies],
    description: "How the kernel is guessed: by whole structs, or one candidate an event (default: snapshot)",
  },
  quiet: { type: "boolean", description: "No messages on stderr but errors" },
  verbose: { type: "boolean", description: "More messages on stderr, stack traces with errors" },
  help: { type: "boolean", alias: "h", description: "Show this text" },
  version: { type: "boolean", description: "Show the version" },
} as const satisfies ArgsDef;

const usage = (message: string): Failure => new Failure("E_USAGE", message, exitCodes.usage);

/**
 * Checks arguments against a command's definition, since citty takes unknown ones in silence.
 * @throws Failure with exit code 2 that names the argument and what is allowed.
 */
export function checkUsage(args: readonly string[], definition: ArgsDef, command: string): void {
  const options = Object.fromEntries(
    Object.entries(definition).map(([name, flag]) => [
      name,
      {
        type: flag.type === "boolean" ? ("boolean" as const) : ("string" as const),
        ...("alias" in flag && typeof flag.alias === "string" ? { short: flag.alias } : {}),
      },
    ]),
  );
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  for (const token of tokens) {
    if (token.kind === "positional") {
      throw usage(`unexpected argument "${token.value}"; the command comes first, see "${command} --help"`);
    }
    if (token.kind !== "option") continue;
    const flag = Object.hasOwn(definition, token.name) ? definition[token.name] : undefined;
    if (flag === undefined) {
      const hint = didYouMean(token.name, Object.keys(definition), "--");
      throw usage(`unknown flag "${token.rawName}"${hint}; see "${command} --help"`);
    }
    if (flag.type === "boolean") {
      if (token.value !== undefined) throw usage(`--${token.name} takes no value`);
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith("-"))) {
      throw usage(`--${token.name} needs a value${allowed(flag)}`);
    }
    if (flag.type === "enum" && !flag.options?.includes(token.value)) {
      throw usage(`--${token.name} cannot be "${token.value}"${allowed(flag)}`);
    }
  }
}

/** Tells that a name is one of the commands. @throws Failure with exit code 2 when it is not. */
export function checkCommand<Commands extends object>(name: string, commands: Commands): keyof Commands {
  if (isKey(commands, name)) return name;
  const known = Object.keys(commands);
  const hint = didYouMean(name, known, "");
  throw usage(`unknown command "${name}"${hint}; commands are ${known.join(", ")}`);
}

const isKey = <Known extends object>(known: Known, name: PropertyKey): name is keyof Known =>
  Object.hasOwn(known, name);

const allowed = (flag: ArgsDef[string]): string =>
  flag.type === "enum" && flag.options !== undefined ? `: ${flag.options.join(" or ")}` : "";

function didYouMean(name: string, known: readonly string[], prefix: string): string {
  const close = known.find((each) => each.startsWith(name) || distance(name, each) <= 2);
  return close === undefined ? "" : `, did you mean "${prefix}${close}"?`;
}

/** Levenshtein distance, over one row. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      const swap = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(swap, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
