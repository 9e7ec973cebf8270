// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads members of struct sock by the names that the kernel's BTF has for them. The verifier checks each load against
 * that BTF, so that no helper is needed which lockdown=confidentiality forbids. libbpf writes the offsets in (CO-RE).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "offsetof.h"

/* The members that are read, and no others of their structs: libbpf finds them by name. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};
struct ns_common {
	__u32 inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	__u16 skc_family;
	volatile __u8 skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
};
struct inet_sock {
	__u16 inet_sport;
};
struct inet_connection_sock {
	struct inet_sock icsk_inet;
};
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 srtt_us;
	__u32 mdev_us;
};
#pragma clang attribute pop

/* In the order of `members` in src/kernel/typed.ts. */
enum member_index {
	FAMILY,
	SADDR,
	DADDR,
	DPORT,
	NUM,
	STATE,
	SADDR_IPV6,
	DADDR_IPV6,
	INO, /* of the struct net that skc_net leads to */
	SPORT,
	RTT,
	RTT_VAR,
	MEMBER_COUNT,
};

struct member {
	__u32 offset; /* from the start of its struct, as libbpf found it in the kernel's BTF */
	__u32 width;  /* 0: not read */
	__u8 value[16];
};

/* What was read of one struct tcp_sock. */
struct typed {
	__u32 from; /* socket state before and after */
	__u32 to;
	__u32 netns_offset; /* of the pointer to struct net */
	__u32 unused;
	struct member members[MEMBER_COUNT];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_COUNT);
	__type(key, __u32);
	__type(value, struct typed);
} slots SEC(".maps");

#define BYTE_OFFSET 0 /* BPF_FIELD_BYTE_OFFSET of enum bpf_field_info_kind */
#define OFFSET_OF(access) __builtin_preserve_field_info(access, BYTE_OFFSET)

#define READ(slot, which, type, access)                       \
	do {                                                  \
		(slot)->members[which].offset = OFFSET_OF(access); \
		(slot)->members[which].width = sizeof(type);  \
		*(type *)(slot)->members[which].value = access; \
	} while (0)

#define READ_IN6(slot, which, access)                                        \
	do {                                                                 \
		__u32 *words = (__u32 *)(slot)->members[which].value;        \
		(slot)->members[which].offset = OFFSET_OF(access.in6_u);     \
		(slot)->members[which].width = 16;                           \
		words[0] = access.in6_u.u6_addr32[0];                        \
		words[1] = access.in6_u.u6_addr32[1];                        \
		words[2] = access.in6_u.u6_addr32[2];                        \
		words[3] = access.in6_u.u6_addr32[3];                        \
	} while (0)

/* inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate), before the new state is stored. */
SEC("tp_btf/inet_sock_set_state")
int tp_btf_inet_sock_set_state(__u64 *context)
{
	struct sock *sk = (struct sock *)context[0];
	__u64 comm[COMM_SIZE / 8] = {};
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);
	struct tcp_sock *tcp;
	struct typed *slot;
	__u32 index;

	if (!control || bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	if (comm[0] != control->comm[0] || comm[1] != control->comm[1])
		return 0;
	index = control->next;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	control->next = index + 1;

	slot->from = (__u32)context[1];
	slot->to = (__u32)context[2];
	READ(slot, FAMILY, __u16, sk->__sk_common.skc_family);
	READ(slot, SADDR, __u32, sk->__sk_common.skc_rcv_saddr);
	READ(slot, DADDR, __u32, sk->__sk_common.skc_daddr);
	READ(slot, DPORT, __u16, sk->__sk_common.skc_dport);
	READ(slot, NUM, __u16, sk->__sk_common.skc_num);
	READ(slot, STATE, __u8, sk->__sk_common.skc_state);
	READ_IN6(slot, SADDR_IPV6, sk->__sk_common.skc_v6_rcv_saddr);
	READ_IN6(slot, DADDR_IPV6, sk->__sk_common.skc_v6_daddr);
	READ(slot, INO, __u32, sk->__sk_common.skc_net.net->ns.inum);
	slot->netns_offset = OFFSET_OF(sk->__sk_common.skc_net.net);

	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	READ(slot, SPORT, __u16, tcp->inet_conn.icsk_inet.inet_sport);
	READ(slot, RTT, __u32, tcp->srtt_us);
	READ(slot, RTT_VAR, __u32, tcp->mdev_us);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
