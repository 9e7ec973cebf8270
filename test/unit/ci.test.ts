import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "offsetof-ci-"));
afterAll(() => rmSync(folder, { recursive: true }));

const root = join(import.meta.dir, "../..");

/** Runs real tests, a file each, and counts the reports that Bun writes of them. */
function count(...files: string[]): { status: number; line: string } {
  const reports = files.map((tests, index) => {
    const file = join(folder, "some.test.ts");
    const report = join(folder, `report-${index}.xml`);
    rmSync(report, { force: true });
    writeFileSync(file, `import { expect, test } from "bun:test";\n${tests}`);
    Bun.spawnSync([process.execPath, "test", file, "--reporter=junit", `--reporter-outfile=${report}`], {
      cwd: folder,
    });
    return report;
  });
  const { exitCode, stdout } = Bun.spawnSync(["node", join(root, ".ci/count.mjs"), ...reports]);
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

test("of several reports none may be without a test that passed", () => {
  const [two, none] = ['test("a", () => {}); test("b", () => {});', ""];
  expect(count(two, two)).toEqual({ status: 0, line: "4 passed, 0 failed\n" });
  expect(count(two, none)).toEqual({ status: 1, line: "2 passed, 0 failed\n" });
});
