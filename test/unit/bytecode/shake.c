/*
 * shake LIBSSL CERT KEY VERSION KEYLOG TIMES: TLS sessions with itself over socket pairs, all with the same two SSL objects;
 * prints the two descriptors of each.
 */
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

/* A function of BoringSSL, and a macro of OpenSSL. */
static int limit(void *made, const char *name, int command, unsigned short version)
{
	int (*set)(void *, unsigned short) = dlsym(library, name);

	return set ? set(made, version)
		   : CALL(long (*)(void *, int, long, void *), "SSL_CTX_ctrl")(made, command, version, 0) == 1;
}

static void *context(char **argv, unsigned short version)
{
	void *method = CALL(void *(*)(void), "TLS_method")();
	void *made = CALL(void *(*)(void *), "SSL_CTX_new")(method);
	int good = CALL(int (*)(void *, const char *, int), "SSL_CTX_use_certificate_file")(made, argv[2], PEM) == 1 &&
		   CALL(int (*)(void *, const char *, int), "SSL_CTX_use_PrivateKey_file")(made, argv[3], PEM) == 1 &&
		   limit(made, "SSL_CTX_set_min_proto_version", 123, version) &&
		   limit(made, "SSL_CTX_set_max_proto_version", 124, version);

	if (!good)
		exit(2);
	CALL(void (*)(void *, void *), "SSL_CTX_set_keylog_callback")(made, on_line);
	return made;
}

static void *ssl[2];

static int session(void)
{
	int fds[2], done[2] = {};
	char byte;

	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	for (int side = 0; side < 2; side++) {
		fcntl(fds[side], F_SETFL, O_NONBLOCK);
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
	return done[0] && done[1] && said == 1 && heard == 1;
}

int main(int argc, char **argv)
{
	if (argc != 7 || !(library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL))) {
		fprintf(stderr, "%s\n", argc == 7 ? dlerror() : "usage");
		return 1;
	}
	log_file = fopen(argv[5], "w");
	void *made = context(argv, strtol(argv[4], 0, 16));
	for (int side = 0; side < 2; side++)
		ssl[side] = CALL(void *(*)(void *), "SSL_new")(made);
	for (int time = 0; time < atoi(argv[6]); time++) {
		if (time > 0)
			for (int side = 0; side < 2; side++)
				CALL(int (*)(void *), "SSL_clear")(ssl[side]);
		if (!session())
			return 3;
	}
	for (int side = 0; side < 2; side++)
		CALL(void (*)(void *), "SSL_free")(ssl[side]);
	return 0;
}
