/*
 * Hands what is sent over a connection to the socket at its other end, past the network, as service meshes do: of all
 * connections of a cgroup whose both ends are here.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* One end of a connection, in the machine's byte order. */
struct ports {
	__u32 own;
	__u32 peer;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 4096);
	__type(key, struct ports);
	__type(value, __u32);
} sockets SEC(".maps");

/* How many messages went from socket to socket. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} redirected SEC(".maps");

SEC("sockops")
int established(struct bpf_sock_ops *ops)
{
	struct ports ports = { .own = ops->local_port, .peer = __builtin_bswap32(ops->remote_port) };

	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_sock_hash_update(ops, &sockets, &ports, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int redirect(struct sk_msg_md *msg)
{
	struct ports ports = { .own = __builtin_bswap32(msg->remote_port), .peer = msg->local_port };
	__u32 zero = 0;
	__u32 *count = bpf_map_lookup_elem(&redirected, &zero);

	if (bpf_msg_redirect_hash(msg, &sockets, &ports, BPF_F_INGRESS) == SK_PASS && count)
		__sync_fetch_and_add(count, 1);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
