/** The kernel structs that a program can copy, in the order of `enum kind` in bpf/offsetof.h. */
export const structs = ["sock", "socket", "flowi4", "flowi6", "sk_buff", "nf_conn"] as const;
export type WatchedStruct = (typeof structs)[number];

/** A place in the kernel where a struct passes by, and the eBPF program that looks at it there. */
export interface Rung {
  readonly struct: WatchedStruct;
  readonly kind: "kprobe" | "raw_tp";
  /** A kernel function or a tracepoint. */
  readonly target: string;
  readonly program: string;
  /** Attached only when it is asked for: what it shows is found without it on most hosts, and attaching takes time. */
  readonly late?: true;
}

/** Why the host has no rungs of a kind, or null where it has. */
export type Offers = (rung: Rung) => string | null;

const kprobe = (struct: WatchedStruct, target: string): Rung => ({
  struct,
  kind: "kprobe",
  target,
  program: `kprobe_${target}`,
});
const rawTracepoint = (struct: WatchedStruct, target: string): Rung => ({
  struct,
  kind: "raw_tp",
  target,
  program: `raw_tp_${target}`,
});

/**
 * The ladder of every struct for the snapshot strategy, best rung first. A tracepoint costs a tenth of a kprobe to
 * attach; struct sock is better seen at rest, by a kprobe, than in motion.
 */
export const ladder: readonly Rung[] = [
  kprobe("sock", "tcp_getsockopt"),
  rawTracepoint("sock", "inet_sock_set_state"),
  { ...kprobe("socket", "sock_common_getsockopt"), late: true }, // first by the pointers between sock and socket
  rawTracepoint("flowi4", "fib_table_lookup"),
  kprobe("flowi4", "ip_route_output_flow"),
  rawTracepoint("flowi6", "fib6_table_lookup"),
  kprobe("flowi6", "ip6_route_output_flags"),
  rawTracepoint("sk_buff", "net_dev_queue"),
  kprobe("sk_buff", "dev_hard_start_xmit"),
  kprobe("nf_conn", "nf_conntrack_hash_check_insert"),
  kprobe("nf_conn", "__nf_conntrack_hash_insert"),
];

/** The ladder of the stepwise strategy. Both rungs fire as often as we like, and change nothing of the socket. */
export const stepwiseLadder: readonly Rung[] = [
  kprobe("sock", "tcp_getsockopt"),
  rawTracepoint("sock", "tcp_rcv_space_adjust"),
];
