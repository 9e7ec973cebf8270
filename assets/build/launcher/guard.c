#include "launcher.h"

/* What Bun's report of a crash begins with: a line of so many of these. */
#define RULE_LENGTH 60
#define RULE_CHARACTER '='

/* Enough for a thread's stack with all around it. */
#define A_LITTLE (64UL << 20)

/* The C library's functions: the dynamic linker enters them here, as assets/build/universal.ts has it do. */
__attribute__((section(".data"))) static long (*volatile system_write)(int fd, const char *bytes, size_t length);
__attribute__((section(".data"))) static int (*volatile system_vfprintf)(void *stream, const char *format, __builtin_va_list values);

static int is_crash(int fd, const char *bytes, size_t length)
{
	if (fd != 2 || length != RULE_LENGTH + 1 || bytes[RULE_LENGTH] != '\n') return 0;
	for (size_t index = 0; index < RULE_LENGTH; index++)
		if (bytes[index] != RULE_CHARACTER) return 0;
	return 1;
}

/* What Rust's runtime, parts of Bun are of it, says before it gives up for want of memory (alloc::handle_alloc_error). */
static const char no_memory[] = "memory allocation of ";

static int is_out_of_memory(int fd, const char *bytes, size_t length)
{
	if (fd != 2 || length < sizeof no_memory - 1) return 0;
	for (size_t index = 0; index < sizeof no_memory - 1; index++)
		if (bytes[index] != no_memory[index]) return 0;
	return 1;
}

/* Whether another task may be started. A process counts as a thread does, and leaves nothing behind. */
static int has_task(void)
{
	long pid = call(NR_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (pid == 0) leave(0);
	if (failed(pid)) return pid != -EAGAIN;
	call(NR_wait4, pid, 0, 0, 0, 0, 0);
	return 1;
}

/* Several threads may find at once that memory has run out: the first one speaks, and ends the process. */
static void await_turn(void)
{
	static uint32_t is_told;
	if (__atomic_exchange_n(&is_told, 1, __ATOMIC_SEQ_CST) == 0) return;
	uint64_t second[] = { 1, 0 };
	call(NR_nanosleep, (long)second, 0, 0, 0, 0, 0);
	leave(EXIT_FAILED);
}

/* By what is missing now. */
_Noreturn static void tell_crash(int is_short)
{
	await_turn();
	if (is_short || !has_memory(A_LITTLE))
		turn_away("E_NO_MEMORY", "memory ran out (ulimit -v, systemd's LimitAS, vm.overcommit_memory=2): allow 1 GB");
	if (!has_task())
		turn_away("E_NO_TASK", "no thread can be started (ulimit -u, pids.max of the cgroup, systemd's TasksMax): allow 32 more");
	refuse(EXIT_FAILED, "E_CRASHED", "the runtime crashed; this is a defect: report the command and what this machine is");
}

/*
 * Stands in for write(2) in Bun. Its report of a crash shows the arguments, asks people to report it to Bun's makers, and
 * has a link with it all: what has happened is said in our own words.
 */
static long guarded_write(int fd, const char *bytes, size_t length)
{
	int is_short = is_out_of_memory(fd, bytes, length);
	if (!is_short && !is_crash(fd, bytes, length)) return system_write(fd, bytes, length);
	tell_crash(is_short);
}

/* What JavaScriptCore says before it crashes on purpose (WTFReportAssertionFailure), and where that is for want of memory. */
static const char assertion[] = "ASSERTION FAILED: ";
static const char exhausted[] = "ASSERTION FAILED: MemoryExhaustion";

/* Stands in for vfprintf(3) in Bun, by which an assertion that failed is told before the report. */
static int guarded_vfprintf(void *stream, const char *format, __builtin_va_list values)
{
	if (behind(format, assertion) == NULL) return system_vfprintf(stream, format, values);
	tell_crash(behind(format, exhausted) != NULL);
}

__attribute__((section(".config"))) const volatile struct config config = {
	.guarded_write = (uint64_t)guarded_write,
	.system_write = (uint64_t)&system_write,
	.guarded_vfprintf = (uint64_t)guarded_vfprintf,
	.system_vfprintf = (uint64_t)&system_vfprintf,
	.watch = (uint64_t)watch,
};
