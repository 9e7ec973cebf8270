/**
 * The system calls of the probe child, as a seccomp filter: what is not in the list fails with EPERM. The list is what
 * Bun, the C libraries' dynamic linkers and libcrypto need to compute; with it nothing outside the process can be
 * changed: no file written or made, no socket, no program, no other process, no limit.
 */

/** One condition on an argument, of which the kernel reads the low 32 bits: `(argument & mask)` is one of `values`. */
interface Condition {
  readonly argument: number;
  readonly mask: number;
  readonly values: readonly number[];
}

/** An allowed call: its name, its number on x86-64 and on arm64 (null: has none), and when it is allowed. */
type Row = readonly [name: string, x64: number | null, arm64: number | null, when?: Condition];

const equals = (argument: number, ...values: number[]): Condition => ({
  argument,
  mask: 0xffffffff,
  values,
});

/** O_WRONLY | O_RDWR | O_CREAT | O_TRUNC. O_TMPFILE needs one of the first two. */
const writing = 0o3 | 0o100 | 0o1000;
const readOnly = (argument: number): Condition => ({ argument, mask: writing, values: [0] });

/** CLONE_THREAD, and all that makes a new namespace: NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const thread = 0x10000;
const namespaces = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000;
const threadOnly: Condition = { argument: 0, mask: thread | namespaces, values: [thread] };

/**
 * F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: none that sends signals or takes locks, nor F_SETFL, as what was
 * inherited is a description of the parent's too.
 */
const plainFcntl = equals(1, 0, 1, 2, 3, 1030);
/** PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE and PR_SET_VMA. Never PR_SET_PDEATHSIG. */
const plainPrctl = equals(0, 15, 16, 3, 0x53564d41);

/** From asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64). `self` is this process's id. */
const rows = (self: number): readonly Row[] => [
  ["read", 0, 63],
  ["write", 1, 64],
  ["close", 3, 57],
  ["lseek", 8, 62],
  ["pread64", 17, 67],
  ["readv", 19, 65],
  ["writev", 20, 66],
  ["preadv", 295, 69],
  ["dup", 32, 23],
  ["fcntl", 72, 25, plainFcntl],
  ["open", 2, null, readOnly(1)],
  ["openat", 257, 56, readOnly(2)],
  ["stat", 4, null],
  ["lstat", 6, null],
  ["fstat", 5, 80],
  ["newfstatat", 262, 79],
  ["statx", 332, 291],
  ["fstatfs", 138, 44],
  ["access", 21, null],
  ["faccessat", 269, 48],
  ["faccessat2", 439, 439],
  ["readlink", 89, null],
  ["readlinkat", 267, 78],
  ["getdents64", 217, 61],
  ["getcwd", 79, 17],
  ["mmap", 9, 222],
  ["mprotect", 10, 226],
  ["munmap", 11, 215],
  ["mremap", 25, 216],
  ["madvise", 28, 233],
  ["mincore", 27, 232],
  ["brk", 12, 214],
  ["rt_sigaction", 13, 134],
  ["rt_sigprocmask", 14, 135],
  ["rt_sigreturn", 15, 139],
  ["rt_sigsuspend", 130, 133],
  ["sigaltstack", 131, 132],
  ["restart_syscall", 219, 128],
  ["tgkill", 234, 131, equals(0, self)],
  ["clone", 56, 220, threadOnly],
  ["exit", 60, 93],
  ["exit_group", 231, 94],
  ["futex", 202, 98],
  ["set_robust_list", 273, 99],
  ["set_tid_address", 218, 96],
  ["rseq", 334, 293],
  ["membarrier", 324, 283],
  ["arch_prctl", 158, null],
  ["prctl", 157, 167, plainPrctl],
  ["getpid", 39, 172],
  ["getppid", 110, 173],
  ["gettid", 186, 178],
  ["getuid", 102, 174],
  ["geteuid", 107, 175],
  ["getgid", 104, 176],
  ["getegid", 108, 177],
  ["uname", 63, 160],
  ["sysinfo", 99, 179],
  ["getrusage", 98, 165],
  ["times", 100, 153],
  ["getrlimit", 97, 163],
  // Process 0 is the caller itself. Its limits cannot be raised: the hard ones are as low as the soft ones.
  ["prlimit64", 302, 261, equals(0, 0)],
  ["getcpu", 309, 168],
  ["sched_yield", 24, 124],
  ["sched_getaffinity", 204, 123],
  ["getrandom", 318, 278],
  ["time", 201, null],
  ["gettimeofday", 96, 169],
  ["clock_gettime", 228, 113],
  ["clock_getres", 229, 114],
  ["clock_nanosleep", 230, 115],
  ["nanosleep", 35, 101],
  ["poll", 7, null],
  ["ppoll", 271, 73],
  ["select", 23, null],
  ["pselect6", 270, 72],
  ["epoll_create1", 291, 20],
  ["epoll_ctl", 233, 21],
  ["epoll_wait", 232, null],
  ["epoll_pwait", 281, 22],
  ["epoll_pwait2", 441, 441],
  ["eventfd2", 290, 19],
];

/**
 * Calls that fail with ENOSYS, as if the kernel lacked them, so that libraries fall back on an older one. clone3 has its flags in memory,
 * where a filter cannot see them.
 */
const missing: readonly Row[] = [["clone3", 435, 435]];

type Architecture = "x64" | "arm64";

/** AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of linux/audit.h. */
const audit: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };

/** The numbers of all calls that the filter knows, by name, for one architecture. */
export const callNumbers = (arch: Architecture): ReadonlyMap<string, number> =>
  new Map(
    [...rows(0), ...missing].flatMap((row) =>
      numberOf(row, arch) === null ? [] : [[row[0], numberOf(row, arch) ?? 0]],
    ),
  );

const numberOf = ([, x64, arm64]: Row, arch: Architecture): number | null => (arch === "x64" ? x64 : arm64);

/** One struct sock_filter of linux/filter.h. */
type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

const load = (offset: number): Instruction => [0x20, 0, 0, offset]; // BPF_LD | BPF_W | BPF_ABS
const and = (mask: number): Instruction => [0x54, 0, 0, mask]; // BPF_ALU | BPF_AND | BPF_K
const jumpIfEqual = (value: number, jumpTrue: number, jumpFalse: number): Instruction => [
  0x15, // BPF_JMP | BPF_JEQ | BPF_K
  jumpTrue,
  jumpFalse,
  value,
];
const answer = (action: number): Instruction => [0x06, 0, 0, action]; // BPF_RET | BPF_K

const ALLOW = answer(0x7fff0000);
/** SECCOMP_RET_ERRNO. Never SECCOMP_RET_KILL or a trap: the kernel logs a process that a filter ends (audit_seccomp). */
const EPERM = answer(0x50000 | 1);
const ENOSYS = answer(0x50000 | 38);

/** Where struct seccomp_data has the call's number, its architecture, and the low half of an argument. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const argumentAt = (index: number): number => 16 + 8 * index;

/** The instructions that decide on a call once its number is that of the row: each way through them allows or refuses. */
function decision(when: Condition | undefined): readonly Instruction[] {
  if (when === undefined) return [ALLOW];
  const { argument, mask, values } = when;
  const compares = values.map((value, at) => jumpIfEqual(value, values.length - at, 0));
  return [load(argumentAt(argument)), and(mask), ...compares, EPERM, ALLOW];
}

/**
 * The filter as the kernel takes it: struct sock_filter, 8 bytes each, little endian. All calls of another architecture
 * (i386 on x86-64) fail, and so do x32's, whose numbers are none of the list.
 *
 * @param self the id of the process, as it sees it itself
 */
export function systemCallFilter(arch: Architecture, self: number): Uint8Array {
  const rule = (row: Row, then: readonly Instruction[]): readonly Instruction[] => {
    const number = numberOf(row, arch);
    return number === null ? [] : [jumpIfEqual(number, 0, then.length), ...then];
  };
  const program = [
    load(ARCHITECTURE),
    jumpIfEqual(audit[arch], 1, 0),
    EPERM,
    load(NUMBER),
    ...rows(self).flatMap((row) => rule(row, decision(row[3]))),
    ...missing.flatMap((row) => rule(row, [ENOSYS])),
    EPERM,
  ];
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, jumpTrue, jumpFalse, k], at) => {
    view.setUint16(at * 8, code, true);
    view.setUint8(at * 8 + 2, jumpTrue);
    view.setUint8(at * 8 + 3, jumpFalse);
    view.setUint32(at * 8 + 4, k, true);
  });
  return bytes;
}
