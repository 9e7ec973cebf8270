/**
 * Whoever calls a function reads its docstring, not its code: what is exported has one, it names the errors, and says what a
 * number is.
 *
 * What is looked at: exported functions, those held by a constant too, and the methods of exported classes. Exceptions: getters of no
 * number, whose name says what they give; `[Symbol.dispose]` and its kin, which mean the same everywhere; and methods by which a class does what an
 * interface of ours asks (`implements`), where the interface has the words. An error that only passes through (`throw error`) is
 * not the function's own.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const files = [...new Bun.Glob("{src,ffi}/**/*.ts").scanSync(root)].sort();

interface Callable {
  /** File, line and name. */
  readonly at: string;
  readonly isGetter: boolean;
  /** Empty where it has none. */
  readonly docstring: string;
  readonly body: string;
}

/** `export function f(`, `export async function* f(`, `export const f = (`, `export const f: Type = async (`. */
const exported =
  /^export (?:(?:async )?function\*? (\w+)|const (\w+)(?:: [^=]+)? =\s+(?:async )?(?:\(|<|\w+ =>))/;
const classes = /^export class \w+(?: extends [^{]+?)?(?: implements ([^{]+))? \{/;
/** Of a class's body, which is indented by two blanks. Private ones begin with `#`. */
const method = /^ {2}(?:static )?(?:async )?\*?(get )?(\w+)(?:<[^(]*>)?\(/;

/** The lines of a statement that begins at one: biome ends it where it began, or below an arrow with the first semicolon. */
function bodyAt(lines: readonly string[], at: number): string {
  const indent = /^ */.exec(lines[at] ?? "")?.[0] ?? "";
  let isArrow = false;
  const end = lines.findIndex((line, index) => {
    if (index < at) return false;
    const isOuter = line.startsWith(indent) && /^\S/.test(line.slice(indent.length));
    if (isOuter) isArrow = line.endsWith("=>");
    return /[;}]$/.test(line) && (isOuter || isArrow);
  });
  return lines.slice(at, end + 1).join("\n");
}

/** The text of the comment that ends right above a line. */
function docstringAbove(lines: readonly string[], at: number): string {
  if (!lines[at - 1]?.endsWith("*/")) return "";
  const start = lines.findLastIndex((line, index) => index < at && line.trimStart().startsWith("/**"));
  return lines.slice(start, at).join("\n");
}

function callablesIn(file: string): readonly Callable[] {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  let isClass = false;
  return lines.flatMap((line, at) => {
    const opened = classes.exec(line);
    if (opened !== null) isClass = (opened[1] ?? "Disposable").trim() === "Disposable";
    else if (/^\S/.test(line)) isClass = false;
    const [, held, constant] = exported.exec(line) ?? [];
    const [, getter, own] = (isClass ? method.exec(line) : null) ?? [];
    const name = held ?? constant ?? own;
    if (name === undefined || name === "constructor") return [];
    const docstring = docstringAbove(lines, at);
    const isGetter = getter !== undefined;
    return [{ at: `${file}:${at + 1} ${name}`, isGetter, docstring, body: bodyAt(lines, at) }];
  });
}

const callables = files.flatMap(callablesIn);

test("what is exported and can be called has a docstring", () => {
  const without = callables
    .filter(({ isGetter, docstring }) => !isGetter && docstring === "")
    .map(({ at }) => at);
  expect([callables.length > 800, without]).toEqual([true, []]);
});

test("a docstring names the errors that its function makes", () => {
  const throwing = /\bthrow (?!error\b|failed\b|caught\b)/;
  /** In ffi/ a call's negative result is thrown by `check`. */
  const checking = /\bcheck\(/;
  const makes = ({ at, body }: Callable): boolean => {
    const code = body.replaceAll(/\/\/.*/g, "");
    return throwing.test(code) || (at.startsWith("ffi/") && checking.test(code));
  };
  const silent = callables.filter(
    (each) => !each.isGetter && makes(each) && !/\bthrows?\b/i.test(each.docstring),
  );
  expect(silent.map(({ at }) => at)).toEqual([]);
});

test("a docstring says what a number is: of which unit, how many of what, or whose", () => {
  /** A result of numbers, as it stands between the parameters and the body. */
  const numeric = /\)\s*:\s*(?:(?:Promise|Generator)<|readonly )*(?:number|bigint)\b/;
  const headOf = (body: string): string => /^.*?(?:\{\n|=>)/s.exec(body)?.[0] ?? body;
  const told =
    /\b(?:bytes?|bits?|(?:milli|nano)?seconds|how (?:many|often)|numbers?|address(?:es)?|columns|index|descriptor|errno|port|exit code|negative)\b/i;
  const numbers = callables.filter(({ body }) => numeric.test(headOf(body)));
  const silent = numbers.filter(({ docstring }) => !told.test(docstring)).map(({ at }) => at);
  expect([numbers.length > 100, silent]).toEqual([true, []]);
});
