// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* GnuTLS 3.6 to 3.8: the session embeds everything but entries of the library's tables. */
#include "tls.h"

CONSTANT(GNUTLS_SESSION_INT_SECURITY_PARAMETERS);
CONSTANT(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF);
CONSTANT(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_CLIENT_RANDOM);
CONSTANT(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_CKEY);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_SKEY);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_CKEY);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_SKEY);
CONSTANT(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_EXPKEY);
CONSTANT(SECURITY_PARAMETERS_ST_PVERSION);
CONSTANT(MAC_ENTRY_ST_ID);
CONSTANT(VERSION_ENTRY_ST_ID);

/* gnutls_protocol_t and gnutls_mac_algorithm_t of gnutls.h. */
#define GNUTLS_SSL3 1
#define GNUTLS_TLS1_3 5
#define GNUTLS_DTLS1_0 201
#define GNUTLS_DTLS1_2 202
#define GNUTLS_MAC_SHA256 6
#define GNUTLS_MAC_SHA384 7

/* A connection's version as it is on the wire. */
static __always_inline void take_version(struct tls_event *event, __u64 session)
{
	__u32 start = VALUE(GNUTLS_SESSION_INT_SECURITY_PARAMETERS);
	__u32 within = VALUE(SECURITY_PARAMETERS_ST_PVERSION);
	__u32 id = 0;

	if (start == ABSENT || within == ABSENT)
		return;
	if (!take(&id, sizeof(id), take_pointer(session, start + within), VALUE(VERSION_ENTRY_ST_ID)))
		return;
	if (id >= GNUTLS_SSL3 && id <= GNUTLS_TLS1_3)
		event->version = 0x0300 + id - GNUTLS_SSL3;
	else if (id == GNUTLS_DTLS1_0)
		event->version = 0xfeff;
	else if (id == GNUTLS_DTLS1_2)
		event->version = 0xfefd;
	else
		return;
	MARK(event, TLS_VERSION);
}

static __always_inline void take_hash(struct tls_event *event, __u64 session)
{
	__u64 mac = take_pointer(session, VALUE(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF));
	__u32 id = 0;

	if (!take(&id, sizeof(id), mac, VALUE(MAC_ENTRY_ST_ID)))
		return;
	if (id != GNUTLS_MAC_SHA256 && id != GNUTLS_MAC_SHA384)
		return;
	event->hash_size = id == GNUTLS_MAC_SHA256 ? 32 : 48;
	MARK(event, TLS_HASH_SIZE);
}

#define TAKE_SECRET(event, bit, member, name) \
	TAKE_BYTES(event, bit, member, SECRET_SIZE, session, VALUE(GNUTLS_SESSION_INT_KEY_PROTO_TLS13_##name))

static __always_inline int probe(void *context, __u64 session)
{
	struct tls_event *event =
		new_tls_event(session, session, VALUE(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_CLIENT_RANDOM));

	if (!event)
		return 0;
	take_version(event, session);
	if (!(event->present & TLS_VERSION))
		return finish(context, event);
	if (event->version != TLS1_3_VERSION) {
		TAKE_BYTES(event, TLS_MASTER_KEY, master_key, MASTER_KEY_SIZE, session,
			   VALUE(GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET));
		return finish(context, event);
	}
	/* Older protocols have other members in their place. */
	take_hash(event, session);
	TAKE_SECRET(event, TLS_CLIENT_EARLY_TRAFFIC_SECRET, client_early_traffic_secret, E_CKEY);
	TAKE_SECRET(event, TLS_CLIENT_HANDSHAKE_TRAFFIC_SECRET, client_handshake_traffic_secret, HS_CKEY);
	TAKE_SECRET(event, TLS_SERVER_HANDSHAKE_TRAFFIC_SECRET, server_handshake_traffic_secret, HS_SKEY);
	TAKE_SECRET(event, TLS_CLIENT_APP_TRAFFIC_SECRET, client_app_traffic_secret, AP_CKEY);
	TAKE_SECRET(event, TLS_SERVER_APP_TRAFFIC_SECRET, server_app_traffic_secret, AP_SKEY);
	/* Until the traffic secrets are there it is the early one. */
	if (event->present & TLS_SERVER_APP_TRAFFIC_SECRET)
		TAKE_SECRET(event, TLS_EXPORTER_MASTER_SECRET, exporter_master_secret, AP_EXPKEY);
	return finish(context, event);
}

PROBE(gnutls_handshake)
PROBE(gnutls_protocol_get_version)
PROBE(gnutls_record_send)
PROBE(gnutls_record_recv)
PROBE(gnutls_bye)
PROBE(gnutls_deinit)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
