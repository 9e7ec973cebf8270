import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isOthers } from "../../../src/host/others.ts";
import { Budget } from "../../../src/tls/find/budget.ts";
import { readProcesses } from "../../../src/tls/find/processes.ts";

let folder = "";
const holders: Bun.Subprocess<"ignore", "pipe", "inherit">[] = [];
/** Four processes that map the same file: the user's two were there first. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-processes-"));
  chmodSync(folder, 0o755);
  Bun.spawnSync(["cc", "-o", join(folder, "holder"), join(import.meta.dir, "holder.c")]);
  copyFileSync(join(import.meta.dir, "holder.c"), join(folder, "mapped"));
  for (const uid of [1234, 1235, 0, 0]) {
    const user = ["setpriv", `--reuid=${uid}`, "--clear-groups"];
    const command = [...user, join(folder, "holder"), "1", join(folder, "mapped")];
    const holder = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    holders.push(holder);
    await holder.stdout.getReader().read();
  }
});
afterAll(() => {
  for (const holder of holders) holder.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

const isOwn = (pid: number): boolean => {
  try {
    return !isOthers(`/proc/${pid}`);
  } catch {
    return false;
  }
};
const read = (budget: Budget) => {
  const { files, unread } = readProcesses("/proc", { isOwn, budget });
  const uses = files.find(({ path }) => path === join(folder, "mapped"))?.uses ?? [];
  const pids = holders.map(({ pid }) => pid);
  return { uses: uses.map(({ pid }) => pids.indexOf(pid)), unread: pids.map((pid) => unread.includes(pid)) };
};

test("root's processes are read first, whatever numbers they have", () => {
  const { uses, unread } = read(new Budget(600_000));
  expect(uses.slice(0, 2)).toEqual([2, 3]);
  expect(uses.slice(2).sort()).toEqual([0, 1]);
  expect(unread).toEqual([false, false, false, false]);
});

test("where nothing is left of other users' time, theirs are not read, and are told", () => {
  expect(read(new Budget(0))).toEqual({ uses: [2, 3], unread: [true, true, false, false] });
});
