import {
  array,
  type BitField,
  bits,
  type Composite,
  type CType,
  char,
  type Enumeration,
  layOut,
  pointer,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
  ulong,
  union,
} from "./ctype.ts";
import { in6Addr, inAddr } from "./declarations.ts";

/**
 * What is the same on every kernel of a version, because programs are compiled with it: the structs and enums of
 * include/uapi/. Nothing is measured of it. Members are told from the Linux on that has them; a kernel with later ones in it,
 * which a vendor brought back, is told less than it has, never more.
 */

/** Major and minor number of a Linux. */
type Version = readonly [major: number, minor: number];
/** The version of what every Linux has that this program runs on. */
const ever: Version = [0, 0];
type Row = readonly [name: string, type: CType | BitField, since?: Version, until?: Version];

/** A struct with the header below include/uapi/ that declares it. */
interface Declaration {
  readonly header: string;
  readonly name: string;
  readonly since?: Version;
  readonly rows: readonly Row[];
}

/** Members of one type, one behind the other. */
const all = (type: CType, names: string, since: Version = ever): Row[] =>
  names.split(" ").map((name) => [name, type, since]);

/** __bpf_md_ptr: a pointer of 64 bits on all machines, in a union without a name. */
const md = (name: string, to: string, since: Version = ever): Row => [
  "",
  union("", 8, { [name]: pointer(to) }),
  since,
];

const bpf = (name: string, rows: readonly Row[], since?: Version): Declaration => ({
  header: "linux/bpf.h",
  name,
  rows,
  ...(since && { since }),
});
const declare = (header: string, name: string, ...rows: Row[]): Declaration => ({ header, name, rows });

const ip4 = (name: string): Row => [name, u32];
const ip6 = (name: string): Row => [name, array(u32, 4)];
/** Members that __sk_buff, bpf_sock_ops and sk_msg_md have alike. */
const ends = [ip4("remote_ip4"), ip4("local_ip4"), ip6("remote_ip6"), ip6("local_ip6")];
const since = (version: Version, rows: readonly Row[]): Row[] =>
  rows.map(([name, type]) => [name, type, version]);

/** What bpf_sock_ops and bpf_tcp_sock tell of a connection. */
const measures =
  "rtt_min snd_ssthresh rcv_nxt snd_nxt snd_una mss_cache ecn_flags rate_delivered rate_interval_us packets_out " +
  "retrans_out total_retrans segs_in data_segs_in segs_out data_segs_out lost_out sacked_out";

const tuple = (address: CType) =>
  layOut("", [
    ["saddr", address],
    ["daddr", address],
    ["sport", u16],
    ["dport", u16],
  ]);

const structs: readonly Declaration[] = [
  bpf("__sk_buff", [
    ...all(u32, "len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority"),
    ...all(u32, "ingress_ifindex ifindex tc_index"),
    ["cb", array(u32, 5)],
    ...all(u32, "hash tc_classid data data_end napi_id family"),
    ...ends,
    ...all(u32, "remote_port local_port data_meta"),
    md("flow_keys", "bpf_flow_keys", [4, 20]),
    ["tstamp", u64, [5, 0]],
    ["wire_len", u32, [5, 0]],
    ["gso_segs", u32, [5, 1]],
    md("sk", "bpf_sock", [5, 1]),
    ["gso_size", u32, [5, 7]],
    ["tstamp_type", u8, [5, 18]],
    ["", bits(u32, 24), [5, 18]],
    ["hwtstamp", u64, [5, 18]],
  ]),
  bpf("xdp_md", [
    ...all(u32, "data data_end data_meta ingress_ifindex rx_queue_index"),
    ["egress_ifindex", u32, [5, 8]],
  ]),
  bpf("bpf_sock", [
    ...all(u32, "bound_dev_if family type protocol mark priority src_ip4"),
    ip6("src_ip6"),
    ["src_port", u32],
    ["", bits(u32, 32), [5, 1], [5, 18]], // dst_port, of which stable kernels made 16 bits at some time
    ["dst_port", u16, [5, 18]],
    ["", bits(u16, 16), [5, 18]],
    ["dst_ip4", u32, [5, 1]],
    ["dst_ip6", array(u32, 4), [5, 1]],
    ["state", u32, [5, 1]],
    ["rx_queue_mapping", s32, [5, 8]],
  ]),
  bpf(
    "bpf_tcp_sock",
    [
      ...all(u32, "snd_cwnd srtt_us"),
      ...all(u32, measures),
      ...all(u64, "bytes_received bytes_acked"),
      ...all(u32, "dsack_dups delivered delivered_ce icsk_retransmits", [5, 3]),
    ],
    [5, 1],
  ),
  bpf("bpf_sock_tuple", [["", union("", 36, { ipv4: tuple(u32), ipv6: tuple(array(u32, 4)) })]], [4, 20]),
  bpf("bpf_sock_ops", [
    ["op", u32],
    ["", union("", 16, { args: array(u32, 4), reply: u32, replylong: array(u32, 4) })],
    ["family", u32],
    ...ends,
    ...all(u32, "remote_port local_port is_fullsock snd_cwnd srtt_us bpf_sock_ops_cb_flags state"),
    ...all(u32, measures),
    ["sk_txhash", u32],
    ...all(u64, "bytes_received bytes_acked"),
    md("sk", "bpf_sock", [5, 3]),
    md("skb_data", "void", [5, 10]),
    md("skb_data_end", "void", [5, 10]),
    ...all(u32, "skb_len skb_tcp_flags", [5, 10]),
    ["skb_hwtstamp", u64, [6, 2]],
  ]),
  bpf("sk_msg_md", [
    md("data", "void"),
    md("data_end", "void"),
    ...since([4, 18], [["family", u32], ...ends, ...all(u32, "remote_port local_port")]),
    ["size", u32, [5, 0]],
    md("sk", "bpf_sock", [5, 8]),
  ]),
  bpf(
    "sk_reuseport_md",
    [
      md("data", "void"),
      md("data_end", "void"),
      ...all(u32, "len eth_protocol ip_protocol bind_inany hash"),
      md("sk", "bpf_sock", [5, 14]),
      md("migrating_sk", "bpf_sock", [5, 14]),
    ],
    [4, 19],
  ),
  bpf("bpf_sock_addr", [
    ...all(u32, "user_family user_ip4"),
    ip6("user_ip6"),
    ...all(u32, "user_port family type protocol"),
    ["msg_src_ip4", u32, [4, 18]],
    ["msg_src_ip6", array(u32, 4), [4, 18]],
    md("sk", "bpf_sock", [5, 3]),
  ]),
  bpf(
    "bpf_sk_lookup",
    [
      ["", union("", 8, { sk: pointer("bpf_sock") }), [5, 9], [5, 13]],
      ["", union("", 8, { sk: pointer("bpf_sock"), cookie: u64 }), [5, 13]],
      ...all(u32, "family protocol remote_ip4"),
      ip6("remote_ip6"),
      ["", bits(u32, 32), [5, 9], [5, 18]], // remote_port, the same
      ["remote_port", u16, [5, 18]],
      ["", bits(u16, 16), [5, 18]],
      ["local_ip4", u32],
      ip6("local_ip6"),
      ["local_port", u32],
      ["ingress_ifindex", u32, [5, 17]],
    ],
    [5, 9],
  ),
  bpf(
    "bpf_sockopt",
    [
      md("sk", "bpf_sock"),
      md("optval", "void"),
      md("optval_end", "void"),
      ...all(s32, "level optname optlen retval"),
    ],
    [5, 3],
  ),
  bpf("bpf_sysctl", all(u32, "write file_pos"), [5, 2]),
  bpf("bpf_cgroup_dev_ctx", all(u32, "access_type major minor")),
  bpf("bpf_pidns_info", all(u32, "pid tgid"), [5, 7]),
  bpf("bpf_raw_tracepoint_args", [["args", array(u64, 0)]]),
  declare(
    "linux/if_ether.h",
    "ethhdr",
    ["h_dest", array(u8, 6)],
    ["h_source", array(u8, 6)],
    ["h_proto", u16],
  ),
  declare(
    "linux/ip.h",
    "iphdr",
    ["ihl", bits(u8, 4)],
    ["version", bits(u8, 4)],
    ["tos", u8],
    ...all(u16, "tot_len id frag_off"),
    ...all(u8, "ttl protocol"),
    ["check", u16],
    ...all(u32, "saddr daddr"),
  ),
  declare(
    "linux/ipv6.h",
    "ipv6hdr",
    ["priority", bits(u8, 4)],
    ["version", bits(u8, 4)],
    ["flow_lbl", array(u8, 3)],
    ["payload_len", u16],
    ...all(u8, "nexthdr hop_limit"),
    ...all(in6Addr, "saddr daddr"),
  ),
  declare(
    "linux/tcp.h",
    "tcphdr",
    ...all(u16, "source dest"),
    ...all(u32, "seq ack_seq"),
    ["", bits(u16, 4)], // res1, in which Linux 6.16 found room for ae
    ["doff", bits(u16, 4)],
    ...["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"].map((flag) => [flag, bits(u16, 1)] as const),
    ...all(u16, "window check urg_ptr"),
  ),
  declare("linux/udp.h", "udphdr", ...all(u16, "source dest len check")),
  declare(
    "linux/icmp.h",
    "icmphdr",
    ["type", u8],
    ["code", u8],
    ["checksum", u16],
    [
      "un",
      union("", 4, {
        echo: layOut("", all(u16, "id sequence").map(plain)),
        gateway: u32,
        frag: layOut("", all(u16, "__unused mtu").map(plain)),
        reserved: array(u8, 4),
      }),
    ],
  ),
  declare(
    "linux/in.h",
    "sockaddr_in",
    ["sin_family", u16],
    ["sin_port", u16],
    ["sin_addr", inAddr],
    ["__pad", array(u8, 8)],
  ),
  declare(
    "linux/in6.h",
    "sockaddr_in6",
    ...all(u16, "sin6_family sin6_port"),
    ["sin6_flowinfo", u32],
    ["sin6_addr", in6Addr],
    ["sin6_scope_id", u32],
  ),
  declare("linux/un.h", "sockaddr_un", ["sun_family", u16], ["sun_path", array(char, 108)]),
  { ...declare("linux/openat2.h", "open_how", ...all(u64, "flags mode resolve")), since: [5, 6] },
];

/** The machine whose registers struct pt_regs holds. */
export type RegisterSet = "x64" | "arm64";

const armRegisters: readonly Row[] = [["regs", array(ulong, 31)], ...all(ulong, "sp pc pstate")];
/** What x86-64 saves of a segment's register, and what Linux 6.9 found room for behind it (FRED). */
const segment = (name: string): Row[] => [
  [name, ulong, ever, [6, 9]],
  [name, u16, [6, 9]],
  ["", bits(u16, 16), [6, 9]],
  ["", bits(u32, 32), [6, 9]],
];

/**
 * The registers that kprobes see, by which programs read a function's arguments: arch/x86/include/asm/ptrace.h, and
 * arch/arm64/include/uapi/asm/ptrace.h, whose struct that of the kernel begins with. The first is what programs of perf
 * events see too.
 */
const registers: Readonly<Record<RegisterSet, readonly Declaration[]>> = {
  x64: [
    declare(
      "asm/ptrace.h",
      "pt_regs",
      ...all(ulong, "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip"),
      ...segment("cs"),
      ...all(ulong, "flags sp"),
      ...segment("ss"),
    ),
  ],
  arm64: [
    declare("asm/ptrace.h", "user_pt_regs", ...armRegisters),
    declare("asm/ptrace.h", "pt_regs", ...armRegisters),
  ],
};

/** Enumerators, in the order of their values, and how many of them a Linux has from which version on. */
interface Grown {
  readonly name: string;
  readonly prefix: string;
  readonly words: string;
  readonly counts: readonly (readonly [since: Version, count: number])[];
}

const grown: readonly Grown[] = [
  {
    name: "bpf_func_id",
    prefix: "BPF_FUNC_",
    words: `
  unspec map_lookup_elem map_update_elem map_delete_elem probe_read ktime_get_ns trace_printk
  get_prandom_u32 get_smp_processor_id skb_store_bytes l3_csum_replace l4_csum_replace tail_call
  clone_redirect get_current_pid_tgid get_current_uid_gid get_current_comm get_cgroup_classid
  skb_vlan_push skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key perf_event_read redirect
  get_route_realm perf_event_output skb_load_bytes get_stackid csum_diff skb_get_tunnel_opt
  skb_set_tunnel_opt skb_change_proto skb_change_type skb_under_cgroup get_hash_recalc
  get_current_task probe_write_user current_task_under_cgroup skb_change_tail skb_pull_data
  csum_update set_hash_invalid get_numa_node_id skb_change_head xdp_adjust_head probe_read_str
  get_socket_cookie get_socket_uid set_hash setsockopt skb_adjust_room redirect_map sk_redirect_map
  sock_map_update xdp_adjust_meta perf_event_read_value perf_prog_read_value getsockopt
  override_return sock_ops_cb_flags_set msg_redirect_map msg_apply_bytes msg_cork_bytes
  msg_pull_data bind xdp_adjust_tail skb_get_xfrm_state get_stack skb_load_bytes_relative fib_lookup
  sock_hash_update msg_redirect_hash sk_redirect_hash lwt_push_encap lwt_seg6_store_bytes
  lwt_seg6_adjust_srh lwt_seg6_action rc_repeat rc_keydown skb_cgroup_id get_current_cgroup_id
  get_local_storage sk_select_reuseport skb_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp
  sk_release map_push_elem map_pop_elem map_peek_elem msg_push_data msg_pop_data rc_pointer_rel
  spin_lock spin_unlock sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock skc_lookup_tcp
  tcp_check_syncookie sysctl_get_name sysctl_get_current_value sysctl_get_new_value
  sysctl_set_new_value strtol strtoul sk_storage_get sk_storage_delete send_signal tcp_gen_syncookie
  skb_output probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str
  tcp_send_ack send_signal_thread jiffies64 read_branch_records get_ns_current_pid_tgid xdp_output
  get_netns_cookie get_current_ancestor_cgroup_id sk_assign ktime_get_boot_ns seq_printf seq_write
  sk_cgroup_id sk_ancestor_cgroup_id ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard
  ringbuf_query csum_level skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock
  skc_to_tcp_request_sock skc_to_udp6_sock get_task_stack load_hdr_opt store_hdr_opt reserve_hdr_opt
  inode_storage_get inode_storage_delete d_path copy_from_user snprintf_btf seq_printf_btf
  skb_cgroup_classid redirect_neigh per_cpu_ptr this_cpu_ptr redirect_peer task_storage_get
  task_storage_delete get_current_task_btf bprm_opts_set ktime_get_coarse_ns ima_inode_hash
  sock_from_file check_mtu for_each_map_elem snprintf sys_bpf btf_find_by_name_kind sys_close
  timer_init timer_set_callback timer_start timer_cancel get_func_ip get_attach_cookie task_pt_regs
  get_branch_snapshot trace_vprintk skc_to_unix_sock kallsyms_lookup_name find_vma loop strncmp
  get_func_arg get_func_ret get_func_arg_cnt get_retval set_retval xdp_get_buff_len xdp_load_bytes
  xdp_store_bytes copy_from_user_task skb_set_tstamp ima_file_hash kptr_xchg map_lookup_percpu_elem
  skc_to_mptcp_sock dynptr_from_mem ringbuf_reserve_dynptr ringbuf_submit_dynptr
  ringbuf_discard_dynptr dynptr_read dynptr_write dynptr_data tcp_raw_gen_syncookie_ipv4
  tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
  ktime_get_tai_ns user_ringbuf_drain cgrp_storage_get cgrp_storage_delete`,
    counts: [
      [[4, 17], 65],
      [[4, 18], 81],
      [[4, 19], 84],
      [[4, 20], 91],
      [[5, 0], 93],
      [[5, 1], 99],
      [[5, 2], 109],
      [[5, 3], 110],
      [[5, 4], 111],
      [[5, 5], 116],
      [[5, 6], 119],
      [[5, 7], 125],
      [[5, 8], 136],
      [[5, 9], 142],
      [[5, 10], 156],
      [[5, 11], 163],
      [[5, 12], 164],
      [[5, 13], 166],
      [[5, 14], 169],
      [[5, 15], 176],
      [[5, 16], 180],
      [[5, 17], 186],
      [[5, 18], 194],
      [[5, 19], 204],
      [[6, 0], 208],
      [[6, 1], 210],
      [[6, 2], 212],
    ],
  },
  {
    name: "bpf_map_type",
    prefix: "BPF_MAP_TYPE_",
    words: `
  UNSPEC HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE CGROUP_ARRAY
  LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP SOCKMAP CPUMAP XSKMAP SOCKHASH
  CGROUP_STORAGE REUSEPORT_SOCKARRAY PERCPU_CGROUP_STORAGE QUEUE STACK SK_STORAGE DEVMAP_HASH
  STRUCT_OPS RINGBUF INODE_STORAGE TASK_STORAGE BLOOM_FILTER USER_RINGBUF CGRP_STORAGE ARENA
 `,
    counts: [
      [[4, 17], 17],
      [[4, 18], 19],
      [[4, 19], 21],
      [[4, 20], 24],
      [[5, 2], 25],
      [[5, 4], 26],
      [[5, 6], 27],
      [[5, 8], 28],
      [[5, 10], 29],
      [[5, 11], 30],
      [[5, 16], 31],
      [[6, 1], 32],
      [[6, 2], 33],
      [[6, 9], 34],
    ],
  },
  {
    name: "bpf_prog_type",
    prefix: "BPF_PROG_TYPE_",
    words: `
  UNSPEC SOCKET_FILTER KPROBE SCHED_CLS SCHED_ACT TRACEPOINT XDP PERF_EVENT CGROUP_SKB CGROUP_SOCK
  LWT_IN LWT_OUT LWT_XMIT SOCK_OPS SK_SKB CGROUP_DEVICE SK_MSG RAW_TRACEPOINT CGROUP_SOCK_ADDR
  LWT_SEG6LOCAL LIRC_MODE2 SK_REUSEPORT FLOW_DISSECTOR CGROUP_SYSCTL RAW_TRACEPOINT_WRITABLE
  CGROUP_SOCKOPT TRACING STRUCT_OPS EXT LSM SK_LOOKUP SYSCALL NETFILTER`,
    counts: [
      [[4, 17], 19],
      [[4, 18], 21],
      [[4, 19], 22],
      [[4, 20], 23],
      [[5, 2], 25],
      [[5, 3], 26],
      [[5, 5], 27],
      [[5, 6], 29],
      [[5, 7], 30],
      [[5, 9], 31],
      [[5, 14], 32],
      [[6, 4], 33],
    ],
  },
  { name: "xdp_action", prefix: "XDP_", words: "ABORTED DROP PASS TX REDIRECT", counts: [[[4, 17], 5]] },
  { name: "sk_action", prefix: "SK_", words: "DROP PASS", counts: [[[4, 17], 2]] },
  {
    name: "tcp_ca_state",
    prefix: "TCP_CA_",
    words: "Open Disorder CWR Recovery Loss",
    counts: [[[4, 17], 5]],
  },
];

/**
 * Types by whose presence programs tell what a kernel can do. Of their inside nothing is known, and nothing told: neither
 * members nor their true size.
 */
const present: readonly { readonly name: string; readonly since: Version }[] = [
  { name: "bpf_ringbuf", since: [5, 8] }, // BPF_MAP_TYPE_RINGBUF
];

/** Types whose size in BTF is not that of the kernel's. */
export const hollow: readonly string[] = present.map(({ name }) => name);

/** The header below include/uapi/ that declares each of the structs. */
export const headers: ReadonlyMap<string, string> = new Map([
  ...structs.map(({ name, header }) => [name, header] as const),
  ["bpf_perf_event_data", "linux/bpf_perf_event.h"],
]);

/** All of it that a Linux has. @param version as `host.kernel.version` of a document */
export function uapi(machine: RegisterSet, version: readonly number[]): (Composite | Enumeration)[] {
  const has = (from: Version = ever, until: Version = [Number.POSITIVE_INFINITY, 0]) =>
    !isBefore(version, from) && isBefore(version, until);
  const laidOut = ({ name, rows }: Declaration) =>
    layOut(name, rows.filter(([, , from, until]) => has(from, until)).map(plain));
  const own = registers[machine].map(laidOut);
  const [regs] = own;
  const event =
    regs && layOut("bpf_perf_event_data", [["regs", regs], ...all(u64, "sample_period addr").map(plain)]);
  return [
    ...own,
    ...(event === undefined ? [] : [event]),
    ...structs.filter(({ since }) => has(since)).map(laidOut),
    ...grown.map(({ name, prefix, words, counts }): Enumeration => {
      const count = counts.findLast(([from]) => has(from))?.[1] ?? 0;
      const enumerators = words.trim().split(/\s+/).slice(0, count);
      return { kind: "enum", name, enumerators: enumerators.map((word) => `${prefix}${word}`) };
    }),
    ...present.filter(({ since }) => has(since)).map(({ name }) => struct(name, 0)),
  ];
}

function plain([name, type]: Row) {
  return [name, type] as const;
}

const isBefore = ([major = 0, minor = 0]: readonly number[], [toMajor, toMinor]: Version): boolean =>
  major === toMajor ? minor < toMinor : major < toMajor;
