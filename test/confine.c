/*
 * confine [-u UID] [-c CAP,CAP...] [-d] [-x] [-k VERSION] COMMAND...
 *
 * Runs a command with less than its caller may do. -u: as this user and group, without further groups. -c: with these
 * capabilities alone, by number. -d: with a seccomp filter that answers bpf(2) with EPERM, as container runtimes' do.
 * -x: without memory that can be written and executed, as systemd's MemoryDenyWriteExecute has it (Linux 6.3).
 * -k: with the system calls of Linux VERSION alone, of which there is a row in `kernels`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAST_CAPABILITY 63

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

static void check(long result, const char *call)
{
	if (result >= 0)
		return;
	perror(call);
	exit(125);
}

static void deny_bpf(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "PR_SET_SECCOMP");
}

#if defined(__x86_64__)
#define CALLS(x86_64, arm64) x86_64
#else
#define CALLS(x86_64, arm64) arm64
#endif

/* What came after a kernel: the first number of each kind that it does not know. */
static const struct kernel {
	const char *version;
	unsigned int call; /* asm/unistd_64.h, asm-generic/unistd.h */
	unsigned int bpf; /* enum bpf_cmd */
	unsigned int prctl;
	int advice; /* of madvise(2), the one that it does not know; -1: it knows MADV_FREE, of Linux 4.5 */
} kernels[] = {
	{ "3.10", CALLS(314, 274), 0, 41, MADV_FREE },
	{ "3.16", CALLS(317, 277), 0, 43, MADV_FREE },
	{ "4.4", CALLS(326, 285), 8, 48, MADV_FREE },
	{ "4.14", CALLS(333, 292), 16, 52, -1 },
	{ "4.17", CALLS(333, 292), 18, 54, -1 }, /* raw tracepoints are the last command of bpf(2) */
	{ "4.18", CALLS(335, 294), 21, 54, -1 },
};

#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define FIRST_ARGUMENT BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]))
#define THIRD_ARGUMENT BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]))
#define REFUSE(errno) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (errno))

/*
 * A filter sees numbers alone: how long a struct is, what the verifier accepts, and what uname(2) says stay those of the
 * kernel that runs. Root keeps what it may: CAP_SYS_ADMIN permits the filter, else no_new_privs does.
 */
static void age(const char *version, int less)
{
	const struct kernel *kernel = kernels;
	const struct kernel *end = kernels + sizeof(kernels) / sizeof(kernels[0]);

	while (kernel < end && strcmp(kernel->version, version) != 0)
		kernel++;
	if (kernel == end)
		exit(125);
	struct sock_filter filter[] = {
		NUMBER,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kernel->call, 0, 1),
		REFUSE(ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 3),
		FIRST_ARGUMENT,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kernel->bpf, 0, 1),
		REFUSE(EINVAL),
		NUMBER,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		FIRST_ARGUMENT,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kernel->prctl, 0, 1),
		REFUSE(EINVAL),
		NUMBER,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		THIRD_ARGUMENT,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kernel->advice, 0, 1),
		REFUSE(EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (less)
		check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "PR_SET_SECCOMP");
}

static void keep(unsigned long long capabilities, int uid)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	for (int each = 0; each <= LAST_CAPABILITY; each++)
		if (!(capabilities >> each & 1) && prctl(PR_CAPBSET_READ, each, 0, 0, 0) == 1)
			check(prctl(PR_CAPBSET_DROP, each, 0, 0, 0), "PR_CAPBSET_DROP");
	if (uid >= 0) {
		check(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "PR_SET_KEEPCAPS");
		check(setgroups(0, 0), "setgroups");
		check(setresgid(uid, uid, uid), "setresgid");
		check(setresuid(uid, uid, uid), "setresuid");
	}
	for (int word = 0; word < 2; word++)
		data[word].effective = data[word].permitted = data[word].inheritable = capabilities >> 32 * word;
	check(syscall(SYS_capset, &header, data), "capset");
	for (int each = 0; each <= LAST_CAPABILITY; each++)
		if (capabilities >> each & 1)
			check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, each, 0, 0), "PR_CAP_AMBIENT_RAISE");
}

int main(int argc, char **argv)
{
	unsigned long long capabilities = 0;
	int uid = -1, deny = 0, less = 0, executable = 1;
	const char *version = NULL;

	for (int option; (option = getopt(argc, argv, "+u:c:dxk:")) != -1;) {
		switch (option) {
		case 'u':
			uid = atoi(optarg);
			less = 1;
			break;
		case 'c':
			for (char *at = optarg; *at;) {
				capabilities |= 1ULL << strtoul(at, &at, 10);
				at += *at == ',';
			}
			less = 1;
			break;
		case 'd':
			deny = 1;
			break;
		case 'x':
			executable = 0;
			break;
		case 'k':
			version = optarg;
			break;
		default:
			return 125;
		}
	}
	if (less)
		keep(capabilities, uid);
	if (!executable)
		check(prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0), "PR_SET_MDWE");
	if (deny)
		deny_bpf();
	if (version != NULL)
		age(version, less);
	execvp(argv[optind], argv + optind);
	perror(argv[optind]);
	return 127;
}
