import { expect, test } from "bun:test";
import type { FileRead, HostFiles } from "../../../src/host/files.ts";
import { hostFiles } from "../../../src/host/files.ts";
import { processors } from "../../../src/host/processors.ts";

/** What files of the kernel say, as read on hosts and in containers. */
const saying = (texts: Record<string, string>): HostFiles => ({
  read: (path): FileRead => {
    const text = texts[path];
    return text === undefined
      ? { state: "absent", path, errno: "ENOENT" }
      : { state: "read", path, bytes: new TextEncoder().encode(`${text}\n`) };
  },
  exists: (path) => Object.hasOwn(texts, path),
});

test.each<[name: string, affinity: number, is: number, texts: Record<string, string>]>([
  ["no control group", 4, 4, {}],
  ["a group without a limit", 4, 4, { "/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "max 100000" }],
  [
    "a limit of one and a half",
    4,
    2,
    { "/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "150000 100000" },
  ],
  ["a limit of a tenth", 4, 1, { "/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "10000 100000" }],
  [
    "a limit of the group above",
    8,
    2,
    {
      "/proc/self/cgroup": "0::/system.slice/web.service/worker",
      "/sys/fs/cgroup/system.slice/web.service/worker/cpu.max": "max 100000",
      "/sys/fs/cgroup/system.slice/web.service/cpu.max": "200000 100000",
      "/sys/fs/cgroup/system.slice/cpu.max": "400000 100000",
    },
  ],
  [
    "fewer processors than its limit",
    1,
    1,
    { "/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "400000 100000" },
  ],
  [
    "the first version",
    8,
    3,
    {
      "/proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/docker/0a\n1:name=systemd:/x",
      "/sys/fs/cgroup/cpu/docker/0a/cpu.cfs_quota_us": "250000",
      "/sys/fs/cgroup/cpu/docker/0a/cpu.cfs_period_us": "100000",
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    },
  ],
  ["a group out of sight", 2, 2, { "/proc/self/cgroup": "0::/../../etc", "/sys/fs/cgroup/cpu.max": "x" }],
])("%s: of %d %d", (_, affinity, is, texts) => {
  expect(processors(saying(texts), affinity)).toBe(is);
});

test("a process that may use one processor has one, whatever the machine has", () => {
  const script = `import { hostFiles } from "${import.meta.dir}/../../../src/host/files.ts"; import { processors } from "${import.meta.dir}/../../../src/host/processors.ts"; console.log(processors(hostFiles()))`;
  const { stdout } = Bun.spawnSync(["taskset", "-c", "0", process.execPath, "-e", script]);
  expect(stdout.toString()).toBe("1\n");
  expect(processors(hostFiles())).toBeGreaterThanOrEqual(1);
});
