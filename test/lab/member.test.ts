import { expect, test } from "bun:test";
import { join } from "node:path";

/** A slice of what `bun run members` asks: the same members each time. */
test("members chosen by chance are where bpftool and pahole have them", () => {
  const command = [
    process.execPath,
    join(import.meta.dir, "../members/main.ts"),
    "--count",
    "300",
    "6.1-cloud",
  ];
  const { stdout, stderr, exitCode } = Bun.spawnSync(command);
  expect([stderr.toString(), exitCode]).toEqual(["", 0]);
  expect(stdout.toString()).toMatch(
    /^6\.1-cloud \(\S+\): 300 members, [1-9]\d* bit-fields, 2\d\d by pahole too: 0 different, 0 not told\n$/,
  );
});
