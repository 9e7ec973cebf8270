/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libbpf, loaded at run time by programs of the tests: the guests have none that they could be linked with. */
#include <dlfcn.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* struct bpf_object_open_opts up to what is used. */
struct open_opts {
	size_t sz;
	const char *object_name;
	_Bool relaxed_maps;
	const char *pin_root_path;
	__u32 attach_prog_fd;
	const char *kconfig;
	const char *btf_custom_path;
};

static void *libbpf;

static void *symbol(const char *name)
{
	void *found = dlsym(libbpf, name);

	if (!found) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return found;
}

#define CALL(result, name, types, ...) ((result(*) types)symbol(#name))(__VA_ARGS__)
