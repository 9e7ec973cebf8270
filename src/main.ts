import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { description, name, version } from "../package.json";
import {
  btfFlags,
  checkCommand,
  checkUsage,
  documentFlags,
  documentFormats,
  flags,
  gatewayFlags,
  tlsFlags,
} from "./commands/flags.ts";
import { asFailure, failureText } from "./output/failure.ts";
import { setVerbosity } from "./output/log.ts";
import { writeStdout } from "./output/stdout.ts";
import { childArgument } from "./tls/child/argument.ts";

const meta = { name, description, version };

/** A command with the arguments it takes. */
const entry = <Args extends ArgsDef>(args: Args, command: CommandDef<Args>) => ({
  args,
  usage: () => renderUsage(command, { meta }),
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
};
const commands = {
  run: async () => entry(documentFlags, await modules.run()),
  kernel: async () => entry(documentFlags, await modules.kernel()),
  tls: async () => entry(tlsFlags, await modules.tls()),
  btf: async () => entry(btfFlags, await modules.btf()),
  gateway: async () => entry(gatewayFlags, await modules.gateway()),
  config: async () => entry(flags, await modules.config()),
};

const program = defineCommand({ meta, args: documentFlags, subCommands: modules });

/** Runs the command that the arguments name; without a name it is `run`. Commands set the exit code. */
async function main(args: string[]): Promise<void> {
  const first = args[0] ?? "";
  if (first === childArgument) return (await import("./tls/child/stages.ts")).runStage(args.slice(1));
  const isNamed = first !== "" && !first.startsWith("-");
  const rest = isNamed ? args.slice(1) : args;
  const command = await commands[isNamed ? checkCommand(first, commands) : "run"]();
  checkUsage(rest, command.args, name);
  if (rest.includes("--help") || rest.includes("-h")) {
    const usage = isNamed ? command.usage() : renderUsage(program);
    await writeStdout(`${Bun.stripANSI(await usage)}\n`);
    return;
  }
  if (rest.includes("--version")) {
    await writeStdout(`${version}\n`);
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
