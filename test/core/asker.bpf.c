// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs with every kind of CO-RE relocation but type_matches. `packet` reads packets as eCapture's objects do: nothing but
 * UAPI structs, in another order than Linux has them, so that nothing is right before it is relocated. `asks` asks before it
 * reads; misser.bpf.c does not.
 */
#include "../../bpf/offsetof.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))
/* Numbers of enum bpf_field_info_kind and the like, of libbpf's bpf_core_read.h. */
#define field(of, question) __builtin_preserve_field_info(of, question)
#define BYTE_OFFSET 0
#define BYTE_SIZE 1
#define EXISTS 2
#define SIGNED 3
#define LSHIFT 4
#define RSHIFT 5
#define type_exists(type) __builtin_preserve_type_info(*(type *)0, 0)
#define type_size(type) __builtin_preserve_type_info(*(type *)0, 1)
#define type_id(type) __builtin_btf_type_id(*(type *)0, 1)
#define value_exists(type, name) __builtin_preserve_enum_value(*(type *)name, 0)
#define value(type, name) __builtin_preserve_enum_value(*(type *)name, 1)

struct __sk_buff___x {
	__u32 data_end;
	__u32 data;
	__u32 len;
} CORE;

struct ethhdr {
	__u16 h_proto;
	__u8 h_dest[6];
} CORE;

struct iphdr {
	__u32 daddr;
	__u32 saddr;
	__u8 version : 4, ihl : 4;
	__u8 protocol;
} CORE;

struct tcphdr {
	__u32 seq;
	__u16 dest;
	__u16 source;
	__u16 syn : 1, doff : 4;
} CORE;

struct bpf_ringbuf {
};

struct no_such_type {
	int inside;
} CORE;

enum bpf_func_id___x {
	BPF_FUNC_check_mtu___x = 7,
	BPF_FUNC_no_such_function___x = 8,
};

struct answers {
	__u64 len, proto, ihl, doff, pid, ringbuf, mtu, none, size, id, inside, shift;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answers);
} answers SEC(".maps");

static struct answers *answer(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&answers, &zero);
}

SEC("tc")
int packet(struct __sk_buff___x *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct answers *to = answer();
	struct ethhdr *eth = data;
	struct iphdr *ip = data + 14;
	struct tcphdr *tcp = data + 34;

	if (!to || data + 54 > end)
		return 0;
	to->len = skb->len;
	to->proto = eth->h_proto;
	to->ihl = ip->ihl;
	to->doff = tcp->doff;
	to->shift = ip->protocol + ip->daddr + tcp->source + tcp->syn;
	return 0;
}

SEC("raw_tp/sys_enter")
int asks(void *context)
{
	struct answers *to = answer();
	struct no_such_type *none = context;
	struct iphdr *ip = context;
	struct tcphdr *tcp = context;

	if (!to)
		return 0;
	to->ringbuf = type_exists(struct bpf_ringbuf);
	to->none = type_exists(struct no_such_type);
	if (value_exists(enum bpf_func_id___x, BPF_FUNC_check_mtu___x))
		to->mtu = value(enum bpf_func_id___x, BPF_FUNC_check_mtu___x);
	if (value_exists(enum bpf_func_id___x, BPF_FUNC_no_such_function___x))
		to->mtu = value(enum bpf_func_id___x, BPF_FUNC_no_such_function___x);
	if (field(none->inside, EXISTS))
		to->inside = field(none->inside, BYTE_OFFSET);
	to->size = type_size(struct iphdr) + field(ip->protocol, BYTE_SIZE) + field(tcp->seq, SIGNED);
	to->shift = field(tcp->doff, LSHIFT) + field(tcp->doff, RSHIFT) + field(tcp->doff, BYTE_OFFSET) +
		    field(tcp->doff, BYTE_SIZE);
	to->id = type_id(struct iphdr);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
