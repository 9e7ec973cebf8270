import { description, name, version } from "../../package.json";
import { examples } from "../../src/commands/examples.ts";
import { exitCodes, exitMeanings } from "../../src/commands/exit.ts";
import { type HelpEntry, synopsis, takenBy } from "../../src/commands/help.ts";
import { type Command, callOf, everyCommand, isGroup, program } from "../../src/commands/program.ts";
import { settingKeys, usualFile, variableName } from "../../src/commands/settings.ts";

/** Text for roff: minus signs that can be copied, and no line that begins as a request does. */
const roff = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(?=[.'])/gm, "\\&");
const bold = (text: string): string => `.B ${roff(text).replaceAll('"', "\\(dq")}`;

const section = (title: string, ...lines: readonly string[]): string => [`.SH ${title}`, ...lines].join("\n");
const entries = (rows: readonly HelpEntry[]): string[] =>
  rows.flatMap(([term, text]) => [".TP", bold(term), roff(text)]);
const examplesOf = (command: Command): string[] =>
  (examples[command.name] ?? []).flatMap(({ line, does }) => [
    ".PP",
    roff(`${does}:`),
    ".PP",
    ".EX",
    `    ${roff(line)}`,
    ".EE",
  ]);

/** The manual page, offsetof(1), from the commands' definitions. */
export async function manualPage(): Promise<string> {
  const commands = (await everyCommand()).filter((command) => !isGroup(command));
  const { common, settings } = takenBy(program);
  // What only the program itself takes is what a document's command takes: shown there.
  const parts = [
    `.TH ${name.toUpperCase()} 1 "" "${name} ${version}" "User Commands"`,
    section("NAME", `${name} \\- ${roff(description.replace(/^T/, "t"))}`),
    section("SYNOPSIS", bold(synopsis(program))),
    section(
      "DESCRIPTION",
      roff(
        "Prints, as JSON, at which byte offsets the members of structs lie that publish no layout: the running kernel's socket structs, and those of the TLS libraries on the machine.",
      ),
      roff("What is not certain is null, with the reason beside it; there is never a wrong number."),
      roff("The document goes to standard output, messages go to standard error."),
    ),
    section("COMMANDS", ...commands.flatMap(commandLines)),
    section("FLAGS OF EVERY COMMAND", ...entries(common)),
    section(
      "SETTINGS",
      roff(
        `Each is a flag, a variable and a key in ${usualFile}. Flags go before variables, and these before the file.`,
      ),
      ...entries(settings),
    ),
    section(
      "EXIT STATUS",
      ...entries(Object.values(exitCodes).map((code) => [String(code), exitMeanings[code]])),
    ),
    section(
      "ENVIRONMENT",
      ...entries([
        ["NO_COLOR", "Set and not empty: no colours."],
        [`${variableName("strategy")}, ...`, `The settings: ${settingKeys.map(variableName).join(", ")}.`],
      ]),
    ),
    section("FILES", ...entries([[usualFile, "Settings, one JSON object. It need not be there."]])),
    section("EXAMPLES", ...examplesOf(program)),
  ];
  return `.\\" Made by "bun run docs" from the commands' definitions.\n${parts.join("\n")}\n`;
}

function commandLines(command: Command): string[] {
  const { positionals, own } = takenBy(command);
  return [
    `.SS ${roff(callOf(command))}`,
    bold(synopsis(command)),
    ".PP",
    roff(`${command.description}.`),
    ...entries([...positionals, ...own]),
    ...examplesOf(command),
  ];
}
