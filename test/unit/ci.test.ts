import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "offsetof-ci-"));
afterAll(() => rmSync(folder, { recursive: true }));

const root = join(import.meta.dir, "../..");

/** Runs real tests, and counts the report that Bun writes of them. */
function count(tests: string): { status: number; line: string } {
  const file = join(folder, "some.test.ts");
  const report = join(folder, "report.xml");
  rmSync(report, { force: true });
  writeFileSync(file, `import { expect, test } from "bun:test";\n${tests}`);
  Bun.spawnSync([process.execPath, "test", file, "--reporter=junit", `--reporter-outfile=${report}`], {
    cwd: folder,
  });
  const { exitCode, stdout } = Bun.spawnSync(["node", join(root, ".ci/count.mjs"), report]);
  return { status: exitCode, line: stdout.toString() };
}

test.each([
  ['test("a", () => {}); test("b", () => {});', { status: 0, line: "2 passed, 0 failed\n" }],
  ['test("a", () => {}); test("b", () => expect(1).toBe(2));', { status: 1, line: "1 passed, 1 failed\n" }],
  ['test("a", () => {}); test.skip("b", () => {});', { status: 0, line: "1 passed, 0 failed, 1 skipped\n" }],
  ["", { status: 1, line: "0 passed, 0 failed\n" }],
])("counts %p", (tests, expected) => {
  expect(count(tests)).toEqual(expected);
});
