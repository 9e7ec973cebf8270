/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Definitions that the eBPF objects share. User space holds the same layout in src/kernel/window.ts. */
#ifndef OFFSETOF_H
#define OFFSETOF_H

#include <linux/types.h>

#define WINDOW_SIZE 4096
#define CHUNK_SIZE 256
#define WINDOW_CHUNKS (WINDOW_SIZE / CHUNK_SIZE)
#define SLOT_COUNT 64
#define COMM_SIZE 16 /* TASK_COMM_LEN */

/* Written by user space but for `next`; one element. */
struct control {
	__u64 comm[COMM_SIZE / 8]; /* only the thread of this name is served */
	__u32 armed;		   /* 0: every hit is ignored */
	__u32 next;		   /* the slot the next hit fills; SLOT_COUNT: full */
	__u32 chase;		   /* copy what the pointer at `pointer` leads to, not the struct itself */
	__u32 pointer;		   /* byte offset of that pointer in the struct */
};

/* One hit: the bytes of one struct instance. */
struct slot {
	__u64 instance; /* kernel address of the struct that was hit, to tell instances apart */
	__u32 from;	/* socket state before and after, of inet_sock_set_state */
	__u32 to;
	__u32 chunks; /* bit i: bytes [i * CHUNK_SIZE, (i + 1) * CHUNK_SIZE) could be read */
	__u32 unused;
	__u8 window[WINDOW_SIZE];
};

/*
 * A read of a non-canonical address is a general protection fault, for which old kernels log a warning: such
 * an address is never read. `known` is an address the kernel itself gave, so it tells the width of addresses.
 */
static __always_inline int is_kernel_address(__u64 address, __u64 known)
{
	if (address & 7)
		return 0;
	if ((known >> 48) == 0xffff) /* 48-bit addresses, or the upper part of 57-bit ones */
		return (address >> 47) == 0x1ffff;
	return (address >> 56) == 0xff; /* 57-bit (la57) and 52-bit addresses */
}

/* First argument of a kprobed function: only these registers of struct pt_regs are ever read. */
#if defined(__TARGET_ARCH_x86)
struct registers {
	__u64 before[14];
	__u64 di;
};
#define FIRST_ARGUMENT(regs) ((regs)->di)
#elif defined(__TARGET_ARCH_arm64)
struct registers {
	__u64 x[31];
};
#define FIRST_ARGUMENT(regs) ((regs)->x[0])
#else
#error "no calling convention for this architecture"
#endif

#endif
