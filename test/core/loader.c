// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * loader LIBBPF OBJECT [BTF]: loads reader.bpf.o as any libbpf program does, with BTF as btf_custom_path, makes traffic
 * of its own and prints two lines of JSON: what the programs read, and what is true by getsockname, TCP_INFO and the
 * like. Another object is loaded and no more. Ends with 2 where the object does not load. Without kprobes or
 * the conntrack tool, nothing of nf_conn is in either line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libbpf.h"
#include "reader.h"

static void must(int is, const char *what)
{
	if (is)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void print_address6(const __u32 *address)
{
	char text[INET6_ADDRSTRLEN];

	printf("\"%s\"", inet_ntop(AF_INET6, address, text, sizeof(text)));
}

static void print_sock(const char *name, const struct seen_sock *s)
{
	printf("\"%s\":{\"family\":%d,\"dport\":%d,\"sport\":%d,\"num\":%d,\"in_state\":%d,\"srtt\":%u,\"mdev\":%u,", name,
	       s->family, ntohs(s->dport), ntohs(s->sport), s->num, s->in_state, s->srtt, s->mdev);
	printf("\"netns\":%u,\"points_back\":%u,\"same_family\":%u,", s->netns, s->points_back, s->same_family);
	if (s->family == AF_INET6) {
		printf("\"saddr\":");
		print_address6(s->saddr6);
		printf(",\"daddr\":");
		print_address6(s->daddr6);
	} else {
		printf("\"saddr\":%u,\"daddr\":%u", s->saddr, s->daddr);
	}
	printf("},");
}

static void print(const struct seen *s, int with_conn)
{
	printf("{");
	print_sock("tcp4", &s->tcp4);
	print_sock("tcp6", &s->tcp6);
	printf("\"skb\":[%u,%u,%u,%d,%d],", s->skb.saddr, s->skb.daddr, s->skb.starts_at_mac, ntohs(s->skb.sport),
	       s->skb.num);
	printf("\"fl4\":[%u,%u,%d,%d],", s->fl4.saddr, s->fl4.daddr, ntohs(s->fl4.sport), ntohs(s->fl4.dport));
	printf("\"fl6\":[");
	print_address6(s->fl6.saddr6);
	printf(",");
	print_address6(s->fl6.daddr6);
	printf(",%d,%d]", ntohs(s->fl6.sport), ntohs(s->fl6.dport));
	if (with_conn)
		printf(",\"ct\":[%llu,%u,%u,%u,%u,%d,%d,%d,%d,%d,%d]", s->ct.status & 6, s->ct.netns, s->ct.saddr,
		       s->ct.daddr, s->ct.reply_saddr, ntohs(s->ct.sport), ntohs(s->ct.dport), ntohs(s->ct.reply_dport),
		       s->ct.l3num, s->ct.protonum, s->ct.reply_dir);
	printf("}\n");
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address loopback(int family, __u8 last)
{
	union address a = {};

	a.any.sa_family = family;
	if (family == AF_INET)
		a.v4.sin_addr.s_addr = htonl(0x7f0a0b00 | last);
	else
		a.v6.sin6_addr = in6addr_loopback;
	return a;
}

static socklen_t length(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

static int bound(int type, union address *a)
{
	int fd = socket(a->any.sa_family, type, 0);
	socklen_t size = sizeof(*a);

	must(fd >= 0 && bind(fd, &a->any, length(a)) == 0, "bind");
	must(getsockname(fd, &a->any, &size) == 0, "getsockname");
	return fd;
}

/* A connection with a round-trip time of its own, closed on one side: inet_sock_set_state fires then. */
static void connection(int family, struct seen_sock *truth)
{
	union address server = loopback(family, 2), client = loopback(family, 1);
	int listener = bound(SOCK_STREAM, &server), fd = bound(SOCK_STREAM, &client), peer, echo;
	struct tcp_info before, after;
	socklen_t size = sizeof(before);
	char byte = 0;

	must(listen(listener, 1) == 0, "listen");
	must(connect(fd, &server.any, length(&server)) == 0, "connect");
	peer = accept(listener, 0, 0);
	must(peer >= 0, "accept");
	for (echo = 0; echo < 8; echo++) {
		must(write(fd, &byte, 1) == 1 && read(peer, &byte, 1) == 1, "send");
		usleep(3000);
		must(write(peer, &byte, 1) == 1 && read(fd, &byte, 1) == 1, "answer");
	}
	do {
		must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &size) == 0, "TCP_INFO");
		usleep(50000);
		must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &size) == 0, "TCP_INFO");
	} while (before.tcpi_rtt != after.tcpi_rtt || before.tcpi_rttvar != after.tcpi_rttvar);
	shutdown(fd, SHUT_WR);

	truth->family = family;
	truth->saddr = client.v4.sin_addr.s_addr;
	truth->daddr = server.v4.sin_addr.s_addr;
	memcpy(truth->saddr6, &client.v6.sin6_addr, 16);
	memcpy(truth->daddr6, &server.v6.sin6_addr, 16);
	truth->sport = client.v4.sin_port; /* where IPv6 has it too */
	truth->dport = server.v4.sin_port;
	truth->num = ntohs(client.v4.sin_port);
	truth->srtt = after.tcpi_rtt; /* srtt_us is eight of it, mdev_us four */
	truth->mdev = after.tcpi_rttvar;
	truth->points_back = truth->same_family = truth->in_state = 1;
	close(fd);
	close(peer);
	close(listener);
}

static union address datagram(int family, union address *to)
{
	union address from = loopback(family, 3);
	int fd = bound(SOCK_DGRAM, &from);

	must(sendto(fd, "x", 1, 0, &to->any, length(to)) == 1, "sendto");
	close(fd);
	return from;
}

int main(int argc, char **argv)
{
	struct open_opts opts = { .sz = sizeof(opts), .btf_custom_path = argc > 3 ? argv[3] : 0 };
	struct seen seen = {}, truth = {};
	union address to4 = loopback(AF_INET, 4), to6 = loopback(AF_INET6, 0), from;
	void *object, *program = 0;
	int map, with_conn = 1, receiver4, receiver6;
	__u32 zero = 0;
	struct stat ns;

	libbpf = argc < 3 ? 0 : dlopen(argv[1], RTLD_NOW);
	if (!libbpf) {
		fprintf(stderr, "loader LIBBPF OBJECT [BTF]: %s\n", dlerror());
		return 1;
	}
	object = CALL(void *, bpf_object__open_file, (const char *, void *), argv[2], &opts);
	must(object != 0, "bpf_object__open_file");
	if (CALL(int, bpf_object__load, (void *), object) != 0)
		return 2;
	if (CALL(int, bpf_object__find_map_fd_by_name, (void *, const char *), object, "seen") < 0) {
		CALL(void, bpf_object__close, (void *), object);
		return 0;
	}
	while ((program = CALL(void *, bpf_object__next_program, (void *, void *), object, program))) {
		void *link = CALL(void *, bpf_program__attach, (void *), program);
		const char *name = CALL(const char *, bpf_program__name, (void *), program);

		if (!link && strcmp(name, "read_nf_conn") == 0)
			with_conn = 0;
		else
			must(link != 0, name);
	}

	receiver4 = bound(SOCK_DGRAM, &to4);
	to6.v6.sin6_port = to4.v4.sin_port;
	receiver6 = bound(SOCK_DGRAM, &to6);
	seen.udp_port = to4.v4.sin_port;
	map = CALL(int, bpf_object__find_map_fd_by_name, (void *, const char *), object, "seen");
	/* As long as a name can be: behind a shorter one, bpf_get_current_comm of Linux 6.1 leaves what was there. */
	snprintf((char *)seen.comm, sizeof(seen.comm), "reader-%08d", getpid());
	must(prctl(PR_SET_NAME, seen.comm) == 0, "prctl");
	must(CALL(int, bpf_map_update_elem, (int, void *, void *, __u64), map, &zero, &seen, 0) == 0, "the map");

	must(stat("/proc/self/ns/net", &ns) == 0, "/proc/self/ns/net");
	connection(AF_INET, &truth.tcp4);
	connection(AF_INET6, &truth.tcp6);
	truth.tcp4.netns = truth.tcp6.netns = truth.ct.netns = ns.st_ino;
	from = datagram(AF_INET, &to4);
	truth.fl4 = (struct seen_flow){ .saddr = from.v4.sin_addr.s_addr,
					.daddr = to4.v4.sin_addr.s_addr,
					.sport = from.v4.sin_port,
					.dport = to4.v4.sin_port };
	truth.skb = (struct seen_packet){ .saddr = truth.fl4.saddr,
					  .daddr = truth.fl4.daddr,
					  .starts_at_mac = 1,
					  .sport = from.v4.sin_port,
					  .num = ntohs(from.v4.sin_port) };
	from = datagram(AF_INET6, &to6);
	truth.fl6.sport = from.v6.sin6_port;
	truth.fl6.dport = to6.v6.sin6_port;
	truth.fl6.saddr6[3] = truth.fl6.daddr6[3] = htonl(1);
	close(receiver4);
	close(receiver6);
	with_conn = with_conn && system("command -v conntrack >/dev/null") == 0;
	if (with_conn) {
		must(system("conntrack -I -p tcp -s 10.1.2.3 -d 10.4.5.6 -r 10.4.5.9 -q 10.1.2.3 --sport 1234 --dport 80"
			    " --reply-port-src 80 --reply-port-dst 4321 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 9 >&2") == 0,
		     "conntrack");
		truth.ct.status = 6; /* IPS_SEEN_REPLY, IPS_ASSURED */
		truth.ct.saddr = inet_addr("10.1.2.3");
		truth.ct.daddr = inet_addr("10.4.5.6");
		truth.ct.reply_saddr = inet_addr("10.4.5.9");
		truth.ct.sport = htons(1234);
		truth.ct.dport = htons(80);
		truth.ct.reply_dport = htons(4321);
		truth.ct.l3num = AF_INET;
		truth.ct.protonum = IPPROTO_TCP;
		truth.ct.reply_dir = 1; /* IP_CT_DIR_REPLY */
	}
	must(CALL(int, bpf_map_lookup_elem, (int, void *, void *), map, &zero, &seen) == 0, "the map");
	for (struct seen_sock *s = &seen.tcp4; s <= &seen.tcp6; s++) {
		s->srtt /= 8;
		s->mdev /= 4;
	}
	print(&seen, with_conn);
	print(&truth, with_conn);
	CALL(void, bpf_object__close, (void *), object);
	return 0;
}
