import { expect, test } from "bun:test";
import { checkUsage, flags } from "../../../src/commands/flags.ts";
import { Failure } from "../../../src/output/failure.ts";

const refusal = (args: string[]): string => {
  try {
    checkUsage(args, flags, "offsetof");
  } catch (error) {
    if (error instanceof Failure && error.kind === "usage") return error.message;
    throw error;
  }
  return "accepted";
};

test.each([
  [["--format", "json"]],
  [["--format=table", "--quiet"]],
  [["--verbose", "-h"]],
  [["--version"]],
  [[]],
])("accepts %p", (args) => {
  expect(refusal(args)).toBe("accepted");
});

test.each([
  [["--formt", "json"], 'unknown flag "--formt", did you mean "--format"?'],
  [["--no-quiet"], 'unknown flag "--no-quiet"'],
  [["--__proto__=1"], 'unknown flag "--__proto__"'],
  [["--toString"], 'unknown flag "--toString"'],
  [["-x"], 'unknown flag "-x"'],
  [["--format"], "--format needs a value: json or table"],
  [["--format", "--quiet"], "--format needs a value"],
  [["--format=yaml"], '--format cannot be "yaml": json or table'],
  [["--format="], '--format cannot be ""'],
  [["--quiet=yes"], "--quiet takes no value"],
  [["kernel"], 'unexpected argument "kernel"'],
  [["--", "kernel"], 'unexpected argument "kernel"'],
])("refuses %p", (args, message) => {
  expect(refusal(args)).toContain(message);
});
