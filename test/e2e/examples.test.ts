import { expect, test } from "bun:test";
import { dirname } from "node:path";
import { examples } from "../../src/commands/examples.ts";
import { executable, run, Scratch } from "./executable.ts";

const all = Object.entries(examples).flatMap(([command, rows]) =>
  rows.map(({ line }) => [command, line] as const),
);

test.each(all)("the example of %p works: %s", (_, line) => {
  using scratch = new Scratch();
  const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
  const { status, stderr } = run(["bash", "-o", "pipefail", "-euc", line], { cwd: scratch.path, env });
  // 3: this machine has no constant for each struct.
  expect([0, 3]).toContain(status);
  // Without the line of a batch's statistics, and what is not known here.
  expect(stderr.replaceAll(/^(\[warn\] |\{"lines").*\n/gm, "")).toBe("");
});
