/* A TLS client that keeps OpenSSL inside. With ASKS_VERSION the date text of the release comes along. */
#include <openssl/ssl.h>
#include <stdio.h>

int main(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_method());
  SSL *ssl = SSL_new(context);
#ifdef ASKS_VERSION
  puts(OpenSSL_version(OPENSSL_VERSION));
#endif
  return SSL_connect(ssl) > 0 && SSL_write(ssl, "x", 1) > 0;
}
