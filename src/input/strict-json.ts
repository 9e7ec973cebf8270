import { foreign } from "./name.ts";

/** A text is no JSON: what is wrong with it, and in which line and column (counted from 1, columns in UTF-16 units). */
export class JsonError extends Error {
  override readonly name = "JsonError";

  constructor(what: string, text: string, at: number) {
    const before = text.slice(0, at).split("\n");
    super(`line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`);
  }
}

/** Deeper nesting than this is refused: it would only eat the stack. */
const deepest = 16;

/**
 * One token of RFC 8259 after white space; of a string only its first quote. It matches nothing at the end of the text, and where there is
 * no token.
 */
const tokens =
  /[ \t\n\r]*([{}[\]:,"]|(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])|)/y;
/** Characters of a string that stand for themselves, and one that is written otherwise. A pattern for all would eat the stack. */
const plain = /[ !#-[\]-\uffff]*/y;
const escaped = /\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4})/y;

/** Where a string ends, behind its last quote. @param from behind its first quote @throws JsonError */
function endOfString(text: string, from: number): number {
  const skip = (pattern: RegExp, at: number): number => {
    pattern.lastIndex = at;
    return pattern.test(text) ? pattern.lastIndex : at;
  };
  for (let at = from; ; ) {
    at = skip(plain, at);
    if (text[at] === '"') return at + 1;
    if (at === text.length) throw new JsonError("a string without an end", text, from - 1);
    const next = skip(escaped, at);
    if (next === at) {
      const what = text[at] === "\\" ? "no escape of JSON" : "a control character in a string";
      throw new JsonError(what, text, at);
    }
    at = next;
  }
}

const shortened = (token: string): string => (token.length > 64 ? `${token.slice(0, 64)}…` : token);

/**
 * Reads JSON as JSON.parse does, which in this runtime cannot tell where an error is. It is stricter in one thing, a key must not stand
 * twice in an object, and less strict in another, a byte order mark may stand first. What is wrong is told without quoting the text,
 * which may be a secret.
 * @throws JsonError with line and column
 */
export function parseJson(text: string): unknown {
  const lost = text.search(foreign);
  if (lost >= 0) throw new JsonError("not UTF-8", text, lost);
  let at = text.startsWith("\ufeff") ? 1 : 0;
  let token = "";
  const next = (): void => {
    tokens.lastIndex = at;
    token = tokens.exec(text)?.[1] ?? "";
    at = tokens.lastIndex;
    if (token === '"') {
      const start = at - 1;
      at = endOfString(text, at);
      token = text.slice(start, at);
    }
  };
  const fail = (what: string): never => {
    const isEnd = token === "" && at === text.length;
    throw new JsonError(isEnd ? `${what}, but the text ends here` : what, text, at - token.length);
  };
  const take = (expected: string): void => {
    if (token !== expected) fail(`"${expected}" expected`);
    next();
  };
  /** Items between brackets, separated by commas; the opening bracket is the current token. */
  const items = (close: string, item: () => void): void => {
    next();
    if (token !== close) {
      item();
      while (token === ",") {
        next();
        item();
      }
      if (token !== close) fail(`"," or "${close}" expected`);
    }
    next();
  };
  const scalar = (): unknown => {
    const value: unknown = JSON.parse(token);
    next();
    return value;
  };
  const value = (depth: number): unknown => {
    if (depth > deepest) fail(`nested deeper than ${deepest}`);
    switch (token) {
      case "{": {
        const members = new Map<string, unknown>();
        items("}", () => {
          if (!token.startsWith('"')) fail("a key in double quotes expected");
          if (members.has(JSON.parse(token))) fail(`key ${shortened(token)} stands twice`);
          const key = String(scalar());
          take(":");
          members.set(key, value(depth + 1));
        });
        return Object.fromEntries(members);
      }
      case "[": {
        const list: unknown[] = [];
        items("]", () => void list.push(value(depth + 1)));
        return list;
      }
      default:
        return /^["\w-]/.test(token) ? scalar() : fail("a value expected");
    }
  };
  next();
  const whole = value(0);
  return token === "" && at === text.length ? whole : fail("nothing more expected");
}
