// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Follows pointers from the current task, or from where an earlier walk led, and copies what they lead to: structs at
 * rest, whatever their state. Any kernel has a place for it: the entry of a system call that a thread of ours makes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "offsetof.h"

#define STEPS 8	    /* pointers that one walk follows at most */
#define PIECE 4096  /* a page, the smallest that there are */
#define PIECES 5    /* 16 KiB that begin anywhere in the first of them */
#define ANY_CALL 0xffffffff

#ifdef OFFSETOF_OLD_KERNEL
#define WALKS 1 /* without loops (Linux 5.3) all is unrolled */
#define LOOP _Pragma("clang loop unroll(full)")
#else
#define WALKS 8
#define LOOP _Pragma("clang loop unroll(disable)")
#endif

/* Written by user space, but for `walks`; one element. */
struct order {
	__u64 comm[COMM_SIZE / 8]; /* only threads of this name are served */
	__u64 except;		   /* and not the one of this tgid << 32 | tid; where the tid is 0, none of that process */
	__u32 call;		   /* by this system call, or ANY_CALL */
	__u32 walks;		   /* how many walks the next event makes; none are left then */
};

/* One walk, and what it led to. User space holds the same layout in src/kernel/crawl/reader.ts. */
struct walk {
	__u64 root;	     /* where it begins; 0: the current task */
	__u32 length;	     /* how many pointers it follows */
	__u32 wanted;	     /* how many pages it copies at most, the one that the copy begins in among them */
	__u32 path[STEPS];   /* byte offset of each pointer in the struct before it */
	__s64 displacement;  /* where the copy begins, counted from what the last pointer leads to */
	/* What follows is the program's. */
	__u64 task;
	__u64 thread;	     /* tgid << 32 | tid, of the first pid namespace */
	__u64 pointer;	     /* the last one as it stands, with its tag */
	__u64 address;	     /* where the copy begins; 0: the walk led nowhere */
	__u64 copied;	     /* how many pages could be read */
	__u8 window[PIECES * PIECE]; /* whole pages, but for what lies before the address */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, MAP_FLAGS);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WALKS);
	__uint(map_flags, MAP_FLAGS);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* In the map's memory, which the verifier does not track: in a register each check of it would double its paths. */
#define UNTRACKED(member) (*(volatile __u64 *)&(member))

/* Where a walk leads; 0 where one of its pointers is none to an object of the kernel. */
static __always_inline void find_target(struct walk *walk, __u64 task)
{
	UNTRACKED(walk->pointer) = walk->root ? walk->root : task;
	LOOP
	for (int step = 0; step < STEPS; step++) {
		__u64 address, pointer = 0;

		if (step >= walk->length)
			break;
		address = kernel_address(UNTRACKED(walk->pointer), task);
		if (!address || read_kernel(&pointer, sizeof(pointer), (void *)(address + walk->path[step])))
			pointer = 0;
		UNTRACKED(walk->pointer) = pointer;
	}
	UNTRACKED(walk->address) = kernel_address(UNTRACKED(walk->pointer), task);
	if (UNTRACKED(walk->address))
		UNTRACKED(walk->address) = kernel_address(UNTRACKED(walk->address) + walk->displacement, task);
}

/*
 * Copies page by page, up to the first that cannot be read: a struct is mapped as a whole, and what lies behind a page that
 * is not mapped may be a device.
 */
static __always_inline void make(struct walk *walk, __u64 task, __u64 thread)
{
	__u64 address, before;

	walk->task = task;
	walk->thread = thread;
	UNTRACKED(walk->copied) = 0;
	find_target(walk, task);
	address = UNTRACKED(walk->address);
	if (!address)
		return;
	before = address & (PIECE - 1);
	if (read_kernel(walk->window + before, PIECE - before, (void *)address))
		return;
	UNTRACKED(walk->copied) = 1;
	LOOP
	for (int piece = 1; piece < PIECES; piece++) {
		if (piece >= walk->wanted || read_kernel(walk->window + piece * PIECE, PIECE,
							  (void *)(address - before + piece * PIECE)))
			break;
		UNTRACKED(walk->copied) = piece + 1;
	}
}

static __always_inline int crawl(__u32 call)
{
	__u32 zero = 0;
	struct order *order = bpf_map_lookup_elem(&orders, &zero);
	__u64 comm[COMM_SIZE / 8] = {};
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 task = bpf_get_current_task();
	__u32 walk_count;

	if (!order || !order->walks || order->except == thread || order->except == thread >> 32 << 32)
		return 0;
	if (call != ANY_CALL && order->call != ANY_CALL && order->call != call)
		return 0;
	if (bpf_get_current_comm(comm, sizeof(comm)) || comm[0] != order->comm[0] || comm[1] != order->comm[1])
		return 0;
	walk_count = order->walks;
	order->walks = 0;
	LOOP
	for (int index = 0; index < WALKS; index++) {
		__u32 key = index;
		struct walk *walk;

		if (index >= walk_count)
			break;
		walk = bpf_map_lookup_elem(&walks, &key);
		if (walk)
			make(walk, task, thread);
	}
	return 0;
}

/* sys_enter(struct pt_regs *regs, long id), in each system call of each thread; Linux 4.17. */
SEC("raw_tp/sys_enter")
int raw_tp_sys_enter(struct bpf_raw_tracepoint_args *regs)
{
	return crawl(regs->args[1]);
}

/* The one call that user space chose. */
SEC("tracepoint/syscalls/sys_enter_getpgid")
int tracepoint_sys_enter_getpgid(void *record)
{
	return crawl(ANY_CALL);
}

SEC("kprobe/__x64_sys_getpgid")
int kprobe_getpgid(struct registers *regs)
{
	return crawl(ANY_CALL);
}

/* Any event of perf that begins in a thread of ours; Linux 4.9. */
SEC("perf_event")
int perf_event_any(void *event)
{
	return crawl(ANY_CALL);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
