/*
 * memory plain|sealed|held FILE...: copies every file into memory (memfd_create), maps it as code, says so and waits. `sealed`:
 * nobody can write to it any more. `held`: a process of user 1234 has it open too.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int keep(const char *path, int seal)
{
	struct stat file;
	int from = open(path, O_RDONLY);
	int fd = memfd_create("anything", MFD_ALLOW_SEALING);
	if (from < 0 || fd < 0 || fstat(from, &file) < 0)
		return -1;
	for (off_t done = 0; done < file.st_size;)
		if (sendfile(fd, from, &done, file.st_size - done) <= 0)
			return -1;
	if (seal && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return -1;
	close(from);
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : fd;
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (keep(argv[i], strcmp(argv[1], "sealed") == 0) < 0) {
			perror(argv[i]);
			return 1;
		}
	}
	if (strcmp(argv[1], "held") == 0 && fork() == 0) {
		if (setresgid(1234, 1234, 1234) < 0 || setresuid(1234, 1234, 1234) < 0)
			return 1;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	if (strcmp(argv[1], "held") != 0)
		puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
