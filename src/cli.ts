import { NoJitError, SystemError } from "../ffi/error.ts";
import { version } from "../package.json";
import { readArguments } from "./commands/arguments.ts";
import { exitOf } from "./commands/exit.ts";
import { checkUsage, documentFormats } from "./commands/flags.ts";
import { callOf, commandOf, isGroup } from "./commands/program.ts";
import { asFailure, Failure, failureText, stackText, usage } from "./output/failure.ts";
import { setVerbosity } from "./output/log.ts";
import { writeStderr } from "./output/stderr.ts";
import { writeStdout } from "./output/stdout.ts";
import { isTerminal, STDOUT } from "./output/terminal.ts";

/** Runs the command that the arguments name. Commands set the exit code. */
async function main(args: string[]): Promise<void> {
  const { command, rest } = await commandOf(args);
  const asksHelp = rest.includes("--help") || rest.includes("-h");
  if (isGroup(command) && !asksHelp) {
    const known = Object.keys(command.children).join(", ");
    throw usage(`${callOf(command)} needs one of ${known} behind it`);
  }
  if (!isGroup(command)) checkUsage(rest, command.args, callOf(command));
  if (asksHelp) {
    const { helpOf } = await import("./commands/help.ts");
    await writeStdout(await helpOf(command));
    return;
  }
  if (rest.includes("--version")) {
    await writeStdout(`${version}
`);
    return;
  }
  await checkInputs(rest);
  setVerbosity({ quiet: rest.includes("--quiet"), verbose: rest.includes("--verbose") });
  await command.run(rest);
}

/** Flags with a file that is read before any deadline begins. */
const inputFlag = /^--(?:config|constants|against|image)(?:=(.*))?$/s;

/** Sees to it that no file which is read first lies on a mount that keeps this process waiting for ever. @throws Failure */
async function checkInputs(args: readonly string[]): Promise<void> {
  for (const [index, each] of args.entries()) {
    const [flag, value = args[index + 1]] = inputFlag.exec(each) ?? [];
    if (flag === undefined || value === undefined) continue;
    await (await import("./host/mounts.ts")).checkNamed(value);
  }
}

const textFormats: readonly string[] = documentFormats.filter((format) => format !== "json");

/** The failure that stands for an error by which this host refuses any run; null for any other error. */
function refusalOf(thrown: unknown): Failure | null {
  if (thrown instanceof NoJitError) return new Failure("E_NO_JIT", thrown.message, "impossible");
  return thrown instanceof SystemError && thrown.call === "memfd_create"
    ? new Failure("E_NO_MEMFD", thrown.message, "impossible")
    : null;
}

/** Tells an error on stderr: in one line, or as one JSON object where the result would have been JSON; its stack only with --verbose. */
function report(thrown: unknown, args: readonly string[]): void {
  const failure = refusalOf(thrown) ?? asFailure(thrown);
  const asked = /(?:^| )--format[ =](\w+)/.exec(args.join(" "))?.[1] ?? "";
  const isText = args.some((each) => /^--get(=|$)/.test(each)) || textFormats.includes(asked);
  const isJson = asked === "json" || (!isText && !isTerminal(STDOUT));
  writeStderr(`${failureText(failure, isJson ? "json" : "table")}\n`);
  if (args.includes("--verbose")) writeStderr(`${stackText(failure)}\n`);
  process.exitCode = exitOf(failure);
}

const args = readArguments(process.argv.slice(2));

/** Tells what was thrown, and ends this process with its exit code. */
export function fail(thrown: unknown): never {
  report(thrown, args);
  process.exit();
}

/** Runs what this process was called for, and tells what escapes it. Sets the exit code. */
export async function runCommandLine(): Promise<void> {
  // What escapes a command would otherwise be printed by the runtime, stack and source lines included.
  process.on("uncaughtException", fail).on("unhandledRejection", fail);
  await main(args).catch(fail);
}
