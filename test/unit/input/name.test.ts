import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { below, bytesOf, folderOf, lastOf, nameOf, shownName } from "../../../src/input/name.ts";

/** Bytes in which sequences of UTF-8, whole, cut and forbidden ones, are likely. */
const names = fc
  .array(
    fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 3 }),
      fc.string({ unit: "binary", minLength: 1, maxLength: 2 }).map((text) => new TextEncoder().encode(text)),
      fc
        .constantFrom("\\x", "\\xff", "\\x5c", "\\x80", "\\x1b", "\\x2d", "\\", "x5c", "ff")
        .map((text) => Buffer.from(text)),
      fc
        .constantFrom("c080", "eda080", "edb3bf", "f4908080", "f8", "e282", "f09f98")
        .map((hex) => Buffer.from(hex, "hex")),
    ),
    { maxLength: 6 },
  )
  .map((pieces) => Buffer.concat(pieces));

const isUtf8 = (bytes: Uint8Array): boolean => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
};

describe("the name of a file", () => {
  test("gives back all its bytes, and is an ordinary text where they are UTF-8", () => {
    fc.assert(
      fc.property(names, (bytes) => {
        const name = nameOf(bytes);
        expect(bytesOf(name).toString("hex")).toBe(bytes.toString("hex"));
        expect(name.isWellFormed()).toBe(isUtf8(bytes));
        if (isUtf8(bytes)) expect(name).toBe(bytes.toString("utf8"));
      }),
      { numRuns: 5000 },
    );
  });

  /** As docs/answers.md says. */
  const bytesOfShown = (shown: string): Buffer =>
    Buffer.concat(
      shown
        .split(/(\\x(?:[89a-f][0-9a-f]|5c))/)
        .map((piece, index) => (index % 2 === 1 ? Buffer.from(piece.slice(2), "hex") : Buffer.from(piece))),
    );

  test("is shown so that no two are alike, and the bytes can be had back", () => {
    fc.assert(
      fc.property(names, (bytes) => {
        const shown = shownName(nameOf(bytes));
        expect(shown.isWellFormed()).toBe(true);
        expect(bytesOfShown(shown).toString("hex")).toBe(bytes.toString("hex"));
      }),
      { numRuns: 5000 },
    );
  });

  test.each([
    ["plain", "plain"],
    ["é\u{1f600}\ufffd", "é\u{1f600}\ufffd"],
    ["dev-disk-by\\x2duuid", "dev-disk-by\\x2duuid"],
    ["\\xff", "\\x5cxff"],
    ["\\x1b", "\\x5cx1b"],
    ["\\x5c", "\\x5cx5c"],
    ["\\xFF", "\\xFF"],
  ])("%j is shown as %j", (name, shown) => expect(shownName(name)).toBe(shown));

  test("is joined and cut whatever its bytes are", () => {
    const [folder, last] = [
      nameOf(Buffer.from("/a\xff", "latin1")),
      nameOf(Buffer.from("\xfe.so", "latin1")),
    ];
    const path = below(folder, last);
    expect(bytesOf(path).toString("latin1")).toBe("/a\xff/\xfe.so");
    expect([folderOf(path), lastOf(path)]).toEqual([folder, last]);
    expect([below("/", "a"), folderOf("/a"), folderOf("/")]).toEqual(["/a", "/", "/"]);
  });
});
