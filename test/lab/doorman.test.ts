/** What only a machine of its own can show of what the runtime lacks: another processor, another accounting of memory. */
import { expect, test } from "bun:test";
import { errorOf, executable, run } from "../e2e/executable.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, type CommandResult, type GuestOptions, guestTimeout, text } from "./guest.ts";
import { labKernel, loadKernel } from "./kernels.ts";

const told = ({ status, stdout, stderr }: CommandResult) => ({
  status,
  stdout: text(stdout),
  stderr: text(stderr),
});

const row = labKernel("6.1-cloud");

const boot = async (options: Pick<GuestOptions, "processor" | "mounts" | "commands">) => {
  const files = { "/opt/offsetof": { from: await executableFor("amd64") } };
  const { results } = await bootGuest({ kernel: await loadKernel(row), files, ...options });
  return results.map(told);
};

test(
  "a processor without SSE4.2 is named, and no signal ends the program",
  async () => {
    const [version, help, json, table] = await boot({
      processor: "core2duo,cx16=off",
      commands: ["--version", "bytecode list --help", "kernel --format json", "kernel --format table"].map(
        (args) => `/opt/offsetof ${args}`,
      ),
    });
    expect(version).toMatchObject({ status: 0, stderr: "" });
    expect(version?.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(help).toEqual(run([executable, "bytecode", "list", "--help"]));
    expect([json?.status, json?.stdout]).toEqual([4, ""]);
    const failure = errorOf(json ?? { status: 0, stdout: "", stderr: "" });
    expect(failure.code).toBe("E_NO_SSE42");
    expect(failure.message).toContain("SSE4.2");
    expect(table).toEqual({ status: 4, stdout: "", stderr: `offsetof: ${failure.message}\n` });
  },
  guestTimeout,
);

test(
  "a cgroup of few tasks is told, and strict accounting of memory gets less of it set aside",
  async () => {
    const ask = "/opt/offsetof kernel --format json";
    const [tasks, strict, little, bare] = await boot({
      mounts: ["cgroup2"],
      commands: [
        `echo +pids >/sys/fs/cgroup/cgroup.subtree_control; mkdir /sys/fs/cgroup/few; echo 2 >/sys/fs/cgroup/few/pids.max
echo $$ >/sys/fs/cgroup/few/cgroup.procs; exec ${ask}`,
        `echo 2 >/proc/sys/vm/overcommit_memory; ${ask}`,
        `echo 300000 >/proc/sys/vm/overcommit_kbytes; ${ask}; status=$?; echo 0 >/proc/sys/vm/overcommit_memory; exit $status`,
        `umount -l /proc; ${ask}`,
      ],
    });
    for (const [result, code] of [
      [tasks, "E_NO_TASK"],
      [little, "E_NO_MEMORY"],
      [bare, "E_NO_PROC"],
    ] as const) {
      expect([code, result?.status, result?.stdout]).toEqual([code, 4, ""]);
      expect(errorOf(result ?? { status: 0, stdout: "", stderr: "" }).code).toBe(code);
    }
    expect(strict).toMatchObject({ status: 0, stderr: "" });
  },
  guestTimeout,
);
