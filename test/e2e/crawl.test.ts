import { expect, test } from "bun:test";
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { wideMembers } from "../../src/kernel/members/all.ts";
import { bitsOf, truthOf } from "../lab/truth.ts";
import { until } from "../until.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";

/** What nothing of the scene can show, on any kernel, or not on this one. */
const unknown = new Set([
  "task_struct.state", // __state since Linux 5.14
  "task_struct.real_start_time", // start_boottime since 5.5
  // Programs that are not position independent begin at the same address, as this one and Bun do.
  "mm_struct.start_code",
  "mm_struct.end_code",
  "mm_struct.start_data",
  "mm_struct.end_data",
  "mm_struct.arg_end", // the same as env_start, where too few members tell in which order they stand
  "mm_struct.env_start",
  "mm_struct.env_end",
  "cred.cap_permitted",
  "cred.cap_bset",
  "nsproxy.time_ns",
  "nsproxy.time_ns_for_children",
  "time_namespace.ns.inum",
  // The same in all, where nobody logged in.
  "task_struct.loginuid",
  "task_struct.sessionid",
  // Where who started this goes on giving way, all others are the same.
  "task_struct.nvcsw",
  "task_struct.nivcsw",
  // Bits of inet_flags since Linux 6.6; before that there was no such member.
  "inet_sock.freebind",
  "inet_sock.transparent",
  "inet_sock.bind_address_no_port",
  "inet_sock.inet_flags",
  "sk_buff.dev", // what waits in a socket has left its interface
  "net_device.name",
  "net_device.ifindex", // lo is the first of every network
  "tcp_sock.packets_out", // after a second what is on its way counts as lost, too
  "kernfs_node.parent", // __parent since Linux 6.15
  "tcp_sock.lost_out", // what was lost has been sent again
  "fs_struct.root.dentry",
  "fs_struct.root.mnt",
  "block_device.bd_partno", // a byte of __bd_flags since Linux 6.10
]);
/** The folder of the control group that this process is in, where one may be made below it. */
const group = groupOf();
if (group === null)
  for (const member of ["task_struct.cgroups", "css_set.dfl_cgrp", "cgroup.kn", "kernfs_node.priv"])
    unknown.add(member);
const members = wideMembers.map(({ member }) => member);
/** In bits: of a bit-field its byte is told, and its first bit in that. */
const truth = bitsOf("/sys/kernel/btf/vmlinux", members);
const isBit = (constant: string): boolean => /_bit_(offset|size)$/.test(constant);

test("measured alone, each member of tasks, files and namespaces is where bpftool reads it in BTF, or null with a reason", async () => {
  const asked = run([executable, "kernel", "--source", "guess", "--member", members.join(",")]);
  expect(asked.status).toBe(3);
  const { kernel } = documentOf(asked);
  expect(kernel?.attached).toContain("raw_tp:sys_enter");
  const fields = Object.entries(kernel?.fields ?? {});
  const told = fields.filter(([constant]) => !isBit(constant));
  expect(told.map(([, { member }]) => member)).toEqual(members);
  for (const [constant, { member, value, status, reason }] of fields) {
    const bits = (await truth).get(member) ?? Number.NaN;
    const place = constant.endsWith("_bit_offset") ? bits % 8 : Math.floor(bits / 8);
    if (value !== null && !constant.endsWith("_bit_size"))
      expect(`${constant} ${value}`).toBe(`${constant} ${place}`);
    else if (value === null) expect(reason).toMatch(/^guess: \S/);
    expect([member, status]).toEqual([member, value === null ? "unresolved" : "single"]);
    if (!unknown.has(member)) expect([member, value]).not.toEqual([member, null]);
  }
});

test("with --all BTF confirms what was measured, beside the constants of ours", () => {
  const { kernel } = documentOf(run([executable, "kernel", "--all"]));
  expect(kernel?.fields.offset_family?.status).toBe("confirmed");
  expect(kernel?.fields.task_struct_pid?.status).toBe("confirmed");
  expect(kernel?.fields.mnt_namespace_ns_inum?.status).toBe("confirmed");
  const conflicts = Object.values(kernel?.fields ?? {}).filter(({ status }) => status === "conflict");
  expect(conflicts).toEqual([]);
});

test("a crawl leaves no process of its own, and the user that it was", () => {
  // In a namespace of its own, as others may crawl on this machine.
  const script = `"$0" kernel --source guess --member task_struct.pid >/dev/null; cat /proc/[0-9]*/comm`;
  const { stdout } = run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, executable]);
  expect(stdout.split("\n").sort()).toEqual(["", "sh"]);
});

test.skipIf(group === null)(
  "it leaves no control group, and of one that is killed its heir removes them",
  async () => {
    const own = join(group ?? "", `test-${crypto.randomUUID()}`);
    const folders = () => readdirSync(own).filter((name) => name.startsWith("offsetof-"));
    const enter = `echo $$ >"$1/cgroup.procs" && exec "$0" kernel --source guess --member task_struct.cgroups`;
    const command = ["sh", "-c", enter, executable, own];
    mkdirSync(own);
    try {
      expect(documentOf(run(command)).kernel?.fields.task_struct_cgroups?.value).toBe(
        ((await truth).get("task_struct.cgroups") ?? Number.NaN) / 8,
      );
      expect(folders()).toEqual([]);
      const killed = Bun.spawn(command, { cwd: "/", stdio: ["ignore", "ignore", "ignore"] });
      await until(() => folders().length > 0 || killed.exitCode !== null);
      expect(folders()).toHaveLength(1);
      killed.kill("SIGKILL");
      await killed.exited;
      await until(() => folders().length === 0);
    } finally {
      await until(() => isRemoved(own));
    }
  },
);

test("without a member that it can measure nothing is crawled", () => {
  expect(documentOf(run([executable, "kernel"])).kernel?.attached).not.toContain("raw_tp:sys_enter");
  expect(documentOf(run([executable, "kernel", "--member", "task_struct.pid"])).kernel?.attached).toEqual([]);
});

test("BTF that is made has what was measured", async () => {
  using scratch = new Scratch();
  const file = scratch.at("made.btf");
  run([executable, "btf", "--source", "guess", "-o", file]);
  const found = await truthOf(file, [
    "task_struct.pid",
    "dentry.d_name.len",
    "file.f_path.dentry",
    "pid.numbers",
    "mnt_namespace.ns.inum",
  ]);
  for (const [member, value] of found) {
    expect([member, value]).not.toEqual([member, null]);
    if ((await truth).has(member))
      expect([member, value]).toEqual([member, ((await truth).get(member) ?? Number.NaN) / 8]);
  }
});

/** An heir, who may have more to remove, is in it for some seconds. */
function isRemoved(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}

function groupOf(): string | null {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const [, mounted] = mounts.find((line) => / - cgroup2 /.test(line))?.match(/^\S+ \S+ \S+ \/ (\S+)/) ?? [];
  const [, path] = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8")) ?? [];
  if (mounted === undefined || path === undefined) return null;
  try {
    accessSync(join(mounted, path, "cgroup.procs"), constants.W_OK);
    return join(mounted, path);
  } catch {
    return null;
  }
}
