// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* BoringSSL, as Android 13 to 16 ship it and as it has become since. */
#include "tls.h"

CONSTANT(SSL_ST_VERSION);
CONSTANT(SSL_ST_RBIO);
CONSTANT(SSL_ST_WBIO);
CONSTANT(SSL_ST_S3);
CONSTANT(SSL_SESSION_ST_SECRET_LENGTH);
CONSTANT(SSL_SESSION_ST_SECRET);
CONSTANT(SSL_SESSION_ST_CIPHER);
CONSTANT(SSL_CIPHER_ST_PROTOCOL_ID);
CONSTANT(BSSL__SSL3_STATE_HS);
CONSTANT(BSSL__SSL3_STATE_VERSION);
CONSTANT(BSSL__SSL3_STATE_CLIENT_RANDOM);
CONSTANT(BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0);
CONSTANT(BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0);
CONSTANT(BSSL__SSL3_STATE_EXPORTER_SECRET);
CONSTANT(BSSL__SSL3_STATE_ESTABLISHED_SESSION);
CONSTANT(BSSL__SSL_HANDSHAKE_NEW_SESSION);

#define BORINGSSL_SECRET_SIZE 48 /* SSL_MAX_MD_SIZE */

/* Up to Android 15 the version is ssl_st's, later SSL3_STATE's. */
static __always_inline void take_version(struct tls_event *event, __u64 ssl, __u64 s3)
{
	__u16 version = 0;

	if (!take(&version, sizeof(version), ssl, VALUE(SSL_ST_VERSION)) &&
	    !take(&version, sizeof(version), s3, VALUE(BSSL__SSL3_STATE_VERSION)))
		return;
	if (!version)
		return;
	event->version = version;
	MARK(event, TLS_VERSION);
}

/* Since 2025-11 a cipher has IANA's number alone, which SSL_CIPHER_get_id puts into the low half of an id. */
static __always_inline void take_protocol_id(struct tls_event *event, __u64 cipher)
{
	__u16 number = 0;

	if (event->present & TLS_CIPHER_ID)
		return;
	if (!take(&number, sizeof(number), cipher, VALUE(SSL_CIPHER_ST_PROTOCOL_ID)) || !number)
		return;
	event->cipher_id = 0x03000000 | number;
	MARK(event, TLS_CIPHER_ID);
}

static __always_inline int probe(void *context, __u64 ssl)
{
	__u64 s3 = take_pointer(ssl, VALUE(SSL_ST_S3));
	struct tls_event *event = new_tls_event(ssl, s3, VALUE(BSSL__SSL3_STATE_CLIENT_RANDOM));
	__u64 session, cipher, handshake = 0;
	__u8 length = 0;
	int is_over;

	if (!event)
		return 0;
	take_version(event, ssl, s3);
	take_fd(event, take_pointer(ssl, VALUE(SSL_ST_RBIO)));
	if (!(event->present & TLS_FD))
		take_fd(event, take_pointer(ssl, VALUE(SSL_ST_WBIO)));

	/* The handshake's state is freed when it is over. */
	is_over = take(&handshake, sizeof(handshake), s3, VALUE(BSSL__SSL3_STATE_HS)) && !handshake;
	session = take_pointer(s3, VALUE(BSSL__SSL3_STATE_ESTABLISHED_SESSION));
	if (!session)
		session = take_pointer(handshake, VALUE(BSSL__SSL_HANDSHAKE_NEW_SESSION));
	cipher = take_pointer(session, VALUE(SSL_SESSION_ST_CIPHER));
	take_cipher(event, cipher);
	take_protocol_id(event, cipher);

	if (!(event->present & TLS_VERSION))
		return finish(context, event);
	if (event->version != TLS1_3_VERSION) {
		TAKE_BYTES(event, TLS_MASTER_KEY, master_key, MASTER_KEY_SIZE, session, VALUE(SSL_SESSION_ST_SECRET));
		/* An int up to Android 13; its first byte is enough. */
		if (take(&length, sizeof(length), session, VALUE(SSL_SESSION_ST_SECRET_LENGTH))) {
			event->master_key_length = length;
			MARK(event, TLS_MASTER_KEY_LENGTH);
		}
		return finish(context, event);
	}
	/* Before that the traffic secrets may be the handshake's own. */
	if (!is_over)
		return finish(context, event);
	TAKE_BYTES(event, TLS_CLIENT_APP_TRAFFIC_SECRET | TLS_BY_DIRECTION, client_app_traffic_secret,
		   BORINGSSL_SECRET_SIZE, s3, VALUE(BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0));
	TAKE_BYTES(event, TLS_SERVER_APP_TRAFFIC_SECRET | TLS_BY_DIRECTION, server_app_traffic_secret,
		   BORINGSSL_SECRET_SIZE, s3, VALUE(BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0));
	TAKE_BYTES(event, TLS_EXPORTER_MASTER_SECRET, exporter_master_secret, BORINGSSL_SECRET_SIZE, s3,
		   VALUE(BSSL__SSL3_STATE_EXPORTER_SECRET));
	return finish(context, event);
}

PROBE(SSL_do_handshake)
PROBE(SSL_in_init)
PROBE(SSL_get_wbio)
PROBE(SSL_read)
PROBE(SSL_write)
PROBE(SSL_free)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
