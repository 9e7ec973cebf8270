import { release } from "node:os";
import type { Asked } from "./asked.ts";
import { kernelFields } from "./fields/fields.ts";
import { kernelSwitches } from "./fields/switches.ts";

/**
 * What programs that read the kernel's memory call the numbers that they need: the same truth under their names. A name that is
 * a constant of ours, in their vocabulary too, has no row: it means what it means here.
 */

/** Major and minor number of a Linux. */
type Version = readonly [major: number, minor: number];

/** A name, and what stands for it: a member, or a size. */
interface Row {
  readonly name: string;
  readonly member: string;
  /** The first version of Linux for which it is asked for, and the first for which it is not any more. */
  readonly since?: Version;
  readonly until?: Version;
  /** Of a bit-field, only the byte that it begins in is asked for. */
  readonly isByte?: true;
}

/** Rows of `name member`, a line each. */
const rows = (text: string, rest: Omit<Row, "name" | "member"> = {}): Row[] =>
  text
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", member = ""] = line.trim().split(/\s+/);
      return { name, member, ...rest };
    });

const ours = (text: string): Row[] =>
  text
    .trim()
    .split(/\s+/)
    .map((name) => ({ name, member: "" }));

const weaveworks =
  "offset_saddr offset_daddr offset_sport offset_dport offset_netns offset_ino offset_family offset_daddr_ipv6";

/** What each asks for, in its order. */
export const vocabularies = {
  // datadog-agent, pkg/network/tracer/offsetguess: tracer.go and conntrack.go
  datadog: ours(`
    ${weaveworks} offset_rtt offset_rtt_var
    offset_saddr_fl4 offset_daddr_fl4 offset_sport_fl4 offset_dport_fl4 fl4_offsets
    offset_saddr_fl6 offset_daddr_fl6 offset_sport_fl6 offset_dport_fl6 fl6_offsets
    offset_socket_sk offset_sk_buff_sock offset_sk_buff_transport_header offset_sk_buff_head
    offset_ct_origin offset_ct_reply offset_ct_status offset_ct_netns offset_ct_ino tcpv6_enabled udpv6_enabled`),
  // datadog-agent, pkg/security/probe: constantfetch/constant_names.go, and what probe_ebpf.go asks for under them
  "datadog-cws": [
    ...rows(`
      sizeof_inode sizeof:inode
      sizeof_upid sizeof:upid
      sb_flags_offset super_block.s_flags
      sb_magic_offset super_block.s_magic
      dentry_sb_offset dentry.d_sb
      tty_offset signal_struct.tty
      tty_name_offset tty_struct.name
      creds_uid_offset cred.uid
      creds_cap_inheritable_offset cred.cap_inheritable
      linux_binprm_p_offset linux_binprm.p
      linux_binprm_argc_offset linux_binprm.argc
      linux_binprm_envc_offset linux_binprm.envc
      vm_area_struct_flags_offset vm_area_struct.vm_flags
      file_f_inode_offset file.f_inode
      file_f_path_offset file.f_path
      mount_id_offset mount.mnt_id`),
    ...rows("kernel_clone_args_exit_signal_offset kernel_clone_args.exit_signal", { since: [5, 3] }),
    ...rows(
      `
      inode_ctime_sec_offset inode.i_ctime_sec
      inode_ctime_nsec_offset inode.i_ctime_nsec
      inode_mtime_sec_offset inode.i_mtime_sec
      inode_mtime_nsec_offset inode.i_mtime_nsec`,
      { since: [6, 11] },
    ),
    ...rows(
      `
      vfs_rename_src_dentry_offset renamedata.old_dentry
      vfs_rename_target_dentry_offset renamedata.new_dentry`,
      { since: [5, 12] },
    ),
    ...rows(`
      sched_process_fork_parent_pid_offset trace_event_raw_sched_process_fork.parent_pid
      sched_process_fork_child_pid_offset trace_event_raw_sched_process_fork.child_pid
      bpf_map_id_offset bpf_map.id
      bpf_map_name_offset bpf_map.name
      bpf_map_type_offset bpf_map.map_type
      bpf_prog_aux_offset bpf_prog.aux
      bpf_prog_tag_offset bpf_prog.tag
      bpf_prog_type_offset bpf_prog.type
      bpf_prog_attach_type_offset bpf_prog.expected_attach_type
      bpf_prog_aux_id_offset bpf_prog_aux.id
      bpf_prog_aux_name_offset bpf_prog_aux.name
      pid_level_offset pid.level
      pid_numbers_offset pid.numbers`),
    ...rows("task_struct_pid_offset task_struct.thread_pid", { since: [4, 19] }),
    ...rows(
      `
      task_struct_pid_link_offset task_struct.pids
      pid_link_pid_offset pid_link.pid`,
      { until: [4, 19] },
    ),
    ...rows("pipe_inode_info_bufs_offset pipe_inode_info.bufs"),
    ...rows(
      `
      pipe_inode_info_nrbufs_offset pipe_inode_info.nrbufs
      pipe_inode_info_curbuf_offset pipe_inode_info.curbuf
      pipe_inode_info_buffers_offset pipe_inode_info.buffers`,
      { until: [5, 5] },
    ),
    ...rows(
      `
      pipe_inode_info_head_offset pipe_inode_info.head
      pipe_inode_info_ring_size_offset pipe_inode_info.ring_size`,
      { since: [5, 5] },
    ),
    ...rows(`
      net_device_ifindex_offset net_device.ifindex
      net_device_name_offset net_device.name
      net_ns_offset net.ns
      device_nd_net_net_offset net_device.nd_net
      sock_common_skc_net_offset sock_common.skc_net
      sock_common_skc_family_offset sock_common.skc_family
      socket_sock_offset socket.sk
      nf_conn_ct_net_offset nf_conn.ct_net
      flowi4_saddr_offset flowi4.saddr
      flowi6_saddr_offset flowi6.saddr
      flowi4_uli_offset flowi4.uli
      flowi6_uli_offset flowi6.uli
      binprm_file_offset linux_binprm.file`),
    ...rows("iokiocb_ctx_offset io_kiocb.ctx", { since: [5, 1] }),
  ],
  // deepflow, agent/src/ebpf: struct member_fields_offset of its map members_offset
  deepflow: [
    ...rows(`
      struct_dentry_d_parent_offset dentry.d_parent
      task__files_offset task_struct.files`),
    ...rows("sock__flags_offset sock.sk_userlocks", { isByte: true }),
    ...rows(`
      tcp_sock__copied_seq_offset tcp_sock.copied_seq
      tcp_sock__write_seq_offset tcp_sock.write_seq
      struct_files_struct_fdt_offset files_struct.fdt
      struct_file_f_pos_offset file.f_pos
      struct_file_private_data_offset file.private_data
      struct_file_f_op_offset file.f_op
      struct_file_operations_read_iter_offset file_operations.read_iter
      struct_file_f_inode_offset file.f_inode
      struct_inode_i_mode_offset inode.i_mode
      struct_inode_i_sb_offset inode.i_sb
      struct_super_block_s_dev_offset super_block.s_dev
      struct_file_dentry_offset file.f_path.dentry
      struct_dentry_name_offset dentry.d_name.name
      struct_sock_family_offset sock_common.skc_family
      struct_sock_saddr_offset sock_common.skc_rcv_saddr
      struct_sock_daddr_offset sock_common.skc_daddr
      struct_sock_ip6saddr_offset sock_common.skc_v6_rcv_saddr
      struct_sock_ip6daddr_offset sock_common.skc_v6_daddr
      struct_sock_dport_offset sock_common.skc_dport
      struct_sock_sport_offset sock_common.skc_num
      struct_sock_skc_state_offset sock_common.skc_state`),
    ...rows("struct_sock_common_ipv6only_offset sock_common.skc_ipv6only", { isByte: true }),
    ...rows(`
      struct_file_f_path_offset file.f_path
      struct_path_mnt_offset path.mnt
      struct_mount_mnt_offset mount.mnt
      struct_mount_mnt_ns_offset mount.mnt_ns
      struct_mnt_namespace_ns_offset mnt_namespace.ns
      struct_ns_common_inum_offset ns_common.inum
      struct_mount_mnt_id_offset mount.mnt_id`),
  ],
  // nettracer-bpf, bpf_program/nettracer-bpf.h: struct guess_status_t
  nettracer: [
    ...ours(weaveworks),
    ...rows(`
      offset_segs_in tcp_sock.segs_in
      offset_segs_out tcp_sock.segs_out`),
    ...ours("offset_rtt offset_rtt_var"),
  ],
  // tcptracer-bpf, tcptracer-bpf.h: struct tcptracer_status_t
  tcptracer: ours(weaveworks),
} as const satisfies Record<string, readonly Row[]>;

export type Vocabulary = keyof typeof vocabularies;

/** The names that a vocabulary asks for of a kernel, in its order, and what stands for those that are none of ours. */
export function termsOf(
  vocabulary: Vocabulary,
  version: Version = versionOf(release()),
): { readonly names: readonly string[]; readonly asked: readonly Asked[] } {
  const isAsked = ({ since = [0, 0], until = [Number.POSITIVE_INFINITY, 0] }: Row) =>
    !isBefore(version, since) && isBefore(version, until);
  const meant = (vocabularies[vocabulary] as readonly Row[]).filter(isAsked);
  return {
    names: meant.map(({ name }) => name),
    asked: meant
      .filter(({ name }) => !published.has(name))
      .map(({ name, member, isByte }) => ({ text: member, constant: name, ...(isByte && { isByte }) })),
  };
}

const published: ReadonlySet<string> = new Set(
  [...kernelFields, ...kernelSwitches].map(({ constant }) => constant),
);

function versionOf(text: string): Version {
  const [major = 0, minor = 0] = text.split(".").map(Number.parseFloat);
  return [major, minor];
}

const isBefore = ([major, minor]: Version, [toMajor, toMinor]: Version): boolean =>
  major === toMajor ? minor < toMinor : major < toMajor;
