/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Offsets that are written into an object after it was compiled ("baked"), under their published names.
 *
 * Where the kernel has global data (Linux 5.2), CONSTANT is a `const volatile __u32` in .rodata. An object for older
 * kernels has an undefined symbol instead, which each load of 64 bits in the code refers to; baking gives the symbol its
 * value as a linker would. libbpf opens such an object only when it is baked.
 *
 * Or they are macros already when the object is compiled: -DOFFSETOF_HEADER='"FILE"', a header of offsetof --format header.
 */
#ifndef CONSTANTS_H
#define CONSTANTS_H

#include <linux/types.h>

/* The value of a constant that is not known: what it leads to is not read. All bits are set. */
#define ABSENT ((__u32)-1)

#ifdef OFFSETOF_HEADER
#include OFFSETOF_HEADER
#define CONSTANT(name) _Static_assert((name) < ABSENT, "the header does not know it")
#define VALUE(name) (name)
#elif defined(OFFSETOF_OLD_KERNEL)
#define CONSTANT(name) _Static_assert(ABSENT, "declared by its use")
#define VALUE(name) LOAD(name) /* a macro's name is replaced first */
#define LOAD(symbol)                                     \
	({                                               \
		__u64 value;                             \
		asm("%0 = " #symbol " ll" : "=r"(value)); \
		(__u32)value;                            \
	})
#else
#define CONSTANT(name) const volatile __u32 name = ABSENT
#define VALUE(name) (name)
#endif

#endif
