// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Copies whole structs that the kernel touches for one thread to user space, which solves every field at once.
 * No global data, no loops, no CO-RE: old kernels lack them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "offsetof.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, MAP_FLAGS);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_COUNT);
	__uint(map_flags, MAP_FLAGS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/*
 * The names of threads do not depend on the pid namespace, and this one is random: unlike a pid it is right
 * inside containers. Returns the control when this thread is served and wants this kind.
 */
static __always_inline struct control *control_for(enum kind kind)
{
	__u64 comm[COMM_SIZE / 8] = {};
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);

	if (!control || !control->quota[kind])
		return 0;
	if (bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	if (comm[0] != control->comm[0] || comm[1] != control->comm[1])
		return 0;
	return control;
}

/* Takes the next slot and fills its header; null when all are full. */
static __always_inline struct slot *next_slot(struct control *control, enum kind kind, __u64 instance)
{
	__u32 index = control->next;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot)
		return 0;
	control->next = index + 1;
	slot->instance = instance;
	slot->kind = kind;
	slot->chased = 0;
	slot->from = 0;
	slot->to = 0;
	return slot;
}

/*
 * Chunk by chunk: a page that is not there costs its own bytes, not the whole window. The results are stored as they
 * come, because a branch for each would double the paths that the verifier walks.
 */
static __always_inline void copy_window(struct slot *slot, __u64 source, const int chunks)
{
	slot->chunks = chunks;
#pragma unroll
	for (int i = 0; i < chunks; i++)
		slot->errors[i] = read_kernel(slot->window + i * CHUNK_SIZE, CHUNK_SIZE,
					      (void *)(source + i * CHUNK_SIZE));
}

/* Follows one step of the path; 0 when that step leads nowhere that may be read. */
static __always_inline __u64 follow(__u64 from, __u32 offset, __u64 known)
{
	__u64 pointer = 0;

	if (read_kernel(&pointer, sizeof(pointer), (void *)(from + offset)))
		return 0;
	return kernel_address(pointer, known);
}

/* Copies the struct at `instance`, and what the path from it leads to into a slot of its own. */
static __always_inline int copy(enum kind kind, const int chunks, __u64 instance, __u32 from, __u32 to)
{
	struct control *control = control_for(kind);
	struct slot *slot;
	__u64 target;

	if (!control)
		return 0;
	slot = next_slot(control, kind, instance);
	if (!slot)
		return 0;
	control->quota[kind] -= 1;
	slot->from = from;
	slot->to = to;
	copy_window(slot, instance, chunks);

	if (!control->path_length)
		return 0;
	target = follow(instance, control->path[0], instance);
	if (target && control->path_length > 1)
		target = follow(target, control->path[1], instance);
	if (!target)
		return 0;
	slot = next_slot(control, kind, instance);
	if (!slot)
		return 0;
	slot->chased = 1;
	copy_window(slot, target + control->skip, WINDOW_CHUNKS);
	return 0;
}

/* Windows in chunks: at least the struct, of any kernel, and little of what lies behind it. */
#define SOCK_CHUNKS WINDOW_CHUNKS /* struct tcp6_sock */
#define SOCKET_CHUNKS 1
#define FLOWI_CHUNKS 1
#define SK_BUFF_CHUNKS 2
#define NF_CONN_CHUNKS 2

/* Every state, in the caller's own context: int tcp_getsockopt(struct sock *sk, ...). */
SEC("kprobe/tcp_getsockopt")
int kprobe_tcp_getsockopt(struct registers *regs)
{
	return copy(KIND_SOCK, SOCK_CHUNKS, ARGUMENT_0(regs), 0, 0);
}

/* inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate), before the new state is stored. */
SEC("raw_tp/inet_sock_set_state")
int raw_tp_inet_sock_set_state(struct bpf_raw_tracepoint_args *context)
{
	return copy(KIND_SOCK, SOCK_CHUNKS, context->args[0], (__u32)context->args[1], (__u32)context->args[2]);
}

/* int sock_common_getsockopt(struct socket *sock, ...), which calls tcp_getsockopt. */
SEC("kprobe/sock_common_getsockopt")
int kprobe_sock_common_getsockopt(struct registers *regs)
{
	return copy(KIND_SOCKET, SOCKET_CHUNKS, ARGUMENT_0(regs), 0, 0);
}

/* struct rtable *ip_route_output_flow(struct net *, struct flowi4 *flp, const struct sock *sk) */
SEC("kprobe/ip_route_output_flow")
int kprobe_ip_route_output_flow(struct registers *regs)
{
	return copy(KIND_FLOWI4, FLOWI_CHUNKS, ARGUMENT_1(regs), 0, 0);
}

/* fib_table_lookup(u32 tb_id, const struct flowi4 *flp, ...) */
SEC("raw_tp/fib_table_lookup")
int raw_tp_fib_table_lookup(struct bpf_raw_tracepoint_args *context)
{
	return copy(KIND_FLOWI4, FLOWI_CHUNKS, context->args[1], 0, 0);
}

/* struct dst_entry *ip6_route_output_flags(struct net *net, const struct sock *sk, struct flowi6 *fl6, int flags) */
SEC("kprobe/ip6_route_output_flags")
int kprobe_ip6_route_output_flags(struct registers *regs)
{
	return copy(KIND_FLOWI6, FLOWI_CHUNKS, ARGUMENT_2(regs), 0, 0);
}

/* fib6_table_lookup(const struct net *net, const struct fib6_result *res, struct fib6_table *table, const struct flowi6 *flp) */
SEC("raw_tp/fib6_table_lookup")
int raw_tp_fib6_table_lookup(struct bpf_raw_tracepoint_args *context)
{
	return copy(KIND_FLOWI6, FLOWI_CHUNKS, context->args[3], 0, 0);
}

/* struct sk_buff *dev_hard_start_xmit(struct sk_buff *first, ...): all headers are set. */
SEC("kprobe/dev_hard_start_xmit")
int kprobe_dev_hard_start_xmit(struct registers *regs)
{
	return copy(KIND_SK_BUFF, SK_BUFF_CHUNKS, ARGUMENT_0(regs), 0, 0);
}

/* net_dev_queue(struct sk_buff *skb), where __dev_queue_xmit has set the last header. */
SEC("raw_tp/net_dev_queue")
int raw_tp_net_dev_queue(struct bpf_raw_tracepoint_args *context)
{
	return copy(KIND_SK_BUFF, SK_BUFF_CHUNKS, context->args[0], 0, 0);
}

/* int nf_conntrack_hash_check_insert(struct nf_conn *ct): for entries made through ctnetlink. */
SEC("kprobe/nf_conntrack_hash_check_insert")
int kprobe_nf_conntrack_hash_check_insert(struct registers *regs)
{
	return copy(KIND_NF_CONN, NF_CONN_CHUNKS, ARGUMENT_0(regs), 0, 0);
}

/* void __nf_conntrack_hash_insert(struct nf_conn *ct, ...), which that one calls. */
SEC("kprobe/__nf_conntrack_hash_insert")
int kprobe___nf_conntrack_hash_insert(struct registers *regs)
{
	return copy(KIND_NF_CONN, NF_CONN_CHUNKS, ARGUMENT_0(regs), 0, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
