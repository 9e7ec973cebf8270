/*
 * Names of glibc's that Bun's build or our libbpf asks for and musl lacks, compiled into the musl that the executable carries.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* "-D_FORTIFY_SOURCE": the flag asks for more checks of the format, the size is that of the text. */
int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int written = vfprintf(file, format, list);
	va_end(list);
	return written;
}

int __sprintf_chk(char *text, int flag, size_t size, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int written = vsnprintf(text, size, format, list);
	va_end(list);
	if (written < 0 || (size_t)written >= size) abort();
	return written;
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object)
{
	return pthread_atfork(prepare, parent, child);
}

int __cxa_at_quick_exit(void (*handler)(void *), void *object)
{
	return at_quick_exit((void (*)(void))handler); /* the argument, which is the object, is never looked at */
}

int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

/* Only for messages of a crash: no frames. */
int backtrace(void **frames, int most) { return 0; }
char **backtrace_symbols(void *const *frames, int count) { return NULL; }

/* What Bun's build asks for. musl's own version is in __libc_version, see musl.patch. */
const char *gnu_get_libc_version(void) { return "2.17"; }
