import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * What a hostile library does when it is loaded, as the body of a C function. It returns 0 where the deed was done, or
 * else the errno, with which the process ends at once; some never return.
 */
export interface Deed {
  readonly name: string;
  readonly code: string;
  /** The errno that it must come to; by default EPERM. */
  readonly refusal?: number;
}

/** Where a deed can leave a trace, and whom it can hurt. */
export interface Surroundings {
  /** A folder in which everybody may write. */
  readonly folder: string;
  /** A port on 127.0.0.1, TCP and UDP. */
  readonly port: number;
  /** A process of nobody's. */
  readonly victim: number;
}

const orErrno = (call: string): string => `return (${call}) < 0 ? errno : 0;`;

/** Deeds that must be refused, and have another mark than their exit code where there is one. */
export const refusedDeeds = ({ folder, port, victim }: Surroundings): readonly Deed[] => {
  const mark = (name: string): string => JSON.stringify(join(folder, name));
  const address = `struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(${port}), .sin_addr = { htonl(INADDR_LOOPBACK) } };`;
  const linger = "if (pid == 0) for (;;) sleep(1000);";
  return [
    { name: "makes a file", code: orErrno(`open(${mark("made")}, O_CREAT | O_WRONLY, 0666)`) },
    { name: "makes a file without a name", code: orErrno(`open(${mark(".")}, O_TMPFILE | O_RDWR, 0666)`) },
    { name: "makes a file by creat", code: orErrno(`creat(${mark("creat")}, 0666)`) },
    {
      name: "makes a file by openat2",
      code: `unsigned long how[3] = { O_CREAT | O_WRONLY, 0666, 0 }; ${orErrno(`syscall(SYS_openat2, AT_FDCWD, ${mark("openat2")}, how, sizeof how)`)}`,
    },
    { name: "empties a file", code: orErrno(`open(${mark("open")}, O_RDONLY | O_TRUNC)`) },
    { name: "opens a file for writing", code: orErrno(`open(${mark("open")}, O_RDWR)`) },
    { name: "truncates a file", code: orErrno(`truncate(${mark("open")}, 0)`) },
    { name: "removes a file", code: orErrno(`unlink(${mark("open")})`) },
    { name: "renames a file", code: orErrno(`rename(${mark("open")}, ${mark("renamed")})`) },
    { name: "makes a link", code: orErrno(`symlink("/", ${mark("link")})`) },
    { name: "makes a folder", code: orErrno(`mkdir(${mark("new")}, 0777)`) },
    { name: "makes a FIFO", code: orErrno(`mkfifo(${mark("fifo")}, 0666)`) },
    { name: "makes a file in memory", code: orErrno(`memfd_create("x", 0)`) },
    {
      name: "adjusts its OOM score",
      code: `int fd = open("/proc/self/oom_score_adj", O_WRONLY); ${orErrno(`fd < 0 ? -1 : write(fd, "999", 3)`)}`,
    },
    { name: "forks", code: `pid_t pid = fork(); ${linger} ${orErrno("pid")}` },
    { name: "forks by vfork", code: `pid_t pid = vfork(); if (pid == 0) _exit(0); ${orErrno("pid")}` },
    {
      name: "forks by clone3",
      code: `unsigned long args[8] = { [4] = SIGCHLD }; pid_t pid = syscall(SYS_clone3, args, sizeof args); ${linger} ${orErrno("pid")}`,
      refusal: 38,
    },
    {
      name: "becomes a daemon",
      code: `pid_t pid = fork(); if (pid == 0) { setsid(); pid = fork(); ${linger} _exit(0); } ${orErrno("pid < 0 ? -1 : waitpid(pid, 0, 0)")}`,
    },
    {
      name: "runs a shell",
      code: `char *argv[] = { "sh", "-c", "exit 0", 0 }; execve("/bin/sh", argv, argv + 3); return errno;`,
    },
    {
      name: "runs a file in memory",
      code: `char *argv[] = { "true", 0 }; fexecve(open("/bin/true", O_RDONLY), argv, argv + 1); return errno;`,
    },
    {
      name: "connects",
      code: `${address} int fd = socket(AF_INET, SOCK_STREAM, 0); ${orErrno("fd < 0 ? -1 : connect(fd, (void *)&a, sizeof a)")}`,
    },
    {
      name: "sends a datagram",
      code: `${address} int fd = socket(AF_INET, SOCK_DGRAM, 0); ${orErrno(`fd < 0 ? -1 : sendto(fd, "x", 1, 0, (void *)&a, sizeof a)`)}`,
    },
    {
      name: "makes a pair of sockets",
      code: `int pair[2]; ${orErrno("socketpair(AF_UNIX, SOCK_STREAM, 0, pair)")}`,
    },
    { name: "kills", code: orErrno(`kill(${victim}, SIGCONT)`) },
    { name: "kills by tgkill", code: orErrno(`syscall(SYS_tgkill, ${victim}, ${victim}, SIGCONT)`) },
    { name: "traces", code: orErrno(`ptrace(PTRACE_SEIZE, ${victim}, 0, 0)`) },
    { name: "outlives its parent", code: orErrno("prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)") },
    { name: "dumps core", code: orErrno("prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)") },
    { name: "changes the flags of what it inherited", code: orErrno("fcntl(1, F_SETFL, O_NONBLOCK)") },
    { name: "has itself signalled by what it inherited", code: orErrno("fcntl(1, F_SETOWN, getpid())") },
    { name: "makes a user namespace", code: orErrno("unshare(CLONE_NEWUSER)") },
    {
      name: "makes an io_uring",
      code: `char params[120] = { 0 }; ${orErrno("syscall(SYS_io_uring_setup, 8, params)")}`,
    },
    { name: "adds a key", code: orErrno(`syscall(SYS_add_key, "user", "offsetof", "x", 1, -2)`) },
    {
      name: "sets another's limits",
      code: `struct rlimit l = { 9, 9 }; ${orErrno(`prlimit(${victim}, RLIMIT_NOFILE, 0, &l)`)}`,
    },
  ];
};

/** Those that do not return are ended after so many milliseconds. Nothing is lost where the deed has not begun by then. */
const endless = { milliseconds: 700, reason: "not done after 700 ms" };

/** Deeds that no filter refuses, and what the parent is told of each. */
export const otherDeeds: readonly (Deed & {
  readonly reason: string | RegExp;
  readonly milliseconds?: number;
})[] = [
  { name: "loops", code: "for (;;) {}", ...endless },
  { name: "sleeps", code: "for (;;) sleep(1000);", ...endless },
  {
    name: "sleeps and ignores all signals",
    code: "for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;) sleep(1000);",
    ...endless,
  },
  { name: "exits", code: "exit(0);", reason: "it ended with 0 and without an answer" },
  { name: "exits otherwise", code: "exit(77);", reason: "it ended with 77 and without an answer" },
  {
    name: "faults",
    code: "return *(volatile int *)8;",
    reason: "it ended with 11 (SIGSEGV) and without an answer",
  },
  { name: "traps", code: "__builtin_trap();", reason: "it ended with 4 (SIGILL) and without an answer" },
  { name: "aborts", code: "abort();", reason: "it ended with 6 (SIGABRT) and without an answer" },
  {
    name: "writes on every descriptor",
    code: `for (int fd = 0; fd < 1024; fd++) write(fd, "{}\\n", 3);`,
    reason: "what it wrote is no answer",
  },
  {
    name: "floods every descriptor",
    code: `static char b[4096]; memset(b, '1', 4096); for (;;) for (int fd = 0; fd < 64; fd++) { struct pollfd p = { fd, POLLOUT }; if (poll(&p, 1, 0) == 1) write(fd, b, 4096); }`,
    reason: "an answer of more than 65536 bytes",
  },
  {
    name: "answers in the job's place, but not as a job does",
    code: `for (int fd = 3; fd < 64; fd++) write(fd, "{\\"answer\\":1,\\"failed\\":\\"\\"}", 25);`,
    reason: "what it wrote is no answer",
  },
  {
    name: "closes every descriptor",
    code: "for (int fd = 0; fd < 64; fd++) close(fd); return 9;",
    reason: "it ended with 9 and without an answer",
  },
  {
    name: "overflows its stack",
    code: "volatile char b[65536]; b[0] = 1; return deed() + b[0];",
    reason: /SIGSEGV/,
  },
  {
    name: "calls as an i386 program does",
    code: `long r; asm volatile("int $0x80" : "=a"(r) : "a"(20 /* getpid */)); return r < 0 ? -r : 42;`,
    reason: "it ended with 1 and without an answer",
  },
  {
    name: "calls as an x32 program does",
    code: "syscall(0x40000000 | SYS_getpid); return errno;",
    reason: "it ended with 1 and without an answer",
  },
  // In units of 16 MiB; it may have 512 MiB.
  {
    name: "eats memory",
    code: `int n = 0; for (void *p; n < 4096 && (p = malloc(16 << 20)); n++) memset(p, 1, 16 << 20); return n;`,
    reason: /^it ended with (2[0-9]|3[01]) and without an answer$/,
  },
  {
    name: "starts threads",
    code: `int n = 0; for (pthread_t t; n < 200 && !pthread_create(&t, 0, (void *)sleep, (void *)1000); n++); return n;`,
    reason: /^it ended with \d\d and without an answer$/,
  },
  {
    name: "starts 6,000 threads with small stacks",
    code: `pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 16384); int n = 0; for (pthread_t t; n < 6000 && !pthread_create(&t, &a, (void *)sleep, (void *)1000); n++); return n <= 64 ? 42 : 43;`,
    reason: "it ended with 42 and without an answer",
  },
  {
    name: "raises its limits",
    code: `for (int i = 0; i < 16; i++) { struct rlimit l; getrlimit(i, &l); if (l.rlim_max == RLIM_INFINITY) continue; l.rlim_max += 1; if (!setrlimit(i, &l)) return 100 + i; } return 42;`,
    reason: "it ended with 42 and without an answer",
  },
];

const includes = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
`;

/** What looks like a TLS library of OpenSSL's. */
const facade = `
const char version[] = "OpenSSL 3.0.22 1 Apr 2026";
void *SSL_new(void *ctx) { return ctx; }
/* As in OpenSSL 3.0's struct ssl_st, so that its machine code says the same as the table. */
int SSL_version(int *s) { return s[0]; }
void *SSL_get_rbio(char *s) { return *(void **)(s + 16); }
void *SSL_get_session(char *s) { return *(void **)(s + 2328); }
`;
const doing = (code: string): string => `
static int deed(void);
static int deed(void) { ${code} }
__attribute__((constructor)) static void hostile(void) { _exit(deed()); }
`;

/** Compiles a library of that deed, which looks like a TLS library of OpenSSL's. @returns its path */
export const buildHostile = ({ name, code }: Deed, folder: string): string =>
  compile(facade + doing(code), folder, `${name.replaceAll(/\W/g, "-")}.so`);

/** Compiles a library of that deed which another can need by that name. @returns its path */
export const buildNeeded = (soname: string, { code }: Deed, folder: string, ...flags: string[]): string =>
  compile(doing(code), folder, soname, `-Wl,-soname,${soname}`, ...flags);

/** Compiles a library that does nothing, looks like OpenSSL's, and is linked as the flags say. @returns its path */
export const buildHarmless = (name: string, folder: string, ...flags: string[]): string =>
  compile(facade, folder, name, `-Wl,-soname,${name}`, ...flags);

/** Compiles a library that looks like OpenSSL's and has this C code beside. @returns its path */
export const buildWith = (name: string, code: string, folder: string, ...flags: string[]): string =>
  compile(facade + code, folder, name, ...flags);

/** Compiles a library without a name, so that who is linked with it needs it by its path. @returns its path */
export const buildAnonymous = (folder: string): string => compile("", folder, "anonymous.so");

function compile(code: string, folder: string, name: string, ...flags: string[]): string {
  mkdirSync(folder, { recursive: true });
  const library = join(folder, name);
  writeFileSync(`${library}.c`, includes + code);
  const cc = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, `${library}.c`, "-Wl,--no-as-needed"];
  const { success, stderr } = Bun.spawnSync([...cc, ...flags]);
  if (!success) throw new Error(stderr.toString());
  return library;
}

/** This repository, which is in the command line of every child that is run from source. */
const repository = join(import.meta.dir, "..");

/**
 * Processes that have the file mapped, as the kernel tells. Another offsetof that looks at this whole machine meanwhile
 * would find the library in use and probe it too: children that are not of this source are left out.
 */
export function processesWith(path: string): readonly number[] {
  const isTold = (pid: string): boolean => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const isForeign = command.includes("\0@child\0") && !command.includes(repository);
      return !isForeign && readFileSync(`/proc/${pid}/maps`, "utf8").includes(path);
    } catch {
      return false; // gone, or a kernel's own
    }
  };
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && isTold(entry))
    .map(Number);
}
