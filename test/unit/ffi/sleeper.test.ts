import { expect, test } from "bun:test";
import { join } from "node:path";
import { CLONE_NEWPID } from "../../../ffi/confinement.ts";
import { CLONE_NEWUSER } from "../../../ffi/process.ts";
import { statFieldsOf } from "../../../src/kernel/scene/procfs.ts";
import { hang, until } from "../../until.ts";

test.each([
  ["as they are", 0],
  ["first of a pid namespace", CLONE_NEWPID],
  ["of a user namespace", CLONE_NEWUSER],
])("children that sleep end with a process that is killed: %s", async (_, namespaces) => {
  const command = [process.execPath, join(import.meta.dir, "sleeper.program.ts"), `${namespaces}`];
  const { stdout, stderr, signalCode } = Bun.spawnSync(command, { timeout: hang });
  expect({ signalCode, stderr: stderr.toString() }).toEqual({ signalCode: "SIGKILL", stderr: "" });
  const pid = Number(stdout);
  expect(pid).toBeGreaterThan(0);
  await until(() => ["Z", "X", undefined].includes(statFieldsOf(pid)(3)));
});
