/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Definitions that the eBPF objects share. User space holds the same layout in src/kernel/snapshot/recorder.ts. */
#ifndef OFFSETOF_H
#define OFFSETOF_H

#include <linux/types.h>

#define WINDOW_SIZE 4096
#define CHUNK_SIZE 256
#define WINDOW_CHUNKS (WINDOW_SIZE / CHUNK_SIZE)
#define SLOT_COUNT 64
#define COMM_SIZE 16 /* TASK_COMM_LEN */
#define PATH_MAX_LENGTH 2

/*
 * Two objects are made of every program (assets/build/ebpf.ts). The one for old kernels uses nothing that is younger
 * than raw tracepoints; bpf_probe_read_kernel and BPF_F_MMAPABLE came with Linux 5.5.
 */
#ifdef OFFSETOF_OLD_KERNEL
#define read_kernel bpf_probe_read
#define MAP_FLAGS 0
#else
#define read_kernel bpf_probe_read_kernel
#define MAP_FLAGS BPF_F_MMAPABLE
#endif

/* Which struct a program copies; the order is that of `structs` in user space. */
enum kind {
	KIND_SOCK,
	KIND_SOCKET,
	KIND_FLOWI4,
	KIND_FLOWI6,
	KIND_SK_BUFF,
	KIND_NF_CONN,
	KIND_COUNT = 8, /* room for more */
};

/* Written by user space, but for `next` and `quota`; one element. */
struct control {
	__u64 comm[COMM_SIZE / 8];     /* only the thread of this name is served */
	__u32 next;		       /* the slot that the next copy fills; SLOT_COUNT: full */
	__u32 path_length;	       /* how many pointers to follow from the struct; 0: none */
	__u32 path[PATH_MAX_LENGTH];   /* byte offset of each pointer in the struct before it */
	__u32 quota[KIND_COUNT];       /* how many more instances of each kind are copied */
	__u32 skip;		       /* how many bytes of what the path leads to are left out, from its start */
	__u32 unused;
};

/* One copy: the bytes of one struct instance, or of what the path from it leads to. */
struct slot {
	__u64 instance; /* kernel address of the struct that was hit, to tell instances apart */
	__u32 kind;
	__u32 chased; /* 1: the window is what the path leads to */
	__u32 from;   /* socket state before and after, of inet_sock_set_state */
	__u32 to;
	__u32 chunks; /* how many chunks of the window were tried */
	__u32 unused;
	__s32 errors[WINDOW_CHUNKS]; /* of each chunk: 0, or why it could not be read */
	__u8 window[WINDOW_SIZE];
};

/* What `addressings` of src/offsets/pointers.ts says of each architecture. */
#if defined(__TARGET_ARCH_x86)
#define TAG_BITS 0
#define KERNEL_NARROW 0xffff800000000000ULL /* 48-bit addresses */
#define KERNEL_WIDE 0xff00000000000000ULL   /* 57-bit ones (la57) */
#elif defined(__TARGET_ARCH_arm64)
#define TAG_BITS 8
#define KERNEL_NARROW 0xffff000000000000ULL /* 48-bit addresses: the linear map begins right there */
#define KERNEL_WIDE 0xfff0000000000000ULL   /* 52-bit ones (LVA) */
#else
#error "no rule for the addresses of this architecture"
#endif
#define KERNEL_END 0xffffffffffff0000ULL

/* The address without its tag (MTE, KASAN): the bit below the tag chooses the half. */
static __always_inline __u64 untagged(__u64 pointer)
{
	return (__u64)((__s64)(pointer << TAG_BITS) >> TAG_BITS);
}

/*
 * The address that a pointer to an aligned object of the kernel leads to, untagged; 0 if it is no such pointer.
 *
 * A read of a non-canonical address is a general protection fault, for which old kernels log a warning: such an
 * address is never read. `known` is a pointer that the kernel itself gave, so it tells the width of addresses.
 */
static __always_inline __u64 kernel_address(__u64 pointer, __u64 known)
{
	__u64 address = untagged(pointer);
	__u64 start = untagged(known) >= KERNEL_NARROW ? KERNEL_NARROW : KERNEL_WIDE;

	return (address & 7) == 0 && address >= start && address < KERNEL_END ? address : 0;
}

/* Arguments of a kprobed function, from the registers that the calling convention puts them in. */
#if defined(__TARGET_ARCH_x86)
/* struct pt_regs: r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di ... */
struct registers {
	__u64 r[15];
};
#define ARGUMENT_0(regs) ((regs)->r[14])
#define ARGUMENT_1(regs) ((regs)->r[13])
#define ARGUMENT_2(regs) ((regs)->r[12])
#elif defined(__TARGET_ARCH_arm64)
struct registers {
	__u64 x[31];
};
#define ARGUMENT_0(regs) ((regs)->x[0])
#define ARGUMENT_1(regs) ((regs)->x[1])
#define ARGUMENT_2(regs) ((regs)->x[2])
#else
#error "no calling convention for this architecture"
#endif

#endif
