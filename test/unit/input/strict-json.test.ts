import { expect, test } from "bun:test";
import fc from "fast-check";
import { nameOf } from "../../../src/input/name.ts";
import { JsonError, parseJson } from "../../../src/input/strict-json.ts";

const errorOf = (text: string): string => {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
  return "accepted";
};

/** How JSON.parse, which we did not write, judges the text. */
const judged = (text: string): { value: unknown } | "refused" => {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return "refused";
  }
};

test("reads what JSON.parse reads, to the same values", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.constantFrom(undefined, 1, 2, "\t"), (text, indent) => {
      const laidOut = JSON.stringify(JSON.parse(text), null, indent);
      expect(parseJson(laidOut)).toEqual(JSON.parse(laidOut));
    }),
  );
});

test("refuses what JSON.parse refuses, also after one change to good JSON", () => {
  const glyphs = fc.constantFrom(..."{}[]:,\"\\ \n\t0123456789.-+eEtrufalsn\u0000\u0007\u007f\u2028x'/");
  const changed = fc
    .tuple(fc.json({ maxDepth: 4 }), fc.nat(), fc.nat(2), glyphs)
    .map(([text, place, removed, glyph]) => {
      const at = place % (text.length + 1);
      return text.slice(0, at) + glyph + text.slice(at + removed);
    });
  fc.assert(
    fc.property(changed, (text) => {
      const message = errorOf(text);
      const judgement = judged(text);
      if (message.includes("stands twice")) return;
      expect([text, message === "accepted"]).toEqual([text, judgement !== "refused"]);
      if (judgement !== "refused") expect(parseJson(text)).toEqual(judgement.value);
    }),
    { numRuns: 5000 },
  );
});

test.each([
  ["", "line 1, column 1: a value expected, but the text ends here"],
  ["{", "line 1, column 2: a key in double quotes expected, but the text ends here"],
  ['{\n  "a": tru\n}', "line 2, column 8: a value expected"],
  ['{\n  "a": 1,\n}', "line 3, column 1: a key in double quotes expected"],
  ['{"a" 1}', 'line 1, column 6: ":" expected'],
  ['{"a": 1 "b": 2}', 'line 1, column 9: "," or "}" expected'],
  ['{"a": [1 2]}', 'line 1, column 10: "," or "]" expected'],
  ['{"a": 1} x', "line 1, column 10: nothing more expected"],
  ['{"a": 01}', "line 1, column 7: a value expected"],
  ["{'a': 1}", "line 1, column 2: a key in double quotes expected"],
  ['{"a": "x\ny"}', "line 1, column 9: a control character in a string"],
  ['{"a":\n "x\\y"}', "line 2, column 4: no escape of JSON"],
  ['{"a":\n "xy}', "line 2, column 2: a string without an end"],
  ['{"a": 1,\n "b": 2,\n "a": 3}', 'line 3, column 2: key "a" stands twice'],
  ['// a comment\n{"a": 1}', "line 1, column 1: a value expected"],
])("tells where %j is wrong", (text, message) => {
  expect(errorOf(text)).toBe(message);
});

// Patterns of alternatives gave up on what is long: on 3,000,000 characters before the first of them.
test.each(["x", "\\n", "\\u00e4", "é"])(
  "a string of 3,000,000 of %j is read, and what is wrong in it found",
  (each) => {
    const long = each.repeat(3_000_000);
    expect(parseJson(`{"a": "${long}"}`)).toEqual({ a: JSON.parse(`"${long}"`) });
    expect(errorOf(`{"a":\n"${long}\u0001"}`)).toBe(
      `line 2, column ${long.length + 2}: a control character in a string`,
    );
    expect(errorOf(`{\n"${long}": tru}`)).toBe(`line 2, column ${long.length + 5}: a value expected`);
    expect(errorOf(`{"${long}":1,"${long}":2}`).length).toBeLessThan(200);
  },
);

test("what is not UTF-8 is told with its place", () => {
  const bytes = Buffer.concat([Buffer.from('{"a": 1,\n"é'), Buffer.of(0xff), Buffer.from('": 2}')]);
  expect(() => parseJson(nameOf(bytes))).toThrow("line 2, column 3: not UTF-8");
  expect(parseJson("\ufeff{}")).toEqual({});
});

test("nesting cannot eat the stack", () => {
  expect(errorOf("[".repeat(60_000))).toBe("line 1, column 18: nested deeper than 16");
});

test("members named as those of every object are members like others", () => {
  const parsed = parseJson('{"__proto__": {"threshold": 1}, "constructor": 2}');
  expect(Object.keys(Object(parsed))).toEqual(["__proto__", "constructor"]);
  expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
});
