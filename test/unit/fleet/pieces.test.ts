import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { piecesOf } from "../../../src/fleet/pieces.ts";

async function piecesIn(text: string): Promise<unknown[]> {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-pieces-"));
  try {
    await Bun.write(join(folder, "f"), text);
    const pieces: unknown[] = [];
    for await (const { number, text } of piecesOf(join(folder, "f"))) {
      pieces.push(JSON.parse(text ?? ""));
      expect(number).toBe(pieces.length);
    }
    return pieces;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const value = fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue()));
const written = fc.tuple(
  value,
  fc.constantFrom(undefined, 1, 2, "\t"),
  fc.constantFrom("\n", "\r\n", "\n\n"),
);

test("values of JSON that stand one behind the other come one by one, however they are written", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(written, { maxLength: 5 }), fc.boolean(), async (values, isEnded) => {
      const text = values.map(([one, indent, end]) => `${JSON.stringify(one, null, indent)}${end}`).join("");
      expect(await piecesIn(isEnded ? text : text.trimEnd())).toEqual(
        values.map(([one]) => JSON.parse(JSON.stringify(one))),
      );
    }),
    { numRuns: 200 },
  );
});

test("a device is not opened, and a folder is none", async () => {
  for (const path of ["/dev/null", "/proc", "/nowhere"]) {
    const first = piecesOf(path).next();
    expect(first).rejects.toThrow(path);
  }
});
