/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the objects for TLS libraries share. User space reads struct tls_event in src/bytecode/events.ts. */
#ifndef TLS_H
#define TLS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "constants.h"
#include "events.h"
#include "offsetof.h"

#define RANDOM_SIZE 32	   /* SSL3_RANDOM_SIZE */
#define MASTER_KEY_SIZE 48 /* SSL3_MASTER_SECRET_SIZE */
#define SECRET_SIZE 64	   /* EVP_MAX_MD_SIZE; as many bytes of it count as the cipher's hash has */
#define TLS1_3_VERSION 0x0304

/*
 * Which members of an event count. One whose bit is not set does not, whatever is in it: its constant is absent, or the
 * memory could not be read, or the connection has no such value (yet), which libraries keep as zeros.
 */
enum tls_present {
	TLS_FD = 1 << 0,
	TLS_VERSION = 1 << 1,
	TLS_SERVER = 1 << 2,
	TLS_CIPHER_ID = 1 << 3,
	TLS_CLIENT_RANDOM = 1 << 4,
	TLS_MASTER_KEY = 1 << 5,
	TLS_MASTER_KEY_LENGTH = 1 << 6,
	TLS_EARLY_SECRET = 1 << 7,
	TLS_HANDSHAKE_SECRET = 1 << 8,
	TLS_HANDSHAKE_TRAFFIC_HASH = 1 << 9,
	TLS_CLIENT_APP_TRAFFIC_SECRET = 1 << 10,
	TLS_SERVER_APP_TRAFFIC_SECRET = 1 << 11,
	TLS_EXPORTER_MASTER_SECRET = 1 << 12,
	/*
	 * BoringSSL keeps its traffic secrets by direction: the client's member holds the secret that this side reads by,
	 * the server's the one that it writes by. On a server that is what they are called, on a client the other way round.
	 */
	TLS_BY_DIRECTION = 1 << 13,
	/* Of GnuTLS alone, which keeps the handshake's traffic secrets, and of a cipher what its hash is. */
	TLS_HASH_SIZE = 1 << 14,
	TLS_CLIENT_EARLY_TRAFFIC_SECRET = 1 << 15,
	TLS_CLIENT_HANDSHAKE_TRAFFIC_SECRET = 1 << 16,
	TLS_SERVER_HANDSHAKE_TRAFFIC_SECRET = 1 << 17,
};

/*
 * One connection as it stands when one of the functions is called; of several events with one client random the last one
 * counts. Numbers are of the machine's byte order.
 */
struct tls_event {
	__u64 thread;		 /* tgid << 32 | tid, of the first pid namespace */
	__u64 ssl;		 /* address of the SSL object in the process */
	__u32 present;		 /* enum tls_present */
	__s32 fd;		 /* of the BIO that is read, or where that has none, of the one that is written */
	__u32 version;		 /* e.g. 0x0303, 0x0304 */
	__u32 server;		 /* 1: this side is the server */
	__u32 cipher_id;	 /* the low 16 bits are IANA's number */
	__u32 master_key_length; /* bytes of master_key */
	__u8 client_random[RANDOM_SIZE];
	__u8 master_key[MASTER_KEY_SIZE]; /* of TLS 1.2 and older alone */
	/* All below of TLS 1.3 alone, padded with zeros. */
	__u8 early_secret[SECRET_SIZE];
	__u8 handshake_secret[SECRET_SIZE];
	__u8 handshake_traffic_hash[SECRET_SIZE]; /* Transcript-Hash(ClientHello..ServerHello) */
	__u8 client_app_traffic_secret[SECRET_SIZE];
	__u8 server_app_traffic_secret[SECRET_SIZE];
	__u8 exporter_master_secret[SECRET_SIZE];
	__u32 hash_size; /* bytes of the cipher's hash */
	__u32 unused;
	__u8 client_early_traffic_secret[SECRET_SIZE];
	__u8 client_handshake_traffic_secret[SECRET_SIZE];
	__u8 server_handshake_traffic_secret[SECRET_SIZE];
};

DEFINE_EVENTS(struct tls_event);

/* The last event of each connection, so that the next one is sent only when it tells more, or another thing. */
struct connection {
	__u64 process; /* tgid */
	__u64 ssl;
};
struct state {
	__u64 random; /* the first bytes of the client's: another one is another connection at the same address */
	__u64 master_key; /* the first bytes: a client that offers a session has its key until the server declines */
	__u32 present;
	__u32 version;
	__u32 cipher_id; /* likewise */
	__u32 unused;
	/*
	 * Of TLS 1.3, the first bytes: SSL_clear makes an SSL object ready for another connection, and leaves the secrets of
	 * the last one in it. They are stale until they change.
	 */
	__u64 handshake_secret;
	__u64 client_app_traffic_secret;
	__u64 stale_handshake_secret;
	__u64 stale_client_app_traffic_secret;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection);
	__type(value, struct state);
} seen SEC(".maps");

#ifdef OFFSETOF_OLD_KERNEL
/*
 * bpf_probe_read reads the kernel's memory as well as the process's, and warns of addresses that are neither's: what the
 * process holds must not lead it there. 1 for addresses of the process. A tag in arm64's top byte is no part of them.
 */
static __always_inline int is_user_address(__u64 address)
{
#if defined(__TARGET_ARCH_arm64)
	return ((address << 8) >> 56) == 0; /* bit 55 chooses the kernel's half */
#else
	return (address >> 47) == 0;
#endif
}
#endif

/* Reads `size` bytes of the process; 1 when they were read. Nothing is read by an absent constant. */
static __always_inline int take(void *to, __u32 size, __u64 from, __u32 offset)
{
	if (!from || offset == ABSENT)
		return 0;
#ifdef OFFSETOF_OLD_KERNEL
	return is_user_address(from) && is_user_address(from + offset) && !bpf_probe_read(to, size, (void *)(from + offset));
#else
	return !bpf_probe_read_user(to, size, (void *)(from + offset));
#endif
}

static __always_inline __u64 take_pointer(__u64 from, __u32 offset)
{
	__u64 pointer = 0;

	return take(&pointer, sizeof(pointer), from, offset) ? pointer : 0;
}

/* The event's members of many bytes lie 8-aligned; those that count have at least 32. */
static __always_inline int is_zero(const __u8 *bytes)
{
	const __u64 *words = (const __u64 *)bytes;

	return !(words[0] | words[1] | words[2] | words[3]);
}

/* Takes bytes that are not there before they are known, and are not all zero then. */
#define TAKE_BYTES(event, bit, member, size, from, offset)                        \
	do {                                                                      \
		if (take((event)->member, size, from, offset) && !is_zero((event)->member)) \
			MARK(event, bit);                                         \
	} while (0)

CONSTANT(BIO_ST_NUM);
CONSTANT(BIO_ST_METHOD);
CONSTANT(BIO_METHOD_ST_TYPE);
CONSTANT(SSL_CIPHER_ST_ID);

/* Kinds of BIO whose `num` is a descriptor that carries the connection (bio.h). */
static __always_inline int has_fd(__u32 type)
{
	return type == 0x0504 || /* BIO_TYPE_FD */
	       type == 0x0505 || /* BIO_TYPE_SOCKET */
	       type == 0x050c || /* BIO_TYPE_CONNECT */
	       type == 0x0515 || /* BIO_TYPE_DGRAM */
	       type == 0x0518;	 /* BIO_TYPE_DGRAM_SCTP */
}

static __always_inline void take_fd(struct tls_event *event, __u64 bio)
{
	__u64 method = take_pointer(bio, VALUE(BIO_ST_METHOD));
	__u32 type = 0;
	__s32 fd = -1;

	if (!take(&type, sizeof(type), method, VALUE(BIO_METHOD_ST_TYPE)) || !has_fd(type))
		return;
	if (!take(&fd, sizeof(fd), bio, VALUE(BIO_ST_NUM)) || fd < 0)
		return;
	event->fd = fd;
	MARK(event, TLS_FD);
}

static __always_inline void take_cipher(struct tls_event *event, __u64 cipher)
{
	if (take(&event->cipher_id, sizeof(event->cipher_id), cipher, VALUE(SSL_CIPHER_ST_ID)) && event->cipher_id)
		MARK(event, TLS_CIPHER_ID);
}

/* Bits of secrets that come with, or before, the handshake secret, and before the client's traffic secret. */
#define HANDSHAKE_BITS (TLS_HANDSHAKE_SECRET | TLS_HANDSHAKE_TRAFFIC_HASH)
#define TRAFFIC_BITS (TLS_CLIENT_APP_TRAFFIC_SECRET | TLS_SERVER_APP_TRAFFIC_SECRET | TLS_EXPORTER_MASTER_SECRET)

/* Leaves out what is another connection's. */
static __always_inline void drop_stale(struct tls_event *event, struct state *state, const struct state *before)
{
	if (!before)
		return;
	if (before->random != state->random) {
		state->stale_handshake_secret = before->handshake_secret;
		state->stale_client_app_traffic_secret = before->client_app_traffic_secret;
	} else {
		state->stale_handshake_secret = before->stale_handshake_secret;
		state->stale_client_app_traffic_secret = before->stale_client_app_traffic_secret;
	}
	if (state->handshake_secret && state->handshake_secret == state->stale_handshake_secret)
		event->present &= ~(HANDSHAKE_BITS | TRAFFIC_BITS);
	if (state->client_app_traffic_secret &&
	    state->client_app_traffic_secret == state->stale_client_app_traffic_secret)
		event->present &= ~TRAFFIC_BITS;
	state->present = event->present;
}

/* Sends the event if it tells more of its connection than the last one did, or another thing. */
static __always_inline int finish(void *context, struct tls_event *event)
{
	struct connection connection = { .process = event->thread >> 32, .ssl = event->ssl };
	struct state state = { .random = *(__u64 *)event->client_random,
			       .master_key = *(__u64 *)event->master_key,
			       .present = event->present,
			       .version = event->version,
			       .cipher_id = event->cipher_id,
			       .handshake_secret = *(__u64 *)event->handshake_secret,
			       .client_app_traffic_secret = *(__u64 *)event->client_app_traffic_secret };
	struct state *before = bpf_map_lookup_elem(&seen, &connection);

	drop_stale(event, &state, before);
	if (before && before->random == state.random && before->master_key == state.master_key &&
	    before->version == state.version && before->cipher_id == state.cipher_id &&
	    !(state.present & ~before->present))
		goto drop;
	bpf_map_update_elem(&seen, &connection, &state, BPF_ANY);
	send_event(context, event);
	return 0;
drop:
	drop_event(event);
	return 0;
}

/*
 * A program for a function of the library whose first argument is the SSL object. It is attached to the entry, by path and
 * offset: the section has no path. It names the function all the same, because cilium/ebpf 0.9 wants a name.
 */
#define PROBE(function)                                              \
	SEC("uprobe/" #function)                                     \
	int uprobe_##function(struct registers *regs)                \
	{                                                            \
		return probe(regs, ARGUMENT_0(regs));                \
	}

/*
 * A new event of a connection whose client's random is there; none where it has none yet: the handshake has not begun, and without the
 * random no secret can be put to use.
 */
static __always_inline struct tls_event *new_tls_event(__u64 ssl, __u64 from, __u32 offset)
{
	__u64 random[RANDOM_SIZE / sizeof(__u64)];
	struct tls_event *event;

	if (!take(random, sizeof(random), from, offset) || is_zero((const __u8 *)random))
		return 0;
	event = new_event();
	if (!event) {
		count_lost();
		return 0;
	}
	event->thread = bpf_get_current_pid_tgid();
	event->ssl = ssl;
	__builtin_memcpy(event->client_random, random, sizeof(random));
	MARK(event, TLS_CLIENT_RANDOM);
	return event;
}

#endif
