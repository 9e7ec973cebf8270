#include "launcher.h"

/* Bun sets aside a gigabyte of addresses for compiled code, and takes what else it finds. */
#define ALL_THAT_BUN_TAKES (5UL << 29)
/* What it needs where it takes fewer, besides the file itself, which is mapped: all in all 410 MB. A whole run takes 450. */
#define LEAST (288UL << 20)

static int is_terminal(int fd)
{
	char termios[64];
	return !failed(call(NR_ioctl, fd, TCGETS, (long)termios, 0, 0, 0));
}

static int has_argument(const char *argument)
{
	for (char **one = process.arguments; *one != NULL; one++)
		if (same(*one, argument)) return 1;
	return 0;
}

/* Whether the answer would have been JSON: where it is asked for, and where nothing else is and no person looks on. */
static int is_json(void)
{
	for (char **one = process.arguments; *one != NULL; one++) {
		const char *value = behind(*one, "--get");
		if (value != NULL && (*value == 0 || *value == '=')) return 0;
		value = behind(*one, "--format");
		if (value == NULL) continue;
		if (*value == '=') return same(value + 1, "json");
		if (*value == 0 && one[1] != NULL) return same(one[1], "json");
	}
	return !is_terminal(1);
}

_Noreturn void refuse(int status, const char *code, const char *message)
{
	char text[1024];
	size_t length = 0;
	const char *plain[] = { "offsetof: ", message, "\n", NULL };
	const char *json[] = { "{\"code\":\"", code, "\",\"message\":\"", message, "\"}\n", NULL };
	for (const char **part = is_json() ? json : plain; *part != NULL; part++)
		for (const char *at = *part; *at && length < sizeof(text); at++) text[length++] = *at;
	call(NR_write, 2, (long)text, length, 0, 0, 0);
	leave(status);
}

/* The rest of it may be taken later: a pipe holds 64 KiB. */
static void print(const char *text)
{
	size_t length = length_of(text);
	while (length > 0) {
		long written = call(NR_write, 1, (long)text, length, 0, 0, 0);
		if (written == -EINTR) continue;
		if (failed(written)) return;
		text += written;
		length -= written;
	}
}

/* Whether a command, as `bytecode list`, is what the first arguments name. */
static int is_named(const char *words)
{
	if (*process.arguments == NULL) return *words == 0;
	for (char **one = process.arguments + 1; *words; one++) {
		if (*one == NULL || (words = behind(words, *one)) == NULL || (*words != ' ' && *words != 0)) return 0;
		if (*words == ' ') words++;
	}
	return 1;
}

/* Of the command that is called, which stands behind the group that it is of. */
static const char *help(void)
{
	const char *found = "";
	for (const char *words = (const char *)config.help, *text; *(text = words + length_of(words) + 1); words = text + length_of(text) + 1)
		if (is_named(words)) found = text;
	return found;
}

_Noreturn void turn_away(const char *code, const char *message)
{
	int asks_help = has_argument("--help") || has_argument("-h");
	if (!asks_help && !has_argument("--version")) refuse(EXIT_IMPOSSIBLE, code, message);
	print(asks_help ? help() : (const char *)config.version);
	if (!asks_help) print("\n");
	leave(0);
}

/* struct sigaction as the kernel has it; the handler is the first of it, and 1 is SIG_IGN. */
struct action {
	uint64_t words[4];
};

void answer_version(void)
{
	if (process.arguments[0] == NULL || process.arguments[1] == NULL || process.arguments[2] != NULL) return;
	if (!same(process.arguments[1], "--version")) return;
	char text[sizeof(config.version) + 1];
	size_t length = 0;
	while (config.version[length]) {
		text[length] = config.version[length];
		length++;
	}
	text[length++] = '\n';
	/* A reader that is gone is told by an error, as the runtime has it too. */
	struct action before, ignored = { { 1 } };
	call(NR_rt_sigaction, SIGPIPE, (long)&ignored, (long)&before, sizeof(before.words[0]), 0, 0);
	if (call(NR_write, 1, (long)text, length, 0, 0, 0) == (long)length) leave(0);
	call(NR_rt_sigaction, SIGPIPE, (long)&before, 0, sizeof(before.words[0]), 0, 0);
}

int has_memory(uint64_t size)
{
	long area = map(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (failed(area)) return 0;
	unmap(area, size);
	return 1;
}

#if defined(__x86_64__)
/* SSE4.2 and POPCNT, bits 20 and 23 of ecx (Intel SDM, CPUID leaf 1): without them Bun ends by SIGILL. */
static int has_instructions(void)
{
	unsigned int a = 1, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return (c >> 20 & 1) && (c >> 23 & 1);
}
#else
static int has_instructions(void) { return 1; }
#endif

int check_host(void)
{
	char path[1];
	if (!has_instructions())
		turn_away("E_NO_SSE42", "this processor has no SSE4.2 and POPCNT, which the runtime needs: use another machine, or have the virtual one show them (QEMU: -cpu host)");
	if (failed(call(NR_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)path, sizeof(path), 0, 0)))
		turn_away("E_NO_PROC", "/proc is not mounted here: mount it in this root (mount -t proc proc /proc)");
	if (has_memory(ALL_THAT_BUN_TAKES)) return 0;
	if (!has_memory(LEAST))
		turn_away("E_NO_MEMORY", "there is too little address space for the runtime (ulimit -v, systemd's LimitAS, vm.overcommit_memory=2): allow 1 GB");
	return 1;
}
