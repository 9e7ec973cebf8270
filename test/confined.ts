import { expect } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What the kernel says of every thread of a process of root's that runs foreign code. */
export function expectConfined(pid: number): void {
  const threads = readdirSync(`/proc/${pid}/task`);
  expect(threads.length).toBeGreaterThan(0);
  for (const thread of threads) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    for (const line of [
      "Groups:\t ",
      "NoNewPrivs:\t1",
      "Seccomp:\t2",
      "CapPrm:\t0000000000000000",
      "CapEff:\t0000000000000000",
      "CapInh:\t0000000000000000",
      "CapAmb:\t0000000000000000",
    ]) {
      expect(status.split("\n")).toContain(line);
    }
    // No other process is this user or in this group: what counts for the one counts for it alone.
    for (const key of ["Uid", "Gid"]) {
      const own = new RegExp(`^${key}:\\t(\\d{10})(?:\\t\\1){3}$`, "m");
      expect(status).toMatch(own);
    }
    for (const kind of ["net", "mnt", "ipc", "uts", "pid"]) {
      const namespace = readlinkSync(`/proc/${pid}/task/${thread}/ns/${kind}`);
      expect(namespace).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    }
    // The header's two lines and lo's, which is down.
    expect(readFileSync(`/proc/${pid}/task/${thread}/net/dev`, "utf8").trim().split("\n").length).toBe(3);
  }
}

/** What a process that runs foreign code has open: each once, without what the runtime opens for itself. */
export const openOf = (pid: number): readonly string[] =>
  [...new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)))]
    .filter((one) => !/^(?:anon_inode:\S+|\/|\/dev\/null)$/.test(one))
    .sort();
