/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What reader.bpf.c has read, shared with loader.c. Addresses and ports in network order, but for `num`. */
#ifndef READER_H
#define READER_H

#define TCP_FIN_WAIT1 4
#ifndef AF_INET6
#define AF_INET6 10
#endif

struct seen_sock {
	__u32 saddr, daddr, srtt, mdev, netns, points_back, same_family, in_state;
	__u16 family, dport, sport, num;
	__u32 saddr6[4], daddr6[4];
};

struct seen_flow {
	__u32 saddr, daddr;
	__u32 saddr6[4], daddr6[4];
	__u16 sport, dport;
};

struct seen_packet {
	__u32 saddr, daddr, starts_at_mac;
	__u16 sport, num;
};

struct seen_conn {
	__u64 status;
	__u32 netns, saddr, daddr, reply_saddr;
	__u16 sport, dport, reply_dport, l3num;
	__u8 protonum, reply_dir;
};

struct seen {
	__u64 comm[2];	/* only the thread of this name is looked at */
	__u16 udp_port; /* and of its packets and flows, those to this port */
	struct seen_sock tcp4, tcp6;
	struct seen_packet skb;
	struct seen_flow fl4, fl6;
	struct seen_conn ct;
};

#endif
