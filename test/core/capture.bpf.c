// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What eCapture's OpenSSL and BoringSSL objects ask of a kernel: UAPI structs of packets, and of a socket its pairs of addresses
 * and ports at once. In another order than Linux has them, so that nothing is right before it is relocated.
 */
#include "../../bpf/offsetof.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))
#define address_of(of) __builtin_preserve_access_index(&(of))

struct __sk_buff___x {
	__u32 data_end;
	__u32 data;
} CORE;

struct ethhdr {
	__u16 h_proto;
} CORE;

struct iphdr {
	__u32 daddr;
	__u32 saddr;
	__u8 protocol;
} CORE;

struct tcphdr {
	__u16 dest;
	__u16 source;
} CORE;

struct udphdr {
	__u16 dest;
	__u16 source;
} CORE;

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
} CORE;

struct sock_common {
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
	__u64 skc_addrpair;
	__u32 skc_portpair;
	__u16 skc_family;
} CORE;

struct sock {
	__u64 before;
	struct sock_common __sk_common;
} CORE;

struct pt_regs {
	unsigned long di;
} CORE;

struct seen {
	__u64 addresses;
	__u32 ports, daddr6, saddr6;
	__u16 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} captured SEC(".maps");

SEC("kprobe/tcp_sendmsg")
int sends(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct seen *s = bpf_map_lookup_elem(&captured, &zero);
	struct sock *sk;

	if (!s)
		return 0;
	bpf_probe_read_kernel(&sk, sizeof(sk), address_of(ctx->di));
	bpf_probe_read_kernel(&s->family, sizeof(s->family), address_of(sk->__sk_common.skc_family));
	bpf_probe_read_kernel(&s->addresses, sizeof(s->addresses), address_of(sk->__sk_common.skc_addrpair));
	bpf_probe_read_kernel(&s->ports, sizeof(s->ports), address_of(sk->__sk_common.skc_portpair));
	bpf_probe_read_kernel(&s->daddr6, sizeof(__u32), address_of(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3]));
	bpf_probe_read_kernel(&s->saddr6, sizeof(__u32), address_of(sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]));
	return 0;
}

SEC("tc")
int captures(struct __sk_buff___x *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + 14;
	struct tcphdr *tcp = data + 34;
	struct udphdr *udp = data + 34;

	if (data + 54 > end || eth->h_proto != 8)
		return 0;
	if (ip->protocol == 6)
		return tcp->source == 443 || tcp->dest == 443;
	return ip->protocol == 17 && ip->saddr != ip->daddr && (udp->source == 443 || udp->dest == 443);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
