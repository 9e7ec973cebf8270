/** What an errno of a call means, and what to do about it, by the errno's symbolic name. */
interface Remedies {
  /** The calls that it is about, as SystemError names them. */
  readonly call: RegExp;
  readonly errnos: Readonly<Record<string, string>>;
}

/** Causes and remedies that several calls have in common. */
const perfEvents = {
  EACCES: "needs CAP_SYS_ADMIN, or CAP_PERFMON where kernel.perf_event_paranoid is 2 or less",
  EPERM: "a seccomp filter or a security module refuses perf_event_open(2)",
};
const namespaceLimit =
  "user.max_net_namespaces is reached, of this user namespace or of one around it: raise that sysctl there";

/**
 * Causes and remedies, the first row that knows the errno counts; the last row is of any call. An errno has other causes in
 * other calls, so nothing is said of one that is not here. By the manual pages of the calls, and of those without one by the
 * kernel's source: create_user_ns and copy_net_ns of the namespaces, perf_kprobe_event_init, libbpf.h.
 */
const rows: readonly Remedies[] = [
  {
    call: /^unshare\(CLONE_NEWNET\)/,
    errnos: {
      EPERM: "needs CAP_SYS_ADMIN, and a seccomp filter that lets it pass",
      ENOSPC: namespaceLimit,
      EUSERS: namespaceLimit, // before Linux 4.9
      EINVAL: "needs a kernel built with CONFIG_NET_NS",
    },
  },
  {
    call: /^setns/,
    errnos: {
      EPERM: "needs CAP_SYS_ADMIN, here and in the user namespace that the network namespace is of",
      EINVAL: "it is no network namespace",
    },
  },
  {
    call: /^open \/proc\/\S+\/ns\/net/,
    errnos: {
      EACCES: "another user's process needs CAP_SYS_PTRACE, and to enter its namespace needs CAP_SYS_ADMIN",
      ENOENT: "needs procfs on /proc, and a kernel built with CONFIG_NET_NS",
    },
  },
  {
    call: /^memfd_create/,
    errnos: {
      EPERM: "a seccomp filter refuses it: it has to allow memfd_create(2)",
      EACCES: "a security module, or vm.memfd_noexec, refuses it",
      ENOSYS: "needs Linux 3.17 or newer, and a seccomp filter that knows it",
    },
  },
  {
    call: /^setgroups/,
    errnos: { EPERM: "needs CAP_SETGID, and a user namespace that does not deny setgroups(2)" },
  },
  {
    call: /^setresgid/,
    errnos: { EPERM: "needs CAP_SETGID", EINVAL: "the user namespace has no such group" },
  },
  {
    call: /^setresuid/,
    errnos: {
      EPERM: "needs CAP_SETUID",
      EINVAL: "the user namespace has no such user",
      EAGAIN: "that user's limit on processes is reached (ulimit -u)",
    },
  },
  {
    call: /^seccomp\(/,
    errnos: {
      EINVAL: "needs a kernel built with CONFIG_SECCOMP_FILTER",
      ENOSYS: "needs Linux 3.17 or newer, built with CONFIG_SECCOMP",
      EACCES: "needs no_new_privs or CAP_SYS_ADMIN",
      EPERM: "a seccomp filter of this process's own refuses another one",
    },
  },
  {
    call: /^setrlimit/,
    errnos: { EPERM: "the hard limit is lower; to raise it needs CAP_SYS_RESOURCE" },
  },
  {
    call: /^(posix_spawn|Bun\.spawn)/,
    errnos: {
      EAGAIN: "a limit on processes is reached: ulimit -u, pids.max of the cgroup, or kernel.threads-max",
      EACCES: "the file may not be executed here: its mode, or a file system that is mounted noexec",
    },
  },
  { call: /^socket\(10,/, errnos: { EAFNOSUPPORT: "this kernel has no IPv6 (ipv6.disable=1)" } },
  { call: /^socket\(17,/, errnos: { EPERM: "needs CAP_NET_RAW" } },
  { call: /^socket\(16, 3, 12\)/, errnos: { EPROTONOSUPPORT: "modprobe nfnetlink" } },
  { call: /^netlink: add a conntrack entry/, errnos: { EINVAL: "modprobe nf_conntrack_netlink" } },
  {
    call: /^netlink: add a local route/,
    errnos: {
      EACCES: "net.ipv6.conf.lo.disable_ipv6 is 1",
      EOPNOTSUPP: "this kernel has no IPv6 (ipv6.disable=1)",
    },
  },
  {
    call: /^netlink: look up a route/,
    errnos: { EOPNOTSUPP: "this kernel has no routes of that family" },
  },
  { call: /^netlink: /, errnos: { EPERM: "needs CAP_NET_ADMIN" } },
  {
    call: /^attach .* to kprobe:/,
    errnos: {
      ...perfEvents,
      ENOENT: "the kernel and its loaded modules have no such function",
      EINVAL: "the kernel lets nobody probe this function",
    },
  },
  { call: /^attach .* to uprobe:/, errnos: { ...perfEvents, ESRCH: "the process has ended" } },
  {
    call: /^attach .* to tracepoint:/,
    errnos: { ...perfEvents, ENOENT: "tracefs is not mounted, or has no such tracepoint" },
  },
  { call: /^attach .* to raw_tp:/, errnos: { ENOENT: "this kernel has no such tracepoint" } },
  {
    // Opening calls no bpf(2): libbpf keeps places for maps by files in memory.
    call: /^open eBPF object /,
    errnos: {
      EPERM: "libbpf's memfd_create(2) is refused: a seccomp filter has to allow it",
      ENOSYS: "libbpf needs memfd_create(2): Linux 3.17 or newer, and a seccomp filter that knows it",
    },
  },
  {
    call: /^(open|load) eBPF object /,
    errnos: {
      EPERM:
        "bpf(2) needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, and a seccomp filter and a security module that let it pass; before Linux 5.11 also enough locked memory (ulimit -l)",
      ENOSYS: "needs a kernel built with CONFIG_BPF_SYSCALL",
      LIBBPF_ERRNO__LIBELF: "it is no sound ELF file",
      LIBBPF_ERRNO__FORMAT: "it is no sound eBPF object",
      LIBBPF_ERRNO__ENDIAN: "it is of the other byte order",
      LIBBPF_ERRNO__RELOC: "something that its code refers to is not in it",
      LIBBPF_ERRNO__LOAD: "the kernel refuses a program and does not say why",
      LIBBPF_ERRNO__VERIFY: "the kernel's verifier refuses a program",
      LIBBPF_ERRNO__PROG2BIG: "a program has more instructions than this kernel takes",
      LIBBPF_ERRNO__KVER: "it is made for another kernel",
      LIBBPF_ERRNO__PROGTYPE: "this kernel has no programs of that type",
    },
  },
  {
    call: /^read BTF /,
    errnos: { LIBBPF_ERRNO__FORMAT: "it is neither raw BTF nor an ELF file with BTF" },
  },
  {
    call: /^/,
    errnos: {
      EMFILE: "this process's limit on open files is reached (ulimit -n)",
      ENFILE: "the machine's limit on open files is reached (fs.file-max)",
      ENOMEM: "memory is short: the machine's, the cgroup's (memory.max), or ulimit -v",
      ENOSYS: "this kernel has no such call, or a seccomp filter hides it",
    },
  },
];

/**
 * A text with what an errno of a call means and what to do about it behind it, where that is known.
 * @param call as SystemError has it
 * @param errno its symbolic name
 */
export function withRemedy(text: string, call: string, errno: string): string {
  const row = rows.find((each) => each.call.test(call) && Object.hasOwn(each.errnos, errno));
  return row === undefined ? text : `${text}; ${row.errnos[errno]}`;
}
