/** Of Bun 1.4.5's BoringSSL: seen in a debugger on live connections of a server and a client, and compared with their key log. */
export const bunLive = {
  SSL_ST_S3: 48,
  BSSL__SSL3_STATE_CLIENT_RANDOM: 48,
  BSSL__SSL3_STATE_HS: 280,
  BSSL__SSL_HANDSHAKE_NEW_SESSION: 2104,
  BSSL__SSL3_STATE_EXPORTER_SECRET: 386,
  SSL_SESSION_ST_CIPHER: 200,
  BIO_ST_METHOD: 8,
};
