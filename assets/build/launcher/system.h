/*
 * What the launcher asks of the kernel, and the few functions on bytes that it needs: there is no C library yet.
 */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#define GLIBC_LOADER "/lib64/ld-linux-x86-64.so.2"
enum {
	NR_read = 0, NR_write = 1, NR_close = 3, NR_lseek = 8, NR_mmap = 9, NR_munmap = 11, NR_rt_sigaction = 13, NR_ioctl = 16, NR_pread64 = 17, NR_sched_yield = 24, NR_nanosleep = 35,
	NR_clone = 56, NR_execve = 59, NR_exit = 60, NR_wait4 = 61, NR_capget = 125, NR_capset = 126, NR_prctl = 157, NR_futex = 202, NR_getdents64 = 217, NR_clock_gettime = 228, NR_exit_group = 231, NR_openat = 257,
	NR_readlinkat = 267, NR_unshare = 272, NR_dup3 = 292, NR_pipe2 = 293,
};

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#define GLIBC_LOADER "/lib/ld-linux-aarch64.so.1"
enum {
	NR_dup3 = 24, NR_ioctl = 29, NR_openat = 56, NR_close = 57, NR_pipe2 = 59, NR_getdents64 = 61, NR_lseek = 62, NR_read = 63, NR_write = 64, NR_pread64 = 67, NR_readlinkat = 78,
	NR_capget = 90, NR_capset = 91, NR_exit = 93, NR_exit_group = 94, NR_unshare = 97, NR_futex = 98, NR_nanosleep = 101, NR_clock_gettime = 113, NR_sched_yield = 124, NR_rt_sigaction = 134, NR_prctl = 167, NR_munmap = 215, NR_clone = 220, NR_execve = 221, NR_mmap = 222, NR_wait4 = 260,
};

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "no such architecture"
#endif

enum {
	PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4,
	MAP_PRIVATE = 0x02, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000,
	O_CLOEXEC = 02000000, O_NONBLOCK = 04000, AT_FDCWD = -100, SEEK_END = 2, TCGETS = 0x5401, SIGPIPE = 13, SIGCHLD = 17, EINTR = 4, EAGAIN = 11, ETIMEDOUT = 110,
};

/* The kernel answers a negative errno, which no address and no length is. */
static inline int failed(long result) { return (unsigned long)result > -4096UL; }

/* Whatever lies there, a FIFO too: it is never waited for. */
static inline long open_file(const char *path)
{
	return call(NR_openat, AT_FDCWD, (long)path, O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
}
static inline void close_file(long fd) { call(NR_close, fd, 0, 0, 0, 0, 0); }
static inline long map(uint64_t at, uint64_t size, int prot, int flags, long fd, uint64_t offset)
{
	return call(NR_mmap, at, size, prot, flags, fd, offset);
}
static inline void unmap(uint64_t at, uint64_t size) { call(NR_munmap, at, size, 0, 0, 0, 0); }
_Noreturn static inline void leave(int status)
{
	for (;;) call(NR_exit_group, status, 0, 0, 0, 0, 0);
}

/* Whether a text begins with another; the rest of it, or NULL. */
static inline const char *behind(const char *text, const char *beginning)
{
	while (*beginning)
		if (*text++ != *beginning++) return NULL;
	return text;
}
static inline size_t length_of(const char *text)
{
	size_t length = 0;
	while (text[length]) length++;
	return length;
}
static inline int same(const char *one, const char *other)
{
	const char *rest = behind(one, other);
	return rest != NULL && *rest == 0;
}

#endif
