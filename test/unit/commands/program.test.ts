import { expect, test } from "bun:test";
import { examples } from "../../../src/commands/examples.ts";
import { helpOf } from "../../../src/commands/help.ts";
import { type Command, commandOf, everyCommand, isGroup, program } from "../../../src/commands/program.ts";

const all: readonly Command[] = [program, ...(await everyCommand())];

test("the first words name a command, and no word the program itself", async () => {
  const tls = await commandOf(["tls", "--pid", "1"]);
  expect([tls.command.name, tls.rest]).toEqual(["tls", ["--pid", "1"]]);
  const none = await commandOf(["--quiet"]);
  expect([none.command.name, none.rest]).toEqual(["", ["--quiet"]]);
});

test.each([
  [["kernal"], 'unknown command "kernal", did you mean "kernel"?; commands are run, '],
  [["bytecode", "lst"], 'unknown command "bytecode lst", did you mean "list"?; commands are bytecode list, '],
  [["toString"], 'unknown command "toString"; commands are run, '],
  [["__proto__"], 'unknown command "__proto__"; commands are run, '],
])("refuses %p", (args, message) => {
  expect(commandOf(args)).rejects.toThrow(message);
});

test.each(all.map((command) => [command.name, command]))(
  "help of %p tells all that it takes",
  async (_, command) => {
    const help = await helpOf(command);
    for (const [flag, arg] of Object.entries(command.args)) {
      expect(help).toContain(arg.type === "positional" ? (arg.valueHint ?? "") : `--${flag}`);
      expect(help.replaceAll(/\s+/g, " ")).toContain(arg.description ?? "");
    }
    for (const word of Object.keys(command.children))
      expect(help).toContain(`  ${`${command.name} ${word}`.trim()} `);
    for (const line of help.split("\n").filter((each) => !each.startsWith("  offsetof"))) {
      expect(line.length).toBeLessThanOrEqual(120);
      expect(line).toBe(line.trimEnd());
    }
  },
);

test("every command has an example, and every example a command", () => {
  const named = all.filter((command) => !isGroup(command)).map(({ name }) => name);
  expect(Object.keys(examples).toSorted()).toEqual(named.toSorted());
});
