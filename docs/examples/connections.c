// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * connections OBJECT BTF: prints each TCP connection over IPv4 as it is established, with libbpf.
 *
 *     offsetof bytecode edit connections.o -o baked.o
 *     offsetof btf -o kernel.btf
 *     cc -o connections connections.c -lbpf
 *     ./connections baked.o kernel.btf
 */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>

struct event {
	struct in_addr address;
	in_port_t port;
	unsigned short own_port;
};

static int print(void *context, void *data, size_t size)
{
	const struct event *event = data;
	char address[INET_ADDRSTRLEN];

	(void)context, (void)size;
	inet_ntop(AF_INET, &event->address, address, sizeof(address));
	printf("%s:%d from port %d\n", address, ntohs(event->port), event->own_port);
	return fflush(stdout);
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = argc == 3 ? argv[2] : NULL);
	struct bpf_object *object;
	struct ring_buffer *events;

	if (argc != 3)
		return fprintf(stderr, "usage: connections OBJECT BTF\n"), 2;
	object = bpf_object__open_file(argv[1], &options);
	if (!object || bpf_object__load(object) != 0 ||
	    !bpf_program__attach(bpf_object__find_program_by_name(object, "on_state")))
		return 1;
	events = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), print, NULL, NULL);
	if (!events)
		return 1;
	fprintf(stderr, "watching\n");
	for (;;) {
		int got = ring_buffer__poll(events, -1);

		if (got < 0 && got != -EINTR)
			return 1;
	}
}
