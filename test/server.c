// server DIR FILE...: mounts on DIR a file system of which this program is the server, as sshfs and the like are: the
// files, by their last names. After SIGUSR1 it still takes questions, and answers none, as a program whose network is gone.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t is_silent;
static int device;

static void on_signal(int signal) { is_silent = signal; }

static void answer(__u64 unique, int error, const void *body, size_t length) {
	static char message[1 << 20];
	struct fuse_out_header header = { sizeof header + length, -error, unique };
	memcpy(message, &header, sizeof header);
	if (length) memcpy(message + sizeof header, body, length);
	if (write(device, message, header.len) < 0) perror("write");
}

// Node 1 is the root, node 2 + N the Nth file.
static struct fuse_attr attributes(char **files, __u64 node) {
	struct stat file = { 0 };
	if (node > 1 && stat(files[node - 2], &file) < 0) perror("stat");
	return (struct fuse_attr){ .ino = node, .size = file.st_size, .mode = node > 1 ? S_IFREG | 0755 : S_IFDIR | 0755, .nlink = 1, .blksize = 4096 };
}

int main(int argc, char **argv) {
	char **files = argv + 2, options[100];
	int count = argc - 2;
	static char request[1 << 18], bytes[1 << 18];
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &action, NULL);
	device = open("/dev/fuse", O_RDWR);
	// As fusermount(1) mounts it for a user.
	const char *user = getenv("SERVER_USER");
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%s,group_id=0,allow_other", device, user ? user : "0");
	if (device < 0 || mount("server", argv[1], "fuse.server", 0, options) < 0) return perror(argv[1]), 1;
	for (;;) {
		ssize_t got = read(device, request, sizeof request);
		if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;
		if (got < 0) return 0; // unmounted
		struct fuse_in_header *in = (void *)request;
		void *body = request + sizeof *in;
		if (is_silent) continue;
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out init = { .major = 7, .minor = 31, .max_readahead = 65536, .max_background = 12, .congestion_threshold = 9, .max_write = 65536, .time_gran = 1 };
			answer(in->unique, 0, &init, sizeof init);
			puts("up");
			fflush(stdout);
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr = attributes(files, in->nodeid) };
			answer(in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_LOOKUP: {
			int at = 0;
			while (at < count && strcmp(strrchr(files[at], '/') + 1, body)) at++;
			struct fuse_entry_out out = { .nodeid = 2 + at };
			if (at < count) out.attr = attributes(files, 2 + at);
			answer(in->unique, at < count ? 0 : ENOENT, &out, at < count ? sizeof out : 0);
			break;
		}
		case FUSE_OPEN:
		case FUSE_OPENDIR: {
			struct fuse_open_out out = { .fh = in->nodeid };
			answer(in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_READ: {
			struct fuse_read_in *what = body;
			int file = open(files[in->nodeid - 2], O_RDONLY);
			ssize_t length = pread(file, bytes, what->size, what->offset);
			close(file);
			answer(in->unique, 0, bytes, length);
			break;
		}
		case FUSE_READDIR: {
			struct fuse_read_in *what = body;
			size_t length = 0;
			for (int at = what->offset; at < count; at++) {
				struct fuse_dirent *entry = (void *)(bytes + length);
				const char *name = strrchr(files[at], '/') + 1;
				*entry = (struct fuse_dirent){ .ino = 2 + at, .off = at + 1, .namelen = strlen(name), .type = DT_REG };
				memcpy(entry->name, name, entry->namelen);
				length += FUSE_DIRENT_SIZE(entry);
			}
			answer(in->unique, 0, bytes, length);
			break;
		}
		case FUSE_STATFS: {
			struct fuse_statfs_out out = { .st = { .bsize = 4096, .namelen = 255 } };
			answer(in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_RELEASE:
		case FUSE_RELEASEDIR:
		case FUSE_FLUSH:
			answer(in->unique, 0, NULL, 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(in->unique, ENOSYS, NULL, 0);
		}
	}
}
