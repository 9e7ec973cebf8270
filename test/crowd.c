/*
 * crowd FOLDER COUNT LIBRARY: what a hostile user can put beside a run, without any privilege. In a user and a mount namespace
 * of its own COUNT processes map what looks like TLS libraries under hostile names, in hostile trees. FOLDER is the user's, and
 * has the device "fuse", which on most distributions everybody may open; LIBRARY looks like libssl, and does harm when it is
 * loaded. Says "ready" when all of them are there, and waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *folder, *library;
static int done;

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void put(const char *path, const char *text)
{
	int fd = check(open(path, O_WRONLY), path);
	check(write(fd, text, strlen(text)), path);
	close(fd);
}

/* The path of a name in FOLDER; three may be in use at once. */
static char *in(const char *format, int number)
{
	static char paths[3][4096];
	static int next;
	char *path = paths[next++ % 3], name[1000];
	snprintf(name, sizeof name, format, number);
	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static char *copy(const char *to)
{
	static char bytes[1 << 16];
	int from = check(open(library, O_RDONLY), library), fd = check(open(to, O_CREAT | O_TRUNC | O_RDWR, 0755), to);
	for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;) check(write(fd, bytes, got), to);
	close(from);
	close(fd);
	return (char *)to;
}

static void map(const char *path, int times)
{
	int fd = check(open(path, O_RDONLY), path);
	for (int i = 0; i < times; i++)
		if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED) break;
	close(fd);
}

/* A cache of glibc's 1.1 format: 1,000 names, each of which is a string of 8 MiB. */
static void make_cache(const char *path)
{
	enum { COUNT = 1000, STRING = 8 << 20 };
	int fd = check(open(path, O_CREAT | O_TRUNC | O_RDWR, 0644), path);
	uint32_t header[12] = { 0 }, entry[6] = { 0x0303 };
	memcpy(header, "glibc-ld.so.cache1.1", 20);
	header[5] = COUNT;
	header[6] = STRING;
	check(write(fd, header, sizeof header), path);
	for (int i = 0; i < COUNT; i++) {
		entry[1] = sizeof header + COUNT * sizeof entry + i;
		entry[2] = entry[1] + COUNT;
		check(write(fd, entry, sizeof entry), path);
	}
	char *text = malloc(STRING);
	memset(text, 'l', STRING);
	text[STRING - 1] = 0;
	check(write(fd, text, STRING), path);
	free(text);
	close(fd);
}

/* A file system whose server takes no question. */
static void mount_silent(const char *on)
{
	char options[100];
	int device = check(open(in("fuse", 0), O_RDWR), "fuse");
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	check(mount("silent", on, "fuse.silent", MS_NOSUID | MS_NODEV, options), on);
}

static void *idle(void *unused)
{
	for (;;) pause();
	return unused;
}

/* Linkers' folders of a tree that is this user's alone. */
static void make_tree(const char *tree)
{
	const char *folders[] = { "", "/etc", "/usr", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/local", "/usr/local/lib", "/proc", "/lib" };
	char path[4096];
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s%s", tree, folders[i]);
		mkdir(path, 0755);
	}
	snprintf(path, sizeof path, "%s/etc/ld.so.cache", tree);
	make_cache(path);
	snprintf(path, sizeof path, "%s/usr/lib/x86_64-linux-gnu/libssl.so.3", tree);
	copy(path);
	snprintf(path, sizeof path, "%s/usr/lib/x86_64-linux-gnu/libcrypto.so.3", tree);
	copy(path);
	snprintf(path, sizeof path, "%s/usr/lib/libssl.so.7", tree);
	mkfifo(path, 0666);
	snprintf(path, sizeof path, "%s/usr/lib/libssl.so.8", tree);
	symlink("/proc/self/fd/0", path);
	snprintf(path, sizeof path, "%s/usr/lib/libssl.so.9", tree);
	int fd = check(open(path, O_CREAT | O_RDWR, 0755), path);
	ftruncate(fd, 400L << 30);
	close(fd);
}

static void is_there(void)
{
	check(write(done, "", 1), "pipe");
}

static void act(int kind, int number)
{
	char *path;
	switch (kind) {
	case 0: /* long maps */
		map(library, number % 20 == 0 ? 60000 : 5000);
		break;
	case 1: { /* names */
		static const char *names[] = {
			"libssl.so.3\n7f0000000000-7f0000001000 r-xp 00000000 fe:00 1 %d",
			"libssl.so.3 (deleted)%d", "\xff\xfe\x80libssl.so.3%d", "libssl.so.3\\012%d", "\x1b]0;owned\x07libssl.so.3%d",
			"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n%d", "$(touch owned)`touch owned`%d.so",
		};
		for (size_t i = 0; i < sizeof names / sizeof *names; i++) map(copy(in(names[i], number)), 3);
		break;
	}
	case 2: /* deleted */
		path = copy(in("libssl.so.1.%d", number));
		map(path, 3);
		unlink(path);
		break;
	case 3: { /* in memory */
		int fd = check(memfd_create("libssl.so.3", 0), "memfd");
		char self[64];
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		map(copy(self), 2);
		break;
	}
	case 4: { /* huge and sparse */
		path = in("libssl.so.2.%d", number);
		int fd = check(open(path, O_CREAT | O_RDWR, 0755), path);
		ftruncate(fd, number % 20 < 10 ? 400L << 30 : 500L << 20);
		close(fd);
		map(path, 3);
		break;
	}
	case 5: /* a root of its own */
		path = in("tree%d", number);
		make_tree(path);
		check(chroot(path), path);
		map("/usr/lib/x86_64-linux-gnu/libssl.so.3", 2);
		map("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 2);
		break;
	case 6: /* a mount namespace of its own, where the machine's folders are others */
		check(unshare(CLONE_NEWNS), "unshare");
		path = in("tree%d", number);
		make_tree(path);
		copy(in("tree%d/lib.so", number));
		check(mount(in("tree%d/usr/lib", number), "/usr/lib", NULL, MS_BIND, NULL), "/usr/lib");
		check(mount(in("tree%d/etc", number), "/etc", NULL, MS_BIND, NULL), "/etc");
		map("/usr/lib/x86_64-linux-gnu/libssl.so.3", 2);
		mount_silent("/usr/local/lib");
		break;
	case 7: { /* threads */
		pthread_t thread;
		for (int i = 0; i < 50; i++) pthread_create(&thread, NULL, idle, NULL);
		map(library, 2);
		break;
	}
	case 8: /* processes that come and go */
		is_there();
		for (;;) {
			if (fork() == 0) {
				map(library, 20);
				usleep(rand() % 50000);
				_exit(0);
			}
			usleep(50000);
			while (waitpid(-1, NULL, WNOHANG) > 0);
		}
	case 9: { /* a file that shrinks and grows */
		path = copy(in("libssl.so.3.%d", number));
		map(path, 3);
		is_there();
		for (;;) {
			truncate(path, 100);
			usleep(50000);
			copy(path);
			usleep(50000);
		}
	}
	}
	is_there();
	for (;;) pause();
}

int main(int argc, char **argv)
{
	if (argc != 4) return 2;
	folder = argv[1];
	library = argv[3];
	int count = atoi(argv[2]), kinds = 10;
	uid_t uid = getuid();
	gid_t gid = getgid();
	char text[64];
	check(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID), "unshare");
	put("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "0 %d 1", uid);
	put("/proc/self/uid_map", text);
	snprintf(text, sizeof text, "0 %d 1", gid);
	put("/proc/self/gid_map", text);
	/* With the first process of the namespace all of them end. */
	pid_t first = check(fork(), "fork");
	if (first > 0) return waitpid(first, NULL, 0) < 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int ready[2];
	check(pipe(ready), "pipe");
	for (int i = 0; i < count; i++)
		if (check(fork(), "fork") == 0) {
			done = ready[1];
			act(i % kinds, i / kinds);
		}
	for (char byte; count > 0; count--)
		if (read(ready[0], &byte, 1) != 1) return 1;
	puts("ready");
	fflush(stdout);
	for (;;) pause();
}
