// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The classic strategy: each event reads one candidate place of a sock struct, user space says which one.
 * No global data, no loops, no CO-RE: old kernels lack them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "offsetof.h"

enum state {
	STATE_READY,	/* nothing is asked */
	STATE_CHECKING, /* user space asks for one read */
	STATE_CHECKED,	/* the program has done it */
};

/* What kind of value is being guessed; where it can, the number is the value's width in bytes. */
enum what {
	WHAT_U8 = 1,
	WHAT_U16 = 2,
	WHAT_U32 = 4,
	WHAT_IN6_ADDR = 16,
	WHAT_U32_BEHIND = 32, /* a u32 in the struct that a pointer in the sock leads to */
};

enum outcome {
	OUTCOME_READ,
	OUTCOME_NO_POINTER, /* what stands at `offset` is no address that may be followed */
	OUTCOME_FAULT,	    /* there is no memory */
	OUTCOME_UNKNOWN,    /* no such `what` */
};

/* User space holds the same layout in src/kernel/stepwise/prober.ts. */
struct step {
	__u64 comm[COMM_SIZE / 8]; /* only the thread of this name is served */
	__u32 state;
	__u32 what;
	__u32 offset; /* of the candidate in the sock */
	__u32 behind; /* WHAT_U32_BEHIND: of the candidate in the struct that the pointer at `offset` leads to */
	__u32 outcome;
	__u32 unused;
	__u8 value[16]; /* as it stands in memory */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, MAP_FLAGS);
	__type(key, __u32);
	__type(value, struct step);
} steps SEC(".maps");

/* Widths are constants, as old verifiers want them. Never more than the value is read: what follows may not be there. */
static __always_inline enum outcome read_candidate(struct step *step, __u64 sk)
{
	void *candidate = (void *)(sk + step->offset);
	__u64 pointer = 0;
	long error;

	switch (step->what) {
	case WHAT_U8:
		error = read_kernel(step->value, 1, candidate);
		break;
	case WHAT_U16:
		error = read_kernel(step->value, 2, candidate);
		break;
	case WHAT_U32:
		error = read_kernel(step->value, 4, candidate);
		break;
	case WHAT_IN6_ADDR:
		error = read_kernel(step->value, 16, candidate);
		break;
	case WHAT_U32_BEHIND:
		if (read_kernel(&pointer, sizeof(pointer), candidate))
			return OUTCOME_FAULT;
		pointer = kernel_address(pointer, sk);
		if (!pointer)
			return OUTCOME_NO_POINTER;
		error = read_kernel(step->value, 4, (void *)(pointer + step->behind));
		break;
	default:
		return OUTCOME_UNKNOWN;
	}
	return error ? OUTCOME_FAULT : OUTCOME_READ;
}

static __always_inline int check(__u64 sk)
{
	__u64 comm[COMM_SIZE / 8] = {};
	__u32 zero = 0;
	struct step *step = bpf_map_lookup_elem(&steps, &zero);

	if (!step || step->state != STATE_CHECKING)
		return 0;
	/* The random name of a thread is right in every pid namespace; a pid is not. */
	if (bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	if (comm[0] != step->comm[0] || comm[1] != step->comm[1])
		return 0;
	step->outcome = read_candidate(step, sk);
	step->state = STATE_CHECKED;
	return 0;
}

/* int tcp_getsockopt(struct sock *sk, ...): sockets in every state, in the caller's own context. */
SEC("kprobe/tcp_getsockopt")
int kprobe_tcp_getsockopt(struct registers *regs)
{
	return check(ARGUMENT_0(regs));
}

/* tcp_rcv_space_adjust(struct sock *sk): whenever received data was copied to its reader, in the reader's own context. */
SEC("raw_tp/tcp_rcv_space_adjust")
int raw_tp_tcp_rcv_space_adjust(struct bpf_raw_tracepoint_args *context)
{
	return check(context->args[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
