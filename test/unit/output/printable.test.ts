import { expect, test } from "bun:test";
import fc from "fast-check";
import { toJsonLine } from "../../../src/output/json.ts";
import { printable } from "../../../src/output/printable.ts";
import { progressLine } from "../../../src/output/stderr.ts";

/** Any text, lone surrogates included. */
const text = fc
  .array(fc.oneof(fc.nat(0xffff), fc.integer({ min: 0x10000, max: 0x10ffff }), fc.nat(0xff)))
  .map((codes) => String.fromCodePoint(...codes));
const steers = /[\p{C}\p{Zl}\p{Zp}]/u;

test("nothing that steers a terminal is left of any text, in one line", () => {
  fc.assert(fc.property(text, (each) => !steers.test(printable(each))));
  expect(printable("a\x1b[2J\n\x9b\u202e\u2028\udcffé\u{e0001}")).toBe(
    "a\\x1b[2J\\x0a\\x9b\\x202e\\x2028\\xffé\\xe0001",
  );
});

test("nor of JSON, which means the same", () => {
  fc.assert(
    fc.property(text, (each) => {
      const json = toJsonLine({ [each]: each });
      return !steers.test(json) && JSON.parse(json)[each] === each;
    }),
  );
});

test("a line of progress takes the place of the one before, and is cut to the screen's columns, of which wide characters take two", () => {
  expect(progressLine("3 of 5 libraries", 79)).toBe("\r\x1b[K3 of 5 libraries");
  for (const text of ["日本".repeat(50), "/a very/long path".repeat(9)]) {
    const line = progressLine(text, 21).slice("\r\x1b[K".length);
    expect(text).toStartWith(line);
    expect([20, 21]).toContain(Bun.stringWidth(line));
  }
});
