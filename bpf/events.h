/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events on their way to user space: one map `events` with whole structs, and in `lost` the number of those that found
 * no room. A ring buffer where the kernel has it (Linux 5.8), else a perf buffer.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define RING_SIZE (1 << 20) /* bytes; a power of two and of whole pages of any size */
#define MOST_AT_ONCE 1024   /* threads inside a program at the same time */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

#ifdef OFFSETOF_OLD_KERNEL

/*
 * An event is larger than the stack, so it is made in a map, in an element of the thread's own: a program of another
 * thread may run on this processor in between. `blank` is what the element starts from.
 */
#define DEFINE_EVENTS(event_type)                                     \
	struct {                                                      \
		__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);          \
		__uint(key_size, sizeof(__u32));                      \
		__uint(value_size, sizeof(__u32));                    \
	} events SEC(".maps");                                        \
	struct {                                                      \
		__uint(type, BPF_MAP_TYPE_HASH);                      \
		__uint(max_entries, MOST_AT_ONCE);                    \
		__type(key, __u64);                                   \
		__type(value, event_type);                            \
	} drafts SEC(".maps");                                        \
	struct {                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);                     \
		__uint(max_entries, 1);                               \
		__type(key, __u32);                                   \
		__type(value, event_type);                            \
	} blank SEC(".maps");                                         \
	static __always_inline event_type *new_event(void)            \
	{                                                             \
		__u64 thread = bpf_get_current_pid_tgid();            \
		__u32 zero = 0;                                       \
		event_type *from = bpf_map_lookup_elem(&blank, &zero); \
                                                                      \
		if (!from || bpf_map_update_elem(&drafts, &thread, from, BPF_ANY)) \
			return 0;                                     \
		return bpf_map_lookup_elem(&drafts, &thread);         \
	}                                                             \
	static __always_inline __attribute__((unused)) void drop_event(event_type *event) \
	{                                                             \
		__u64 thread = bpf_get_current_pid_tgid();            \
                                                                      \
		bpf_map_delete_elem(&drafts, &thread);                \
	}                                                             \
	static __always_inline void send_event(void *context, event_type *event) \
	{                                                             \
		if (bpf_perf_event_output(context, &events, BPF_F_CURRENT_CPU, event, sizeof(*event))) \
			count_lost();                                 \
		drop_event(event);                                    \
	}

#else

#define DEFINE_EVENTS(event_type)                                     \
	struct {                                                      \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                   \
		__uint(max_entries, RING_SIZE);                       \
	} events SEC(".maps");                                        \
	static __always_inline event_type *new_event(void)            \
	{                                                             \
		event_type *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0); \
                                                                      \
		if (event)                                            \
			__builtin_memset(event, 0, sizeof(*event));   \
		return event;                                         \
	}                                                             \
	static __always_inline __attribute__((unused)) void drop_event(event_type *event) \
	{                                                             \
		bpf_ringbuf_discard(event, 0);                        \
	}                                                             \
	static __always_inline void send_event(void *context, event_type *event) \
	{                                                             \
		bpf_ringbuf_submit(event, 0);                         \
	}

#endif

/* Set in the event's own memory, which the verifier does not track: in a register each bit would double its paths. */
#define MARK(event, bit) (*(volatile __u32 *)&(event)->present |= (bit))

#endif
