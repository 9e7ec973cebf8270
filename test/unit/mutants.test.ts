import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { mutants } from "../mutants/mutants.ts";

const root = join(import.meta.dir, "../..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

test.each([...mutants])(
  "$name: can be made, and its tests are there",
  ({ file, text, replacement, tests }) => {
    expect(read(file).split(text).length - 1).toBe(1);
    expect(replacement).not.toBe(text);
    expect(tests.length).toBeGreaterThan(0);
    for (const [path, name] of tests)
      expect([path, name, read(path).includes(name)]).toEqual([path, name, true]);
  },
);

test("each has a name of its own", () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});
