/*
 * load LIBSSL CERT KEY KEYLOG SECONDS PAIRS PORT: that many pairs of a client and a server make TLS 1.3 handshakes over
 * loopback, one after the other, each a new session whose secrets the server's process appends to the key log. Prints how many
 * there were, and the servers' CPU time in microseconds.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PEM 1 /* SSL_FILETYPE_PEM */
#define MIN_PROTO 123 /* SSL_CTRL_SET_MIN_PROTO_VERSION */
#define SESS_CACHE 44 /* SSL_CTRL_SET_SESS_CACHE_MODE */
#define TLS1_3 0x0304

static void *library;
static int keys;

static void *find(const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "no %s\n", name);
		_exit(1);
	}
	return found;
}
#define CALL(name, ...) ((long (*)())find(#name))(__VA_ARGS__)
#define POINTER(name, ...) ((void *(*)())find(#name))(__VA_ARGS__)

/* One write(2) a line: processes that append do not mix them up. */
static void on_line(const void *ssl, const char *line)
{
	char text[400];
	int length = snprintf(text, sizeof(text), "%s\n", line);

	if (write(keys, text, length) != length)
		_exit(1);
}

static void *context(const char *method, char **argv, int is_server)
{
	void *made = POINTER(SSL_CTX_new, ((void *(*)(void))find(method))());

	CALL(SSL_CTX_ctrl, made, MIN_PROTO, (long)TLS1_3, (void *)0);
	CALL(SSL_CTX_ctrl, made, SESS_CACHE, 0L, (void *)0);
	CALL(SSL_CTX_set_num_tickets, made, (size_t)0);
	if (!is_server)
		return made;
	CALL(SSL_CTX_set_keylog_callback, made, on_line);
	if (CALL(SSL_CTX_use_certificate_file, made, argv[2], PEM) != 1 || CALL(SSL_CTX_use_PrivateKey_file, made, argv[3], PEM) != 1)
		_exit(1);
	return made;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void shake(void *made, int fd, const char *how)
{
	void *ssl = POINTER(SSL_new, made);
	char byte = 'x';
	int is_client = !strcmp(how, "SSL_connect");

	CALL(SSL_set_fd, ssl, fd);
	if (((int (*)(void *))find(how))(ssl) != 1)
		_exit(1);
	if (is_client)
		CALL(SSL_write, ssl, &byte, 1);
	else
		CALL(SSL_read, ssl, &byte, 1);
	CALL(SSL_free, ssl);
	close(fd);
}

static void serve(void *made, int listener, int report)
{
	long count = 0;

	for (;;) {
		int fd = accept(listener, 0, 0);
		int one = 1;
		char end;

		/* A connection without a byte is the end. */
		if (recv(fd, &end, 1, MSG_PEEK) != 1)
			break;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		shake(made, fd, "SSL_accept");
		count++;
	}
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	long row[2] = { count, (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
				       usage.ru_stime.tv_usec };
	_exit(write(report, row, sizeof(row)) != sizeof(row));
}

static int dial(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (void *)to, sizeof(*to))) {
		perror("connect");
		_exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	int report[2], pairs, status, failed = 0;
	long row[2], count = 0, cpu = 0;

	if (argc != 8 || !(library = dlopen(argv[1], RTLD_NOW)) || pipe(report))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	keys = open(argv[4], O_WRONLY | O_APPEND | O_CREAT, 0600);
	pairs = atoi(argv[6]);
	for (int pair = 0; pair < pairs; pair++) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[7]) + pair) };
		int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 16)) {
			perror("bind");
			return 1;
		}
		if (!fork())
			serve(context("TLS_server_method", argv, 1), listener, report[1]);
		close(listener);
		if (!fork()) {
			void *made = context("TLS_client_method", argv, 0);

			for (double end = now() + atof(argv[5]); now() < end;)
				shake(made, dial(&address), "SSL_connect");
			close(dial(&address));
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	for (int pair = 0; pair < pairs && read(report[0], row, sizeof(row)) == sizeof(row); pair++) {
		count += row[0];
		cpu += row[1];
	}
	printf("%ld %ld\n", count, cpu);
	return failed != 0;
}
