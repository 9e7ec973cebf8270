/*
 * The launcher makes Bun's build for glibc a program that needs nothing of the host. It is the program's entry: it looks
 * whether Bun can run here (doorman.c), takes the host's glibc or the musl that the file carries (library.c), and goes on as
 * the kernel does where a program names its dynamic linker. What Bun writes when it crashes is ours, too (guard.c). Of a child that runs
 * foreign code it is the first stage (isolate.c).
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include "system.h"

/* All of it is in one file: addresses are told from where the code is, not by a table that somebody would have to fill in. */
#pragma GCC visibility push(hidden)

/* Between the launcher and assets/build/universal.ts, which puts the file together. Addresses are the program's. */
struct config {
	/* Told by the launcher: where its part of each is, from its own beginning. */
	uint64_t guarded_write, system_write, guarded_vfprintf, system_vfprintf;
	/* Filled in: Bun's own program headers and entry, and musl. */
	uint64_t phdr, phnum, entry, musl_base, musl_entry;
	/* Filled in: what --help prints, for each command its words, a zero, its text, a zero, and behind the last no text. */
	uint64_t help;
	/* The newest node of glibc's that Bun is linked with, and this program's version. */
	char glibc[24], version[24];
	/* Told by the launcher: where watch() is, from its own beginning. ffi/launcher-thread.ts has a thread begin there. */
	uint64_t watch;
};
extern const volatile struct config config;

/* The process as the kernel begins it (System V ABI, "Initial Process Stack"). */
struct process {
	char **arguments;
	char **environment;
	Elf64_auxv_t *auxiliary;
};
/* As it is handed on: guard.c looks at the arguments later. */
extern struct process process;

/* What is told of a run, one behind the other. */
struct told {
	uint64_t next, length;
	char bytes[];
};

/* A run that has to end in time, as ffi/launcher-thread.ts lays it out. */
struct watch {
	/* A futex: who changes it from RUNNING has the last word. */
	uint32_t state, padding;
	/* How long it may take from when the thread begins. */
	uint64_t seconds, nanoseconds;
	/* Address of the first that is told; where the run writes what it is at, and how many bytes that is. */
	uint64_t told, where, where_length;
};
enum { RUNNING, DONE, EXPIRED };

/*
 * A thread's beginning: waits until a run is done, or has to be. Then this program is started anew to print what is known
 * (src/late.ts), and the run's process ends with what that ends with, whatever system call its other threads are in.
 */
void *watch(void *run);

struct library {
	uint64_t base, entry;
};

/* The host's glibc, mapped; where it has none that Bun can use, nothing is. */
int map_host_library(struct library *library, uint64_t page);

/*
 * Ends the program where its version is all that is asked: scripts ask that most, and nothing of Bun is needed. Where it cannot be
 * written the program goes on, and tells why.
 */
void answer_version(void);

/*
 * Where this process is to be a child that runs foreign code, it leaves what it can do without, and starts a second one, in which alone
 * this returns: the first one ends with it. Whether this is such a child.
 */
int isolate(void);

/* Turns away where Bun cannot run. Whether Bun is to set aside fewer addresses. */
int check_host(void);

/* As in src/output/failure.ts. */
enum { EXIT_FAILED = 1, EXIT_IMPOSSIBLE = 4 };

/* Ends the program with one line, or with one JSON object where the answer would have been JSON (src/cli.ts: report). */
_Noreturn void refuse(int status, const char *code, const char *message);

/* Where Bun cannot run: ends the program with 4 and a reason, or with what --help and --version print where one is asked. */
_Noreturn void turn_away(const char *code, const char *message);

/* Whether so many bytes of memory could be had. */
int has_memory(uint64_t size);

#pragma GCC visibility pop

#endif
