#include "launcher.h"

/*
 * Variables that are added to the environment, by twos as the stack has to stay aligned to two words.
 *
 * Code is compiled a last time, JavaScript as WebAssembly, when it has run fifteen times as long as Bun would wait: most runs are over
 * before that pays, and it takes a third of their processor time. The first and the second time JavaScript is compiled when it has run
 * twenty and ten times as long, for the same reason: a fifth of it.
 */
static const char first_javascript[] = "BUN_JSC_thresholdForJITAfterWarmUp=10000";
static const char second_javascript[] = "BUN_JSC_thresholdForOptimizeAfterWarmUp=10000";
static const char late_javascript[] = "BUN_JSC_thresholdForFTLOptimizeAfterWarmUp=1000000";
static const char late_wasm[] = "BUN_JSC_thresholdForOMGOptimizeAfterWarmUp=1000000";
/*
 * Garbage is first collected when there are so many bytes, four times as many as Bun would wait for (what is mapped of the kernel's BTF
 * counts, 6 MB), and by one thread: a short run ends before.
 */
static const char later_garbage[] = "BUN_JSC_largeHeapSize=33554432";
static const char one_collector[] = "BUN_JSC_numberOfGCMarkers=1";
/*
 * Where addresses are short: bytes for compiled code, of which Bun sets aside a gigabyte, and for what its allocator keeps, which
 * is another.
 */
static const char fewer_for_code[] = "BUN_JSC_jitMemoryReservationSize=16777216";
static const char fewer_for_data[] = "mimalloc_arena_reserve=64MiB";

/* No thread makes memory ready that a short run would never use. */
static const char no_warming[] = "BUN_JSC_useWarmUpMarkedBlocks=0";
/* In a child that runs foreign code, which is over sooner than others, what is compiled is so by the thread that runs it. */
static const char no_compilers[] = "BUN_JSC_useConcurrentJIT=0";

/* Room is left below what the kernel put on the stack, for five times two variables. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n"
	"xor %ebp, %ebp\n mov %rsp, %rdi\n lea -80(%rsp), %rsp\n and $-16, %rsp\n call launch\n"
	"mov %rdx, %rsp\n xor %edx, %edx\n jmp *%rax\n");
#else
__asm__(".globl _start\n_start:\n"
	"mov x29, #0\n mov x30, #0\n mov x0, sp\n sub sp, sp, #80\n bl launch\n"
	"mov sp, x1\n mov x16, x0\n mov x0, #0\n br x16\n");
#endif

struct process process;

/* Where to go on, and with what stack. */
struct start {
	uint64_t entry;
	uint64_t *stack;
};

/* Adds both to the environment: what stands below the auxiliary vector moves down to make room for them. */
static uint64_t *add_two(uint64_t *stack, const char *first, const char *second)
{
	uint64_t *end = (uint64_t *)process.auxiliary - 1; /* the NULL behind the last variable */
	for (uint64_t *from = stack; from < end; from++) from[-2] = *from;
	end[-2] = (uint64_t)first;
	end[-1] = (uint64_t)second;
	process.arguments -= 2;
	process.environment -= 2;
	return stack - 2;
}

__attribute__((used)) struct start launch(uint64_t *stack)
{
	uint64_t count = stack[0];
	process.arguments = (char **)(stack + 1);
	process.environment = process.arguments + count + 1;
	char **end = process.environment;
	int is_told = 0, is_tuned = 0, is_own = 0; /* who calls may know better */
	for (; *end != NULL; end++) {
		is_told |= behind(*end, "BUN_JSC_jitMemoryReservationSize=") != NULL;
		is_tuned |= behind(*end, "BUN_JSC_threshold") != NULL;
		is_own |= same(*end, "OFFSETOF_LIBC=musl"); /* src/tls/child: for a library that was made for musl */
	}
	process.auxiliary = (Elf64_auxv_t *)(end + 1);

	answer_version();
	int is_short = check_host();
	int is_child = isolate();
	if (!is_tuned) {
		stack = add_two(stack, first_javascript, second_javascript);
		stack = add_two(stack, late_javascript, late_wasm);
		stack = add_two(stack, later_garbage, one_collector);
		stack = add_two(stack, no_warming, is_child ? no_compilers : no_warming); /* two words; a variable twice is as once */
	}
	if (is_short && !is_told) stack = add_two(stack, fewer_for_code, fewer_for_data);

	uint64_t page = 4096;
	for (Elf64_auxv_t *one = process.auxiliary; one->a_type != AT_NULL; one++)
		if (one->a_type == AT_PAGESZ) page = one->a_un.a_val;
	struct library library = { config.musl_base, config.musl_entry };
	if (!is_own) map_host_library(&library, page);

	/* What the kernel says of the file, the dynamic linker is to hear of Bun. */
	for (Elf64_auxv_t *one = process.auxiliary; one->a_type != AT_NULL; one++) {
		if (one->a_type == AT_PHDR) one->a_un.a_val = config.phdr;
		if (one->a_type == AT_PHNUM) one->a_un.a_val = config.phnum;
		if (one->a_type == AT_ENTRY) one->a_un.a_val = config.entry;
		if (one->a_type == AT_BASE) one->a_un.a_val = library.base;
	}
	return (struct start){ library.entry, stack };
}
