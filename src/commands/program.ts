import { type ArgsDef, type CommandDef, runCommand } from "citty";
import { description, name } from "../../package.json";
import { Failure } from "../output/failure.ts";
import { didYouMean } from "../output/suggest.ts";
import { runFlags } from "./flags.ts";

/** A command: a definition of citty's with the words that name it, and what is below it. */
export interface Command {
  /** One word or two, as `kernel`; none for the program itself. */
  readonly name: string;
  readonly description: string;
  readonly args: ArgsDef;
  /** By their last word. */
  readonly children: Readonly<Record<string, () => Promise<Command>>>;
  readonly run: (rawArgs: string[]) => Promise<unknown>;
}

type Later<Value> = Value | Promise<Value> | (() => Value) | (() => Promise<Value>);
const now = async <Value extends object>(value: Later<Value>): Promise<Value> =>
  value instanceof Function ? value() : value;

async function command<Args extends ArgsDef>(
  words: string,
  later: Later<CommandDef<Args>>,
): Promise<Command> {
  const definition = await now(later);
  const { description = "" } = await now(definition.meta ?? {});
  const below = Object.entries(await now(definition.subCommands ?? {}));
  // citty hands over a proxy, which looks for a flag that was not given under the name in other cases, letter by letter.
  const plain: CommandDef<Args> = {
    ...definition,
    run: (context) => definition.run?.({ ...context, args: { ...context.args } }),
  };
  return {
    name: words,
    description,
    args: await now<ArgsDef>(definition.args ?? {}),
    children: Object.fromEntries(
      below.map(([word, child]) => [word, () => command(`${words} ${word}`, child)]),
    ),
    run: (rawArgs) => runCommand(plain, { rawArgs }),
  };
}

/** Each command is loaded only when it is asked for. */
const commands = {
  run: async () => command("run", (await import("./run.ts")).default),
  detect: async () => command("detect", (await import("./detect.ts")).default),
  kernel: async () => command("kernel", (await import("./kernel.ts")).default),
  tls: async () => command("tls", (await import("./tls.ts")).default),
  btf: async () => command("btf", (await import("./btf.ts")).default),
  gateway: async () => command("gateway", (await import("./gateway.ts")).default),
  bytecode: async () => command("bytecode", (await import("./bytecode.ts")).default),
  verify: async () => command("verify", (await import("./verify.ts")).default),
  explain: async () => command("explain", (await import("./explain.ts")).default),
  diff: async () => command("diff", (await import("./diff.ts")).default),
  merge: async () => command("merge", (await import("./merge.ts")).default),
  config: async () => command("config", (await import("./config.ts")).default),
};

/** What runs where no command is named. */
const usual = commands.run;

/** The program itself. */
export const program: Command = {
  name: "",
  description,
  args: runFlags,
  children: commands,
  run: async (rawArgs) => (await usual()).run(rawArgs),
};

/**
 * The command that the first words name, and the arguments behind them.
 * @throws Failure of wrong usage where a word names none
 */
export async function commandOf(args: readonly string[]): Promise<{ command: Command; rest: string[] }> {
  let command = program;
  let rest = [...args];
  for (let [word] = rest; Object.keys(command.children).length > 0; [word] = rest) {
    if (word === undefined || word === "" || word.startsWith("-")) break;
    command = await childOf(command, word)();
    rest = rest.slice(1);
  }
  return { command, rest };
}

function childOf({ name: parent, children }: Command, word: string): () => Promise<Command> {
  const child = Object.hasOwn(children, word) ? children[word] : undefined;
  if (child !== undefined) return child;
  const known = Object.keys(children);
  const full = (each: string): string => `${parent} ${each}`.trim();
  throw new Failure(
    "E_USAGE",
    `unknown command "${full(word)}"${didYouMean(word, known)}; commands are ${known.map(full).join(", ")}`,
    "usage",
  );
}

/** Every command, in the order they are published in, each behind the group it is of. */
export async function everyCommand({ children }: Command = program): Promise<readonly Command[]> {
  const own = await Promise.all(Object.values(children).map((load) => load()));
  return (await Promise.all(own.map(async (each) => [each, ...(await everyCommand(each))]))).flat();
}

/** How a command is called. */
export const callOf = (command: Command): string => `${name} ${command.name}`.trim();
/** Whether a command does nothing itself. */
export const isGroup = (command: Command): boolean =>
  command !== program && Object.keys(command.children).length > 0;
