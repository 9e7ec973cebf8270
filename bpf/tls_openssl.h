/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads a connection of OpenSSL. The object that includes this says of its versions: OF(member), the constant of a
 * member of the struct that holds the connection; S3_IS_POINTER where that does not embed s3; HAS_TLS1_3.
 */
#include "tls.h"

CONSTANT(OF(VERSION));
CONSTANT(OF(SESSION));
CONSTANT(OF(RBIO));
CONSTANT(OF(WBIO));
CONSTANT(OF(SERVER));
#ifdef S3_IS_POINTER
CONSTANT(OF(S3));
CONSTANT(SSL3_STATE_ST_CLIENT_RANDOM);
#else
CONSTANT(OF(S3_CLIENT_RANDOM));
#endif
#ifdef HAS_TLS1_3
CONSTANT(OF(EARLY_SECRET));
CONSTANT(OF(HANDSHAKE_SECRET));
CONSTANT(OF(HANDSHAKE_TRAFFIC_HASH));
CONSTANT(OF(CLIENT_APP_TRAFFIC_SECRET));
CONSTANT(OF(SERVER_APP_TRAFFIC_SECRET));
CONSTANT(OF(EXPORTER_MASTER_SECRET));
#endif
CONSTANT(SSL_SESSION_ST_MASTER_KEY);
CONSTANT(SSL_SESSION_ST_MASTER_KEY_LENGTH);
CONSTANT(SSL_SESSION_ST_CIPHER);
CONSTANT(SSL_SESSION_ST_CIPHER_ID);

#define TAKE_SECRET(event, member, name, connection) \
	TAKE_BYTES(event, TLS_##name, member, SECRET_SIZE, connection, VALUE(OF(name)))

static __always_inline struct tls_event *new_connection_event(__u64 ssl, __u64 connection)
{
#ifdef S3_IS_POINTER
	return new_tls_event(ssl, take_pointer(connection, VALUE(OF(S3))), VALUE(SSL3_STATE_ST_CLIENT_RANDOM));
#else
	return new_tls_event(ssl, connection, VALUE(OF(S3_CLIENT_RANDOM)));
#endif
}

/* `ssl` is what the program called the connection, `connection` the struct with its members. */
static __always_inline int probe_connection(void *context, __u64 ssl, __u64 connection)
{
	struct tls_event *event = new_connection_event(ssl, connection);
	__u64 session;

	if (!event)
		return 0;
	if (take(&event->version, sizeof(event->version), connection, VALUE(OF(VERSION))))
		MARK(event, TLS_VERSION);
	if (take(&event->server, sizeof(event->server), connection, VALUE(OF(SERVER))))
		MARK(event, TLS_SERVER);

	take_fd(event, take_pointer(connection, VALUE(OF(RBIO))));
	if (!(event->present & TLS_FD))
		take_fd(event, take_pointer(connection, VALUE(OF(WBIO))));

	session = take_pointer(connection, VALUE(OF(SESSION)));
	take_cipher(event, take_pointer(session, VALUE(SSL_SESSION_ST_CIPHER)));
	if (!event->cipher_id &&
	    take(&event->cipher_id, sizeof(event->cipher_id), session, VALUE(SSL_SESSION_ST_CIPHER_ID)) &&
	    event->cipher_id)
		MARK(event, TLS_CIPHER_ID);

	/* Where it is not known which version it is, neither is what the secrets are. */
	if (!(event->present & TLS_VERSION))
		return finish(context, event);
	if (event->version != TLS1_3_VERSION) {
		TAKE_BYTES(event, TLS_MASTER_KEY, master_key, MASTER_KEY_SIZE, session, VALUE(SSL_SESSION_ST_MASTER_KEY));
		if (take(&event->master_key_length, sizeof(event->master_key_length), session,
			 VALUE(SSL_SESSION_ST_MASTER_KEY_LENGTH)))
			MARK(event, TLS_MASTER_KEY_LENGTH);
		return finish(context, event);
	}
#ifdef HAS_TLS1_3
	TAKE_SECRET(event, early_secret, EARLY_SECRET, connection);
	TAKE_SECRET(event, handshake_secret, HANDSHAKE_SECRET, connection);
	TAKE_SECRET(event, handshake_traffic_hash, HANDSHAKE_TRAFFIC_HASH, connection);
	TAKE_SECRET(event, client_app_traffic_secret, CLIENT_APP_TRAFFIC_SECRET, connection);
	TAKE_SECRET(event, server_app_traffic_secret, SERVER_APP_TRAFFIC_SECRET, connection);
	TAKE_SECRET(event, exporter_master_secret, EXPORTER_MASTER_SECRET, connection);
#endif
	return finish(context, event);
}
