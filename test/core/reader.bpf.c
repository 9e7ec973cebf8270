// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A CO-RE program as others write them: it reads every member that offsetof's BTF can place. The declarations have the
 * names and the nesting of a vmlinux.h, but other offsets than any kernel: nothing is right before libbpf relocates it.
 */
#include "../../bpf/offsetof.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
} CORE;

struct ns_common {
	unsigned int inum;
} CORE;

struct net {
	struct ns_common ns;
} CORE;

typedef struct {
	struct net *net;
} CORE possible_net_t;

struct sock_common {
	union {
		__u64 skc_addrpair;
		struct {
			__u32 skc_daddr;
			__u32 skc_rcv_saddr;
		} CORE;
	} CORE;
	union {
		__u32 skc_portpair;
		struct {
			__u16 skc_dport;
			__u16 skc_num;
		} CORE;
	} CORE;
	short unsigned int skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} CORE;

struct file;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
} CORE;

struct socket {
	struct file *file;
	struct sock *sk;
} CORE;

struct inet_sock {
	struct sock sk;
	__u16 inet_sport;
} CORE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} CORE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 srtt_us;
	__u32 mdev_us;
} CORE;

struct sk_buff {
	union {
		struct sock *sk;
		int ip_defrag_offset;
	} CORE;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned char *head, *data;
} CORE;

union flowi_uli {
	struct {
		__u16 dport;
		__u16 sport;
	} ports;
} CORE;

struct flowi4 {
	__u32 saddr;
	__u32 daddr;
	union flowi_uli uli;
} CORE;
#define fl4_sport uli.ports.sport
#define fl4_dport uli.ports.dport

struct flowi6 {
	struct in6_addr daddr;
	struct in6_addr saddr;
	union flowi_uli uli;
} CORE;
#define fl6_sport uli.ports.sport
#define fl6_dport uli.ports.dport

union nf_inet_addr {
	__u32 all[4];
	__u32 ip;
} CORE;

union nf_conntrack_man_proto {
	__u16 all;
	struct {
		__u16 port;
	} tcp;
} CORE;

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
} CORE;

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__u16 all;
			struct {
				__u16 port;
			} tcp;
		} u;
		__u8 protonum;
		__u8 dir;
	} dst;
} CORE;

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
} CORE;

struct nf_conn {
	unsigned long status;
	possible_net_t ct_net;
	struct nf_conntrack_tuple_hash tuplehash[2];
} CORE;

#include "reader.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), (const void *)&(from))

static __always_inline struct seen *mine(void)
{
	__u32 zero = 0;
	struct seen *s = bpf_map_lookup_elem(&seen, &zero);
	__u64 comm[2];

	if (!s || bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	return comm[0] == s->comm[0] && comm[1] == s->comm[1] ? s : 0;
}

static __always_inline __u32 inode_of(possible_net_t *where)
{
	struct net *net;
	__u32 inode = 0;

	READ(net, where->net);
	READ(inode, net->ns.inum);
	return inode;
}

SEC("raw_tp/inet_sock_set_state")
int read_sock(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0], *back = 0;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct socket *socket;
	struct file *file = 0;
	struct seen *s = mine();
	struct seen_sock *to;
	__u16 family = 0;
	__u8 state = 0;

	if (!s || ctx[2] != TCP_FIN_WAIT1)
		return 0;
	READ(family, sk->__sk_common.skc_family);
	to = family == AF_INET6 ? &s->tcp6 : &s->tcp4;
	to->family = family;
	READ(to->saddr, sk->__sk_common.skc_rcv_saddr);
	READ(to->daddr, sk->__sk_common.skc_daddr);
	READ(to->saddr6, sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
	READ(to->daddr6, sk->__sk_common.skc_v6_daddr);
	READ(to->dport, sk->__sk_common.skc_dport);
	READ(to->num, sk->__sk_common.skc_num);
	READ(state, sk->__sk_common.skc_state);
	to->in_state = state == ctx[1] || state == ctx[2]; /* kernels differ in what is stored when they tell */
	READ(to->sport, inet->inet_sport);
	READ(to->srtt, tp->srtt_us);
	READ(to->mdev, tp->mdev_us);
	to->netns = inode_of(&sk->__sk_common.skc_net);
	READ(socket, sk->sk_socket);
	READ(back, socket->sk);
	READ(file, socket->file);
	to->points_back = back == sk && file != 0;
	READ(family, tp->inet_conn.icsk_inet.sk.__sk_common.skc_family);
	to->same_family = family == to->family;
	return 0;
}

SEC("raw_tp/net_dev_queue")
int read_sk_buff(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	__u16 transport = 0, network = 0, mac = 0, ports[2] = {};
	unsigned char *head = 0, *data = 0;
	struct seen *s = mine();
	struct sock *sk = 0;
	__u32 addresses[2] = {};

	if (!s)
		return 0;
	READ(head, skb->head);
	READ(data, skb->data);
	READ(transport, skb->transport_header);
	READ(network, skb->network_header);
	READ(mac, skb->mac_header);
	bpf_probe_read_kernel(ports, sizeof(ports), head + transport);
	if (ports[1] != s->udp_port || (__u16)(transport - network) != 20)
		return 0;
	bpf_probe_read_kernel(addresses, sizeof(addresses), head + network + 12);
	s->skb.sport = ports[0];
	s->skb.saddr = addresses[0];
	s->skb.daddr = addresses[1];
	s->skb.starts_at_mac = data == head + mac;
	READ(sk, skb->sk);
	READ(s->skb.num, sk->__sk_common.skc_num);
	return 0;
}

SEC("raw_tp/fib_table_lookup")
int read_flowi4(__u64 *ctx)
{
	struct flowi4 *flow = (struct flowi4 *)ctx[1];
	struct seen *s = mine();
	__u16 dport = 0, sport = 0;

	if (!s)
		return 0;
	READ(dport, flow->fl4_dport);
	READ(sport, flow->fl4_sport);
	if (dport != s->udp_port || !sport)
		return 0;
	s->fl4.dport = dport;
	s->fl4.sport = sport;
	READ(s->fl4.saddr, flow->saddr);
	READ(s->fl4.daddr, flow->daddr);
	return 0;
}

SEC("raw_tp/fib6_table_lookup")
int read_flowi6(__u64 *ctx)
{
	struct flowi6 *flow = (struct flowi6 *)ctx[3];
	struct seen *s = mine();
	__u16 dport = 0, sport = 0;

	if (!s)
		return 0;
	READ(dport, flow->fl6_dport);
	READ(sport, flow->fl6_sport);
	if (dport != s->udp_port || !sport)
		return 0;
	s->fl6.dport = dport;
	s->fl6.sport = sport;
	READ(s->fl6.saddr6, flow->saddr);
	READ(s->fl6.daddr6, flow->daddr.in6_u.u6_addr32);
	return 0;
}

SEC("kprobe/nf_conntrack_hash_check_insert")
int read_nf_conn(struct registers *regs)
{
	struct nf_conn *ct = (struct nf_conn *)ARGUMENT_0(regs);
	__u32 zero = 0;
	struct seen *s = bpf_map_lookup_elem(&seen, &zero);

	if (!s)
		return 0;
	READ(s->ct.status, ct->status);
	s->ct.netns = inode_of(&ct->ct_net);
	READ(s->ct.saddr, ct->tuplehash[0].tuple.src.u3.ip);
	READ(s->ct.daddr, ct->tuplehash[0].tuple.dst.u3.all[0]);
	READ(s->ct.sport, ct->tuplehash[0].tuple.src.u.tcp.port);
	READ(s->ct.dport, ct->tuplehash[0].tuple.dst.u.all);
	READ(s->ct.l3num, ct->tuplehash[0].tuple.src.l3num);
	READ(s->ct.protonum, ct->tuplehash[0].tuple.dst.protonum);
	READ(s->ct.reply_saddr, ct->tuplehash[1].tuple.src.u3.ip);
	READ(s->ct.reply_dport, ct->tuplehash[1].tuple.dst.u.tcp.port);
	READ(s->ct.reply_dir, ct->tuplehash[1].tuple.dst.dir);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
