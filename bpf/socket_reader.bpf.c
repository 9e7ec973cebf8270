// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads what the constants of the kernel lead to in sockets that it passes by, as their consumers do. User space reads
 * struct socket_event in src/bytecode/events.ts.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "constants.h"
#include "events.h"
#include "offsetof.h"

#define AF_INET 2
#define AF_INET6 10
#define ADDRESS_SIZE 16 /* struct in6_addr */

CONSTANT(offset_family);
CONSTANT(offset_saddr);
CONSTANT(offset_daddr);
CONSTANT(offset_sport);
CONSTANT(offset_dport);
CONSTANT(offset_num);
CONSTANT(offset_state);
CONSTANT(offset_saddr_ipv6);
CONSTANT(offset_daddr_ipv6);
CONSTANT(offset_netns);
CONSTANT(offset_ino);
CONSTANT(offset_rtt);
CONSTANT(offset_rtt_var);

/* Not offsets, and in no document or header: where they are not absent, only the threads of this name (comm) are served. */
#if !defined(OFFSETOF_HEADER)
#define SETTING(name) CONSTANT(name)
#elif defined(OFFSETOF_OLD_KERNEL)
#define SETTING(name) static const __u32 name = ABSENT
#else
#define SETTING(name) const volatile __u32 name = ABSENT
#endif
SETTING(filter_comm_0);
SETTING(filter_comm_1);
SETTING(filter_comm_2);
SETTING(filter_comm_3);

/* Which members of an event were read; all others are zero. */
enum socket_present {
	SOCKET_SADDR = 1 << 0,
	SOCKET_DADDR = 1 << 1,
	SOCKET_SPORT = 1 << 2,
	SOCKET_DPORT = 1 << 3,
	SOCKET_NUM = 1 << 4,
	SOCKET_STATE = 1 << 5,
	SOCKET_INO = 1 << 6,
	SOCKET_RTT = 1 << 7,
	SOCKET_RTT_VAR = 1 << 8,
};

/* One socket as it stands. Numbers are of the machine's byte order, but for those in network order. */
struct socket_event {
	__u64 thread;	/* tgid << 32 | tid, of the first pid namespace */
	__u32 present;	/* enum socket_present */
	__u16 family;	/* AF_INET or AF_INET6: others are not sent */
	__u16 sport;	/* network order */
	__u16 dport;	/* network order */
	__u16 num;	/* the local port again */
	__u32 ino;	/* of the network namespace */
	__u32 rtt;	/* srtt_us: microseconds << 3, of TCP alone */
	__u32 rtt_var;	/* mdev_us: microseconds << 2, of TCP alone */
	__u32 state;	/* of TCP, or 7 (TCP_CLOSE) */
	__u32 unused;
	__u8 saddr[ADDRESS_SIZE]; /* of AF_INET the first 4 bytes */
	__u8 daddr[ADDRESS_SIZE];
};

DEFINE_EVENTS(struct socket_event);

/* Reads `size` bytes of the kernel; 1 when they were read. Nothing is read by an absent constant. */
static __always_inline int take(void *to, __u32 size, __u64 from, __u32 offset)
{
	return offset != ABSENT && !read_kernel(to, size, (void *)(from + offset));
}

#define TAKE(event, bit, member, from, constant)                                              \
	do {                                                                                  \
		if (take(&(event)->member, sizeof((event)->member), from, VALUE(constant)))   \
			MARK(event, bit);                                                     \
	} while (0)

static __always_inline int is_served(void)
{
	__u32 comm[COMM_SIZE / 4] = {};

	if (VALUE(filter_comm_0) == ABSENT)
		return 1;
	return !bpf_get_current_comm(comm, sizeof(comm)) && comm[0] == VALUE(filter_comm_0) &&
	       comm[1] == VALUE(filter_comm_1) && comm[2] == VALUE(filter_comm_2) && comm[3] == VALUE(filter_comm_3);
}

static __always_inline void take_netns(struct socket_event *event, __u64 sock)
{
	__u64 net = 0;

	if (!take(&net, sizeof(net), sock, VALUE(offset_netns)))
		return;
	net = kernel_address(net, sock);
	if (net)
		TAKE(event, SOCKET_INO, ino, net, offset_ino);
}

static __always_inline int probe(void *context, __u64 sock, const int is_tcp)
{
	struct socket_event *event;
	__u16 family = 0;
	__u8 state = 0;

	if (!is_served() || !kernel_address(sock, sock))
		return 0;
	if (!take(&family, sizeof(family), sock, VALUE(offset_family)) || (family != AF_INET && family != AF_INET6))
		return 0;
	event = new_event();
	if (!event) {
		count_lost();
		return 0;
	}
	event->thread = bpf_get_current_pid_tgid();
	event->family = family;
	if (family == AF_INET) {
		if (take(event->saddr, 4, sock, VALUE(offset_saddr)))
			MARK(event, SOCKET_SADDR);
		if (take(event->daddr, 4, sock, VALUE(offset_daddr)))
			MARK(event, SOCKET_DADDR);
	} else {
		TAKE(event, SOCKET_SADDR, saddr, sock, offset_saddr_ipv6);
		TAKE(event, SOCKET_DADDR, daddr, sock, offset_daddr_ipv6);
	}
	TAKE(event, SOCKET_SPORT, sport, sock, offset_sport);
	TAKE(event, SOCKET_DPORT, dport, sock, offset_dport);
	TAKE(event, SOCKET_NUM, num, sock, offset_num);
	if (take(&state, sizeof(state), sock, VALUE(offset_state))) {
		event->state = state;
		MARK(event, SOCKET_STATE);
	}
	take_netns(event, sock);
	if (is_tcp) {
		TAKE(event, SOCKET_RTT, rtt, sock, offset_rtt);
		TAKE(event, SOCKET_RTT_VAR, rtt_var, sock, offset_rtt_var);
	}
	send_event(context, event);
	return 0;
}

/* int tcp_getsockopt(struct sock *sk, ...) */
SEC("kprobe/tcp_getsockopt")
int kprobe_tcp_getsockopt(struct registers *regs)
{
	return probe(regs, ARGUMENT_0(regs), 1);
}

/* tcp_rcv_space_adjust(struct sock *sk), in each recv(2) of TCP that found something; Linux 4.18. */
SEC("raw_tp/tcp_rcv_space_adjust")
int raw_tp_tcp_rcv_space_adjust(struct bpf_raw_tracepoint_args *regs)
{
	return probe(regs, regs->args[0], 1);
}

/* inet_sock_set_state(const struct sock *sk, ...), which sockets of MPTCP, DCCP and SCTP pass too; Linux 4.16. */
SEC("raw_tp/inet_sock_set_state")
int raw_tp_inet_sock_set_state(struct bpf_raw_tracepoint_args *regs)
{
	return probe(regs, regs->args[0], 0);
}

/* sock_send_length(struct sock *sk, int ret, int flags), in each sendmsg(2) of any family; Linux 6.4. */
SEC("raw_tp/sock_send_length")
int raw_tp_sock_send_length(struct bpf_raw_tracepoint_args *regs)
{
	return probe(regs, regs->args[0], 0);
}

/* int udp_sendmsg(struct sock *sk, ...) */
SEC("kprobe/udp_sendmsg")
int kprobe_udp_sendmsg(struct registers *regs)
{
	return probe(regs, ARGUMENT_0(regs), 0);
}

/* int udpv6_sendmsg(struct sock *sk, ...) */
SEC("kprobe/udpv6_sendmsg")
int kprobe_udpv6_sendmsg(struct registers *regs)
{
	return probe(regs, ARGUMENT_0(regs), 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
