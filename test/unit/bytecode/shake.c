/* shake LIBSSL CERT KEY VERSION KEYLOG: one TLS session with itself over a socket pair; prints the two descriptors. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PEM 1 /* SSL_FILETYPE_PEM */

static FILE *log_file;
static void on_line(const void *ssl, const char *line)
{
	fprintf(log_file, "%s\n", line);
}

static void *library;
static void *find(const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		exit(1);
	}
	return found;
}
#define CALL(type, name) ((type)find(name))

static void *context(char **argv, unsigned short version)
{
	void *method = CALL(void *(*)(void), "TLS_method")();
	void *made = CALL(void *(*)(void *), "SSL_CTX_new")(method);
	int good = CALL(int (*)(void *, const char *, int), "SSL_CTX_use_certificate_file")(made, argv[2], PEM) == 1 &&
		   CALL(int (*)(void *, const char *, int), "SSL_CTX_use_PrivateKey_file")(made, argv[3], PEM) == 1 &&
		   CALL(int (*)(void *, unsigned short), "SSL_CTX_set_min_proto_version")(made, version) == 1 &&
		   CALL(int (*)(void *, unsigned short), "SSL_CTX_set_max_proto_version")(made, version) == 1;

	if (!good)
		exit(2);
	CALL(void (*)(void *, void *), "SSL_CTX_set_keylog_callback")(made, on_line);
	return made;
}

int main(int argc, char **argv)
{
	int fds[2], done[2] = {};
	void *ssl[2];
	char byte;

	if (argc != 6 || !(library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL))) {
		fprintf(stderr, "%s\n", argc == 6 ? dlerror() : "usage");
		return 1;
	}
	log_file = fopen(argv[5], "w");
	void *made = context(argv, strtol(argv[4], 0, 16));
	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	for (int side = 0; side < 2; side++) {
		fcntl(fds[side], F_SETFL, O_NONBLOCK);
		ssl[side] = CALL(void *(*)(void *), "SSL_new")(made);
		CALL(int (*)(void *, int), "SSL_set_fd")(ssl[side], fds[side]);
		CALL(void (*)(void *), side ? "SSL_set_accept_state" : "SSL_set_connect_state")(ssl[side]);
	}
	for (int round = 0; round < 20 && !(done[0] && done[1]); round++)
		for (int side = 0; side < 2; side++)
			done[side] = CALL(int (*)(void *), "SSL_do_handshake")(ssl[side]) == 1;
	int said = CALL(int (*)(void *, const void *, int), "SSL_write")(ssl[0], "a", 1);
	int heard = CALL(int (*)(void *, void *, int), "SSL_read")(ssl[1], &byte, 1);
	CALL(int (*)(void *, const void *, int), "SSL_write")(ssl[1], "b", 1);
	CALL(int (*)(void *, void *, int), "SSL_read")(ssl[0], &byte, 1);
	printf("%d %d\n", fds[0], fds[1]);
	for (int side = 0; side < 2; side++)
		CALL(void (*)(void *), "SSL_free")(ssl[side]);
	return done[0] && done[1] && said == 1 && heard == 1 ? 0 : 3;
}
