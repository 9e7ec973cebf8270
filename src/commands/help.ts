import type { ArgsDef } from "citty";
import { name, version } from "../../package.json";
import { examples } from "./examples.ts";
import { flags } from "./flags.ts";
import { type Command, callOf, isGroup, program } from "./program.ts";
import { flagName, settingKeys } from "./settings.ts";

type Arg = ArgsDef[string];

/** One line of a list: what is written, and what it is for. */
export type HelpEntry = readonly [term: string, text: string];

/** What a command takes, by kind. */
export interface Taken {
  readonly positionals: readonly HelpEntry[];
  /** Flags that not every command takes. */
  readonly own: readonly HelpEntry[];
  /** Flags of every command. */
  readonly common: readonly HelpEntry[];
  /** Flags that are settings too. */
  readonly settings: readonly HelpEntry[];
}

const settingFlags: readonly string[] = settingKeys.map(flagName);

/** What stands for a flag's value, as `FILE` or `json|table`; nothing where it takes none. */
export const hintOf = ({ options, ...arg }: Arg & { options?: string[] }): string =>
  arg.type === "boolean" ? "" : (options?.join("|") ?? arg.valueHint ?? "VALUE");

/** A flag as it is written, `-o, --output FILE`. */
function term(flag: string, arg: Arg): string {
  const short = "alias" in arg && typeof arg.alias === "string" ? `-${arg.alias}, ` : "";
  return `${short}--${flag} ${hintOf(arg)}`.trimEnd();
}

/** What a command takes, in the order of its definition. */
export function takenBy({ args }: Command): Taken {
  const rows = Object.entries(args);
  const pick = (isWanted: (flag: string) => boolean): HelpEntry[] =>
    rows
      .filter(([flag, arg]) => arg.type !== "positional" && isWanted(flag))
      .map(([flag, arg]) => [term(flag, arg), arg.description ?? ""]);
  const isSetting = (flag: string): boolean => settingFlags.includes(flag);
  // A flag that has a common one's name but takes something else is the command's own.
  const isCommon = (flag: string): boolean =>
    !isSetting(flag) &&
    Object.entries(flags).some(([each, arg]) => each === flag && hintOf(arg) === hintOf(args[flag] ?? {}));
  return {
    positionals: rows
      .filter(([, arg]) => arg.type === "positional")
      .map(([flag, arg]) => [arg.valueHint ?? flag.toUpperCase(), arg.description ?? ""]),
    own: pick((flag) => !isSetting(flag) && !isCommon(flag)),
    common: pick(isCommon),
    settings: pick(isSetting),
  };
}

/** How a command is called, in one line. */
export function synopsis(command: Command): string {
  const below = command === program ? ["[COMMAND]"] : isGroup(command) ? ["COMMAND"] : [];
  const { positionals, own } = takenBy(command);
  const places = positionals.map(([hint]) => `[${hint}]`);
  return [
    callOf(command),
    ...below,
    ...(own.length > 0 || !isGroup(command) ? ["[FLAGS]"] : []),
    ...places,
  ].join(" ");
}

/** The text of --help: everything from the definitions. */
export async function helpOf(command: Command): Promise<string> {
  const { positionals, own, common, settings } = takenBy(command);
  const below = await Promise.all(Object.values(command.children).map((load) => load()));
  const shown = examples[command.name] ?? [];
  const sections: readonly (readonly [title: string, lines: readonly string[]])[] = [
    ["USAGE", [`  ${synopsis(command)}`]],
    ["COMMANDS", list(below.map((each) => [callOf(each).slice(name.length + 1), each.description]))],
    ["ARGUMENTS", list(positionals)],
    ["FLAGS", list([...own, ...common])],
    ["SETTINGS, also by file and variables: see offsetof config", list(settings)],
    ["EXAMPLES", shown.flatMap(({ line, does }) => [`  # ${does}`, `  ${line}`])],
  ];
  const blocks = sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => [title, ...lines].join("\n"));
  const head = wrap(`${callOf(command)} ${version}: ${command.description}`, WIDTH).join("\n");
  const more = command === program ? [`${name} COMMAND --help tells more of one.`] : [];
  return `${[head, ...blocks, ...more].join("\n\n")}\n`;
}

/** Columns of a line. */
const WIDTH = 100;
/** Where the texts begin; a longer term has its text below it. */
const INDENT = 30;

function list(entries: readonly HelpEntry[]): string[] {
  const widest = Math.max(...entries.map(([each]) => each.length)) + 4;
  const indent = Math.min(INDENT, widest);
  return entries.flatMap(([each, text]) => {
    const lines = wrap(text, WIDTH - indent).map((line) => `${" ".repeat(indent)}${line}`);
    const [first = "", ...others] = lines;
    if (each.length + 4 > indent) return [`  ${each}`, ...lines];
    return [`  ${each}`.padEnd(indent) + first.slice(indent), ...others];
  });
}

/** Breaks a text between words into lines of at most so many columns. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
