// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* OpenSSL 1.1.1. */
#define OF(member) SSL_ST_##member
#define S3_IS_POINTER
#define HAS_TLS1_3
#include "tls_openssl.h"

static __always_inline int probe(void *context, __u64 ssl)
{
	return probe_connection(context, ssl, ssl);
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
