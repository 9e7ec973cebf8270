#include "launcher.h"

/*
 * The first stage of a child that runs foreign code: @child isolate PARENT FILES USER MILLISECONDS JOB, as src/tls/child/child.ts
 * starts it. Namespaces and capabilities belong to single threads, and here is only one; so the runtime is started once, in
 * the second stage, all of whose threads are born outside of the machine's namespaces. Run by Bun from its sources the program has no
 * launcher: src/tls/child/stages.ts does the same there.
 */
enum { PROGRAM, CHILD, STAGE, PARENT, FILES, USER, MILLISECONDS, JOB, COUNT };

/* Numbers of the kernel's uapi headers, the same on x86-64 and arm64. */
enum {
	CLONE_NEWNS = 0x20000, CLONE_NEWUTS = 0x4000000, CLONE_NEWIPC = 0x8000000, CLONE_NEWPID = 0x20000000, CLONE_NEWNET = 0x40000000,
	SIGKILL = 9, PR_SET_PDEATHSIG = 1, PR_SET_DUMPABLE = 4, PR_SET_NO_NEW_PRIVS = 38, PR_CAP_AMBIENT = 47, PR_CAP_AMBIENT_CLEAR_ALL = 4,
	CAPABILITY_VERSION_3 = 0x20080522, CAP_SYS_ADMIN = 21,
};

/* struct __user_cap_data_struct, of capabilities 0 to 31 and 32 to 63. */
struct capabilities {
	uint32_t effective, permitted, inheritable;
} __attribute__((packed));

/* Nothing foreign runs: what the parent is told, see src/tls/child/outcome.ts. */
_Noreturn static void refuse_child(const char *reason)
{
	const char *volatile parts[] = { NULL, NULL, NULL };
	parts[0] = "{\"refused\":\"";
	parts[1] = reason;
	parts[2] = "\"}\n";
	for (int index = 0; index < 3; index++) call(NR_write, 1, (long)parts[index], length_of(parts[index]), 0, 0, 0);
	leave(0);
}

static void must(long result, const char *what)
{
	if (failed(result)) refuse_child(what);
}

/* The decimal number that a text is; -1 for any other text, or more than nine digits. */
static long number_of(const char *text)
{
	long number = 0, digits = 0;
	for (; *text >= '0' && *text <= '9'; text++, digits++) number = number * 10 + (*text - '0');
	return *text == 0 && digits > 0 && digits < 10 ? number : -1;
}

/* As /proc has it: inside a pid namespace only that knows the number. */
static int is_child_of(const char *parent)
{
	char status[1024];
	long fd = open_file("/proc/self/status");
	long length = failed(fd) ? 0 : call(NR_read, fd, (long)status, sizeof(status) - 1, 0, 0, 0);
	close_file(fd);
	status[failed(length) ? 0 : length] = 0;
	for (const char *at = status; *at; at++) {
		const char *value = behind(at, "\nPPid:\t");
		const char *rest = value == NULL ? NULL : behind(value, parent);
		if (value != NULL) return rest != NULL && *rest == '\n';
	}
	return 0;
}

/* Ends with the process that started this one, also where that is gone already. */
static void die_with(const char *parent)
{
	must(call(NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0), "prctl(PR_SET_PDEATHSIG) failed");
	if (!is_child_of(parent)) refuse_child("started by another process than it was told");
}

/* struct linux_dirent64: the length of an entry, and its name. */
enum { ENTRY_LENGTH = 16, ENTRY_NAME = 19 };

/* Of what whoever called this program left open, nothing is handed on. */
static void close_from(long end)
{
	char entries[1024];
	long folder = open_file("/proc/self/fd"), length;
	must(folder, "/proc/self/fd cannot be read");
	while ((length = call(NR_getdents64, folder, (long)entries, sizeof(entries), 0, 0, 0)) > 0)
		for (char *entry = entries; entry < entries + length; entry += *(uint16_t *)(entry + ENTRY_LENGTH)) {
			long fd = number_of(entry + ENTRY_NAME);
			if (fd >= end && fd != folder) close_file(fd);
		}
	close_file(folder);
	must(length, "/proc/self/fd cannot be read");
}

/* Both halves of the sets. */
static void get_capabilities(struct capabilities *sets)
{
	uint32_t header[] = { CAPABILITY_VERSION_3, 0 };
	must(call(NR_capget, (long)header, (long)sets, 0, 0, 0, 0), "capget failed");
}
static void set_capabilities(const struct capabilities *sets)
{
	uint32_t header[] = { CAPABILITY_VERSION_3, 0 };
	must(call(NR_capset, (long)header, (long)sets, 0, 0, 0, 0), "capset failed");
}

/* Each by itself: a kernel may be without one of them. */
static void leave_namespaces(void)
{
	call(NR_unshare, CLONE_NEWNET, 0, 0, 0, 0, 0);
	call(NR_unshare, CLONE_NEWNS, 0, 0, 0, 0, 0);
	call(NR_unshare, CLONE_NEWIPC, 0, 0, 0, 0, 0);
	call(NR_unshare, CLONE_NEWUTS, 0, 0, 0, 0, 0);
	call(NR_unshare, CLONE_NEWPID, 0, 0, 0, 0, 0); /* this is left by the second stage, its first process */
}

/* Ends with what the second stage ends with, or with 128 and the signal that ended it. */
_Noreturn static void end_with(long pid)
{
	int status = 0;
	long waited;
	while ((waited = call(NR_wait4, pid, (long)&status, 0, 0, 0, 0)) == -EINTR) continue;
	if (failed(waited)) leave(EXIT_FAILED);
	leave((status & 0x7f) == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f));
}

int isolate(void)
{
	/* The number of the first stage in /proc, which the second one is told. */
	static char own[16];
	char **arguments = process.arguments;
	for (int index = 0; index < COUNT; index++)
		if (arguments[index] == NULL) return 0;
	if (arguments[COUNT] != NULL || !same(arguments[CHILD], "@child") || !same(arguments[STAGE], "isolate")) return 0;
	long files = number_of(arguments[FILES]);
	int keeps = same(arguments[USER], "kept");
	if (files < 0 || number_of(arguments[PARENT]) < 0 || (!keeps && !same(arguments[USER], "own"))) return 0;

	die_with(arguments[PARENT]);
	close_from(3 + files);
	long length = call(NR_readlinkat, AT_FDCWD, (long)"/proc/self", (long)own, sizeof(own) - 1, 0, 0);
	must(length, "/proc/self cannot be read");
	struct capabilities sets[2];
	get_capabilities(sets);
	/* Where there is no privilege it is not tried, as some kernels log a refusal. */
	if (sets[0].effective >> CAP_SYS_ADMIN & 1) leave_namespaces();
	must(call(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS) failed");
	call(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); /* Linux before 4.3 has none */
	for (int half = 0; half < 2; half++) {
		sets[half].inheritable = 0;
		/* The next stage stays this user, and starts without what this one has. */
		if (keeps) sets[half].effective = sets[half].permitted = 0;
	}
	set_capabilities(sets);
	must(call(NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE) failed");

	long pid = call(NR_clone, SIGCHLD, 0, 0, 0, 0, 0);
	must(pid, "no second process can be started (ulimit -u, pids.max of the cgroup, systemd's TasksMax)");
	if (pid > 0) end_with(pid);
	die_with(own);
	arguments[STAGE] = "work";
	arguments[PARENT] = own;
	return 1;
}
