import { availableParallelism } from "node:os";
import { type HostFiles, textOf } from "./files.ts";

/**
 * How many processors this process may use at once, one at least: those of its affinity mask (sched_setaffinity(2)), or fewer
 * where a control group gives it less of their time (cpu.max of cgroup v2, cpu.cfs_quota_us of v1; its own and each above).
 */
export function processors(files: HostFiles, affinity = availableParallelism()): number {
  const text = (path: string): string => textOf(files.read(path)) ?? "";
  const quotas = text("/proc/self/cgroup")
    .split("\n")
    .flatMap((line) => {
      const [, controllers = "", path = "/"] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
      if (controllers === "")
        return above(path).map((group) => quotaOf(text(`/sys/fs/cgroup${group}/cpu.max`)));
      if (!controllers.split(",").includes("cpu")) return [];
      return above(path).map((group) => {
        const at = `/sys/fs/cgroup/cpu${group}/cpu.cfs`;
        return quotaOf(`${text(`${at}_quota_us`)} ${text(`${at}_period_us`)}`);
      });
    });
  return Math.max(1, Math.ceil(Math.min(affinity, ...quotas)));
}

/** A control group's path, and those of the groups above it; inside a cgroup namespace none of them can be seen. */
const above = (path: string): readonly string[] => {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return [0, ...parts.keys().map((index) => index + 1)].map((count) =>
    ["", ...parts.slice(0, count)].join("/"),
  );
};

/**
 * How many processors' time a group may use: a quota of microseconds, divided by the period. `max`, -1 and what is no number are no
 * limit.
 */
function quotaOf(text: string): number {
  const [, quota = 0, period = 0] = (/^(\d{1,15}) (\d{1,15})$/.exec(text) ?? []).map(Number);
  return quota > 0 && period > 0 ? quota / period : Number.POSITIVE_INFINITY;
}
