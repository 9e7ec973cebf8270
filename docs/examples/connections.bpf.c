// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tells of each TCP connection over IPv4 that is established. Members of struct sock are read in both ways there are: by constants that
 * are written into the object (offsetof bytecode edit, or a loader's rewriting of constants), and by CO-RE, which a kernel without BTF
 * needs the BTF for that offsetof btf makes.
 *
 *     clang -target bpf -O2 -g -c connections.bpf.c -o connections.o
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define TCP_ESTABLISHED 1
#define AF_INET 2

/* Names of offsetof's constants. */
const volatile __u32 offset_family, offset_daddr, offset_dport;

/* CO-RE: only what is read. */
struct sock_common {
	__u16 skc_num;
} __attribute__((preserve_access_index));

struct event {
	__u32 address; /* as on the wire */
	__u16 port;    /* as on the wire */
	__u16 own_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	const char *sk = (const char *)ctx->args[0];
	const struct sock_common *common = (const struct sock_common *)sk;
	struct event event = {};
	__u16 family = 0;

	if (ctx->args[2] != TCP_ESTABLISHED)
		return 0;
	bpf_probe_read_kernel(&family, sizeof(family), sk + offset_family);
	if (family != AF_INET)
		return 0;
	bpf_probe_read_kernel(&event.address, sizeof(event.address), sk + offset_daddr);
	bpf_probe_read_kernel(&event.port, sizeof(event.port), sk + offset_dport);
	bpf_probe_read_kernel(&event.own_port, sizeof(event.own_port),
			      __builtin_preserve_access_index(&common->skc_num));
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
