import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { description, name, version } from "../package.json";
import {
  btfFlags,
  checkCommand,
  checkUsage,
  documentFlags,
  documentFormats,
  editFlags,
  extractFlags,
  flags,
  gatewayFlags,
  runFlags,
  tlsFlags,
  verifyFlags,
  verifyTlsFlags,
} from "./commands/flags.ts";
import { asFailure, failureText } from "./output/failure.ts";
import { setVerbosity } from "./output/log.ts";
import { writeStdout } from "./output/stdout.ts";
import { childArgument } from "./tls/child/argument.ts";

const meta = { name, description, version };

/** A command with the arguments it takes. */
const entry = <Args extends ArgsDef>(args: Args, command: CommandDef<Args>, group?: string) => ({
  args,
  usage: () =>
    renderUsage(command, { meta: group === undefined ? meta : { ...meta, name: `${name} ${group}` } }),
  run: (rawArgs: string[]) => runCommand(command, { rawArgs }),
});

/** Each command is loaded only when it is asked for. */
const modules = {
  run: () => import("./commands/run.ts").then((module) => module.default),
  kernel: () => import("./commands/kernel.ts").then((module) => module.default),
  tls: () => import("./commands/tls.ts").then((module) => module.default),
  btf: () => import("./commands/btf.ts").then((module) => module.default),
  gateway: () => import("./commands/gateway.ts").then((module) => module.default),
  config: () => import("./commands/config.ts").then((module) => module.default),
  bytecode: () => import("./commands/bytecode.ts").then((module) => module.default),
  verify: () => import("./commands/verify.ts").then((module) => module.default),
};
const verify = () => import("./commands/verify.ts").then((module) => module.verifyCommands);
const bytecode = () => import("./commands/bytecode.ts").then((module) => module.bytecodeCommands);
const commands = {
  run: async () => entry(runFlags, await modules.run()),
  kernel: async () => entry(documentFlags, await modules.kernel()),
  tls: async () => entry(tlsFlags, await modules.tls()),
  btf: async () => entry(btfFlags, await modules.btf()),
  gateway: async () => entry(gatewayFlags, await modules.gateway()),
  config: async () => entry(flags, await modules.config()),
  "verify kernel": async () => entry(verifyFlags, (await verify()).kernel, "verify"),
  "verify tls": async () => entry(verifyTlsFlags, (await verify()).tls, "verify"),
  "bytecode list": async () => entry(flags, (await bytecode()).list, "bytecode"),
  "bytecode extract": async () => entry(extractFlags, (await bytecode()).extract, "bytecode"),
  "bytecode edit": async () => entry(editFlags, (await bytecode()).edit, "bytecode"),
};
/** Commands of two words. */
const groups = ["bytecode", "verify"] as const;
type Group = (typeof groups)[number];
const isGroup = (word: string): word is Group => groups.some((group) => group === word);

const program = defineCommand({ meta, args: runFlags, subCommands: modules });

/** The words that name a command: none, one, or two where the first is a group. */
function commandWords(args: readonly string[]): readonly string[] {
  const isWord = (word: string | undefined): boolean =>
    word !== undefined && word !== "" && !word.startsWith("-");
  if (!isWord(args[0])) return [];
  return args.slice(0, isGroup(args[0] ?? "") && isWord(args[1]) ? 2 : 1);
}

/** Runs the command that the arguments name; without a name it is `run`. Commands set the exit code. */
async function main(args: string[]): Promise<void> {
  if (args[0] === childArgument) return (await import("./tls/child/stages.ts")).runStage(args.slice(1));
  const words = commandWords(args);
  const rest = args.slice(words.length);
  const asksHelp = rest.includes("--help") || rest.includes("-h");
  const [first = ""] = words;
  if (asksHelp && words.length === 1 && isGroup(first)) {
    const usage = renderUsage(await modules[first](), { meta });
    await writeStdout(`${Bun.stripANSI(await usage)}\n`);
    return;
  }
  const command = await commands[words.length > 0 ? checkCommand(words.join(" "), commands) : "run"]();
  checkUsage(rest, command.args, name);
  if (asksHelp) {
    const usage = words.length > 0 ? command.usage() : renderUsage(program);
    await writeStdout(`${Bun.stripANSI(await usage)}
`);
    return;
  }
  if (rest.includes("--version")) {
    await writeStdout(`${version}
`);
    return;
  }
  setVerbosity({ quiet: rest.includes("--quiet"), verbose: rest.includes("--verbose") });
  await command.run(rest);
}

const textFormats: readonly string[] = documentFormats.filter((format) => format !== "json");

/** One line, or one JSON object where the result would have been JSON; the stack only when asked for. */
function report(thrown: unknown, args: readonly string[]): void {
  const failure = asFailure(thrown);
  const asked = /(?:^| )--format[ =](\w+)/.exec(args.join(" "))?.[1] ?? "";
  const isText = args.some((each) => /^--get(=|$)/.test(each)) || textFormats.includes(asked);
  const isJson = asked === "json" || (!isText && !process.stdout.isTTY);
  const cause = failure.cause instanceof Error ? failure.cause : failure;
  console.error(failureText(failure, isJson ? "json" : "table"));
  if (args.includes("--verbose")) console.error(cause.stack);
  process.exitCode = failure.exit;
}

const args = process.argv.slice(2);
const fail = (thrown: unknown): never => {
  report(thrown, args);
  process.exit();
};
// What escapes a command would otherwise be printed by the runtime, stack and source lines included.
process.on("uncaughtException", fail).on("unhandledRejection", fail);
await main(args).catch(fail);
