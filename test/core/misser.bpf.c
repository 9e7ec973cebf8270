// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program that reads a member which no kernel has, without asking whether it is there; and one beside it that does not. */
#include "../../bpf/offsetof.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock_common___x {
	int skc_family;
	long no_such_member;
} __attribute__((preserve_access_index));

SEC("raw_tp/sys_exit")
int misses(void *context)
{
	struct sock_common___x *sock = context;

	return __builtin_preserve_field_info(sock->skc_family, 0) +
	       __builtin_preserve_field_info(sock->no_such_member, 0);
}

SEC("raw_tp/sys_exit")
int reads(void *context)
{
	struct sock_common___x *sock = context;

	return __builtin_preserve_field_info(sock->skc_family, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
