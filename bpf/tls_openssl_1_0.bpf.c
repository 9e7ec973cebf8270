// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* OpenSSL 1.0 and 1.1.0, without TLS 1.3. SSL_state is a function up to 1.0, SSL_in_before from 1.1.0 on. */
#define OF(member) SSL_ST_##member
#define S3_IS_POINTER
#include "tls_openssl.h"

static __always_inline int probe(void *context, __u64 ssl)
{
	return probe_connection(context, ssl, ssl);
}

PROBE(SSL_do_handshake)
PROBE(SSL_state)
PROBE(SSL_in_before)
PROBE(SSL_in_init)
PROBE(SSL_get_wbio)
PROBE(SSL_read)
PROBE(SSL_write)
PROBE(SSL_free)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
