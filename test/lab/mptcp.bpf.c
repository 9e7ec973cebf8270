/* Makes each new TCP socket of the host one of MPTCP, as an administrator can who does not touch the programs; Linux 6.6. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_TYPE_MASK 0xf
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

/* int update_socket_protocol(int family, int type, int protocol), and behind them what it returns. */
SEC("fmod_ret/update_socket_protocol")
int mptcpify(unsigned long long *arguments)
{
	int family = arguments[0], type = arguments[1], protocol = arguments[2];

	if ((family == AF_INET || family == AF_INET6) && (type & SOCK_TYPE_MASK) == SOCK_STREAM &&
	    (!protocol || protocol == IPPROTO_TCP))
		return IPPROTO_MPTCP;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
