// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Copies whole sock structs of one thread to user space, which solves every field at once.
 * No global data, no loops, no CO-RE: the same object loads on kernels that lack them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "offsetof.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* user space clears the flag where the kernel lacks it */
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_COUNT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/*
 * The names of threads do not depend on the pid namespace, and this one is random: unlike a pid it is right
 * inside containers. Returns the control when this thread is served.
 */
static __always_inline struct control *control_of_this_thread(void)
{
	__u64 comm[COMM_SIZE / 8] = {};
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);

	if (!control || !control->armed)
		return 0;
	if (bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	if (comm[0] != control->comm[0] || comm[1] != control->comm[1])
		return 0;
	return control;
}

static __always_inline int copy_sock(__u64 sk, __u32 from, __u32 to)
{
	struct control *control = control_of_this_thread();
	struct slot *slot;
	__u64 source = sk;
	__u32 chunks = 0;
	__u32 index;

	if (!control)
		return 0;
	index = control->next;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	if (control->chase) {
		if (bpf_probe_read_kernel(&source, sizeof(source), (void *)(sk + control->pointer)))
			return 0;
		if (!is_kernel_address(source, sk))
			return 0;
	}
	/* Chunk by chunk: a page that is not there costs its own bytes, not the whole window. */
#pragma unroll
	for (int i = 0; i < WINDOW_CHUNKS; i++) {
		if (!bpf_probe_read_kernel(slot->window + i * CHUNK_SIZE, CHUNK_SIZE, (void *)(source + i * CHUNK_SIZE)))
			chunks |= 1u << i;
	}
	slot->instance = sk;
	slot->from = from;
	slot->to = to;
	slot->chunks = chunks;
	control->next = index + 1;
	return 0;
}

/* int tcp_getsockopt(struct sock *sk, ...): every state, in the caller's own context. */
SEC("kprobe/tcp_getsockopt")
int kprobe_tcp_getsockopt(struct registers *regs)
{
	return copy_sock(FIRST_ARGUMENT(regs), 0, 0);
}

/* inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate), before the new state is stored. */
SEC("raw_tp/inet_sock_set_state")
int raw_tp_inet_sock_set_state(struct bpf_raw_tracepoint_args *context)
{
	return copy_sock(context->args[0], (__u32)context->args[1], (__u32)context->args[2]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
