// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* OpenSSL 3.2 and later: an SSL is one of several types, and one of QUIC leads to the connection that makes its keys. */
#define OF(member) SSL_CONNECTION_ST_##member
#define HAS_TLS1_3
#include "tls_openssl.h"

CONSTANT(SSL_ST_TYPE);
CONSTANT(QUIC_CONN_ST_TLS);

/* ssl_local.h. The type of a QUIC connection is 1 up to 3.4; that of a QUIC stream is another one. */
#define SSL_TYPE_SSL_CONNECTION 0
#define SSL_TYPE_QUIC_CONNECTION_3_2 1
#define SSL_TYPE_QUIC_CONNECTION 0x80

/* The struct with the connection's members; 0 where `ssl` has none that may be read. */
static __always_inline __u64 connection_of(__u64 ssl)
{
	__u32 type = 0;

	if (!take(&type, sizeof(type), ssl, VALUE(SSL_ST_TYPE)))
		return 0;
	if (type == SSL_TYPE_SSL_CONNECTION)
		return ssl;
	if (type != SSL_TYPE_QUIC_CONNECTION && type != SSL_TYPE_QUIC_CONNECTION_3_2)
		return 0;
	ssl = take_pointer(ssl, VALUE(QUIC_CONN_ST_TLS));
	if (!take(&type, sizeof(type), ssl, VALUE(SSL_ST_TYPE)) || type != SSL_TYPE_SSL_CONNECTION)
		return 0;
	return ssl;
}

static __always_inline int probe(void *context, __u64 ssl)
{
	__u64 connection = connection_of(ssl);

	return connection ? probe_connection(context, ssl, connection) : 0;
}

PROBE(SSL_do_handshake)
PROBE(SSL_in_before)
PROBE(SSL_in_init)
PROBE(SSL_get_wbio)
PROBE(SSL_read)
PROBE(SSL_write)
PROBE(SSL_read_ex)
PROBE(SSL_write_ex)
PROBE(SSL_free)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
