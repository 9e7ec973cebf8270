import { expect, test } from "bun:test";
import * as v from "valibot";
import { wideMembers } from "../../src/kernel/members/all.ts";
import { documentSchema } from "../../src/output/document.ts";
import { jsonOf } from "../schema.ts";
import { executableFor } from "./executable.ts";
import { bootGuest, guestTimeout, HIDE_BTF, LOG, NO_STALLS, text } from "./guest.ts";
import { ARCHITECTURES, chosenKernels, labKernel, loadKernel } from "./kernels.ts";
import { bitsOf } from "./truth.ts";

/** Control groups, of which each has a struct more that leads to it. */
const GROUPS =
  "mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && echo +cpu >/sys/fs/cgroup/cgroup.subtree_control";
/** How often it is asked, and which kernels: unasked one of them, once. */
const { OFFSETOF_RUNS, OFFSETOF_LAB } = process.env;
const RUNS = Number(OFFSETOF_RUNS ?? (OFFSETOF_LAB ? 3 : 1));
const rows = OFFSETOF_LAB ? chosenKernels(ARCHITECTURES) : [labKernel("6.1-cloud")];

for (const row of rows) {
  test(
    `${row.name}: with BTF hidden each member of the wide vocabulary is where this kernel's BTF has it, or null`,
    async () => {
      const kernel = await loadKernel(row);
      const places = await bitsOf(
        kernel.btf,
        wideMembers.map(({ member }) => member),
      );
      const truth = new Map([...places].map(([member, bits]) => [member, bits && Math.floor(bits / 8)]));
      const { results, console: log } = await bootGuest({
        kernel,
        commands: [
          "mkdir -p /dev/pts && mount -t devpts devpts /dev/pts",
          HIDE_BTF,
          GROUPS,
          LOG,
          ...Array.from({ length: RUNS }, () => "/opt/offsetof kernel --all --source guess --format json"),
          LOG,
        ],
        files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
        modules: ["nf_conntrack_netlink", "loop", "nbd"],
        append: [NO_STALLS],
      });
      const known = new Set<string>();
      for (const { status, stdout, stderr, seconds } of results.slice(4, -1)) {
        if (status !== 3) throw new Error(`exit ${status}: ${text(stdout)}${text(stderr)}`);
        const { kernel: report, diagnostics } = v.parse(documentSchema, jsonOf("document", text(stdout)));
        // Of bit-fields the first bit and the number of bits follow from the row.
        const fields = Object.entries(report?.fields ?? {}).flatMap(([constant, field]) =>
          /_bit_(offset|size)$/.test(constant) ? [] : [field],
        );
        const wrong = fields.flatMap(({ member, value }) =>
          value === null || !truth.has(member) || truth.get(member) === value
            ? []
            : [{ member, value, truth: truth.get(member) }],
        );
        expect(wrong).toEqual([]);
        const nulls = fields.filter(({ member, value }) => truth.has(member) && value === null);
        for (const { member, reason } of nulls) expect([member, reason]).not.toEqual([member, undefined]);
        for (const { member, value } of fields) if (value !== null) known.add(member);
        if (process.env.OFFSETOF_TELL !== undefined)
          console.log(
            row.name,
            seconds,
            report?.events,
            report?.duration_ms,
            diagnostics,
            nulls.map(({ member, reason }) => `${member} [${truth.get(member)}]: ${reason}`),
          );
      }
      const [before, after] = [results[3], results.at(-1)].map((one) =>
        text(one?.stdout ?? new Uint8Array()),
      );
      expect(after).toBe(before ?? ""); // not a line in the kernel's log
      expect(log).not.toMatch(/BUG|Oops/);
      // Before Linux 5.11 a disk's object lay in struct gendisk itself.
      const isBlock = truth.get("request_queue.disk") != null;
      const wanted = [...core, ...(isBlock ? block : [])];
      const missing = wanted.filter((member) => truth.get(member) != null && !known.has(member));
      expect(missing).toEqual([]);
    },
    guestTimeout,
  );
}

/** What most CO-RE programs ask for. */
const core = [
  "task_struct.pid",
  "task_struct.tgid",
  "task_struct.comm",
  "task_struct.real_parent",
  "task_struct.group_leader",
  "task_struct.nsproxy",
  "task_struct.exit_code",
  "task_struct.fs",
  "nsproxy.mnt_ns",
  "mnt_namespace.ns.inum",
  "file.f_inode",
  "file.f_path.dentry",
  "inode.i_ino",
  "inode.i_mode",
  "inode.i_sb",
  "super_block.s_dev",
  "dentry.d_name",
  "dentry.d_parent",
  "fs_struct.pwd.dentry",
  "mount.mnt",
  "mount.mnt_id",
  "socket.state",
  "sock_common.skc_bound_dev_if",
  "sock_common.skc_reuse",
  "sock.sk_max_ack_backlog",
  "sock.sk_receive_queue",
  "inet_sock.inet_saddr",
  "tcp_sock.copied_seq",
  "tcp_sock.write_seq",
  "tcp_sock.total_retrans",
  "tcp_sock.snd_ssthresh",
  "signal_struct.pids",
  "signal_struct.tty",
  "task_struct.cgroups",
  "css_set.dfl_cgrp",
  "cgroup.kn",
  "kernfs_node.id",
  "kernfs_node.name",
  "task_struct.start_time",
  "sk_buff.len",
  "sk_buff.pkt_type",
  "sk_buff.tail",
  "sk_buff.end",
  "sk_buff.hash",
  "socket.flags",
  "net_device.mtu",
  "kobject.name",
  "irqaction.name",
  "kiocb.ki_filp",
  "kiocb.ki_pos",
];

/** What those ask for that look at disks. */
const block = [
  "gendisk.major",
  "gendisk.first_minor",
  "gendisk.disk_name",
  "block_device.bd_dev",
  "block_device.bd_disk",
  "request_queue.disk",
];
