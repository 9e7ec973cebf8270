/** Bytes of the random of a ClientHello or ServerHello: SSL3_RANDOM_SIZE of ssl3.h. */
export const randomSize = 32;

/**
 * Labels of the key log (the SSLKEYLOGFILE format), as libraries hand them to ssl_log_secret: ssl/handshake.cc and ssl/tls13_enc.cc
 * of BoringSSL, ssl/ssl_lib.c and ssl/tls13_enc.c of OpenSSL.
 */
export const keyLogLabels = [
  "CLIENT_RANDOM",
  "CLIENT_EARLY_TRAFFIC_SECRET",
  "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
  "SERVER_HANDSHAKE_TRAFFIC_SECRET",
  "CLIENT_TRAFFIC_SECRET_0",
  "SERVER_TRAFFIC_SECRET_0",
  "EXPORTER_SECRET",
] as const;
