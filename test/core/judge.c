// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * judge LIBBPF BTF OBJECT...: whether libbpf loads eBPF objects with this BTF as btf_custom_path, of each all programs but
 * those that the kernel holds against its own BTF. Prints a line an object: `NAME loads`, `NAME has none` where all its programs are
 * such, or `NAME fails ERRNO REASON`.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <string.h>
#include "libbpf.h"

static const char *const by_btf[] = { "fentry", "fexit", "fmod_ret", "tp_btf", "lsm", "iter", "struct_ops" };
/* The first line that says why: the others follow from it. */
static char reason[512];

static int listen(int level, const char *format, va_list args)
{
	char line[65536];

	vsnprintf(line, sizeof(line), format, args);
	const char *found = strstr(line, "failed to resolve CO-RE relocation");
	if (!found && level == 0 && !reason[0])
		found = line;
	if (found && strncmp(reason, "failed to resolve", 17) != 0)
		snprintf(reason, sizeof(reason), "%.*s", (int)strcspn(found, "\n"), found);
	return 0;
}

static int is_by_btf(const char *section)
{
	section += section[0] == '?';
	for (size_t i = 0; i < sizeof(by_btf) / sizeof(by_btf[0]); i++)
		if (strncmp(section, by_btf[i], strlen(by_btf[i])) == 0)
			return 1;
	return 0;
}

/* Sizes that the tools around the objects set. */
static void size_maps(void *object)
{
	void *map = 0;

	while ((map = CALL(void *, bpf_object__next_map, (void *, void *), object, map))) {
		if (CALL(__u32, bpf_map__max_entries, (void *), map) == 0)
			CALL(int, bpf_map__set_max_entries, (void *, __u32), map, 1 << 16);
		if (CALL(__u32, bpf_map__type, (void *), map) == BPF_MAP_TYPE_STACK_TRACE)
			CALL(int, bpf_map__set_value_size, (void *, __u32), map, 64);
	}
}

/* How many programs were loaded, or -errno. */
static int load(const char *path, const char *btf)
{
	struct open_opts opts = { .sz = sizeof(opts), .btf_custom_path = btf };
	void *object = CALL(void *, bpf_object__open_file, (const char *, void *), path, &opts), *program = 0;
	int status, count = 0;

	if (!object)
		return -errno;
	size_maps(object);
	while ((program = CALL(void *, bpf_object__next_program, (void *, void *), object, program)))
		if (is_by_btf(CALL(const char *, bpf_program__section_name, (void *), program)))
			CALL(int, bpf_program__set_autoload, (void *, _Bool), program, 0);
		else
			count++;
	status = CALL(int, bpf_object__load, (void *), object);
	CALL(void, bpf_object__close, (void *), object);
	return status < 0 ? status : count;
}

int main(int argc, char **argv)
{
	libbpf = argc < 4 ? 0 : dlopen(argv[1], RTLD_NOW);
	if (!libbpf) {
		fprintf(stderr, "judge LIBBPF BTF OBJECT...: %s\n", dlerror());
		return 1;
	}
	CALL(void *, libbpf_set_print, (int (*)(int, const char *, va_list)), listen);
	for (int i = 3; i < argc; i++) {
		const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
		int status;

		reason[0] = 0;
		status = load(argv[i], argv[2]);
		if (status >= 0)
			printf("%s %s\n", name, status > 0 ? "loads" : "has none");
		else
			printf("%s fails %d %s\n", name, -status, reason);
	}
	return 0;
}
