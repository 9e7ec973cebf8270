/** A slice of what `bun run fuzz` reads: the same inputs each time. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { targets } from "./targets.ts";

test("hostile input: no crash, no hang, nothing wrong", () => {
  const command = [process.execPath, join(import.meta.dir, "main.ts"), "--count", "3000"];
  const { stdout, stderr, exitCode } = Bun.spawnSync(command);
  const text = stdout.toString();
  expect([text.match(/^(?:CRASH|HANG|WRONG|again).*$/gm), stderr.toString(), exitCode]).toEqual([
    null,
    "",
    0,
  ]);
  for (const { name } of targets) expect(text).toContain(`| \`${name}\` |`);
});
