import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { SystemError } from "../../../ffi/error.ts";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { assetBytes } from "../../../src/self/assets.ts";

const program = (name: string): string => join(import.meta.dir, `${name}.program.ts`);
/** What comes of an act of failing.program.ts, where `around` runs it. */
function failure(around: readonly string[], ...act: string[]): string {
  const command = [...around, process.execPath, program("failing"), ...act];
  const { stdout, stderr } = Bun.spawnSync(command, { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } });
  return stdout.toString().trim() || `nothing was printed: ${stderr}`;
}
/** With a seccomp filter that answers a call with an errno. */
const refused = (number: number, errno: number): string[] => [
  process.execPath,
  program("refused"),
  String(number),
  String(errno),
];
const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const withoutCapabilities = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/** In a user namespace of its own, with a command before. */
const inUserNamespace = (before: string): string[] => [
  "unshare",
  "--user",
  "--map-root-user",
  "sh",
  "-c",
  `${before}; exec "$@"`,
  "sh",
];
const [MEMFD_CREATE, UNSHARE, EPERM, ENOSYS] =
  process.arch === "arm64" ? [279, 97, 1, 38] : [319, 272, 1, 38];

describe("one call, each errno with its own remedy", () => {
  test("unshare(CLONE_NEWNET)", () => {
    const noMore = inUserNamespace("echo 0 > /proc/sys/user/max_net_namespaces");
    expect(failure(noMore, "unshare")).toBe(
      "unshare(CLONE_NEWNET): ENOSPC; user.max_net_namespaces is reached, of this user namespace or of one around it: raise that sysctl there",
    );
    expect(failure(withoutCapabilities, "unshare")).toMatch(
      /^unshare\(CLONE_NEWNET\): EPERM; needs CAP_SYS_ADMIN/,
    );
    expect(failure(refused(UNSHARE, ENOSYS), "unshare")).toBe(
      "unshare(CLONE_NEWNET): ENOSYS; this kernel has no such call, or a seccomp filter hides it",
    );
    expect(failure([], "unshare")).toBe("nothing failed");
  });

  test("memfd_create", () => {
    const bare = (errno: number) => [...withoutCapabilities, ...refused(MEMFD_CREATE, errno)];
    expect(failure(bare(EPERM), "memfd")).toBe(
      "memfd_create: EPERM; a seccomp filter refuses it: it has to allow memfd_create(2)",
    );
    expect(failure(bare(ENOSYS), "memfd")).toMatch(/^memfd_create: ENOSYS; needs Linux 3.17/);
    // Of what is not in the table nothing is said.
    expect(failure(bare(28), "memfd")).toBe("memfd_create: ENOSPC");
    // To root /proc shows the file that shared memory lies in.
    expect(failure(refused(MEMFD_CREATE, ENOSYS), "memfd")).toBe("nothing failed");
  });

  test("setns", () => {
    expect(failure([], "setns", "/proc/self/ns/mnt")).toBe("setns: EINVAL; it is no network namespace");
    expect(failure(withoutCapabilities, "setns", "/proc/self/ns/net")).toMatch(
      /^setns: EPERM; needs CAP_SYS_ADMIN/,
    );
  });

  test("sockets and netlink", () => {
    expect(failure(nobody, "packet")).toBe("socket(17, 3, 0): EPERM; needs CAP_NET_RAW");
    expect(failure(nobody, "link")).toBe("netlink: set link 1 up: EPERM; needs CAP_NET_ADMIN");
    expect(failure(nobody, "conntrack")).toMatch(
      /: EPERM; needs CAP_NET_ADMIN$|nf_conntrack_netlink$|nfnetlink$/,
    );
    const without = [
      "unshare",
      "--net",
      "sh",
      "-c",
      'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; exec "$@"',
      "sh",
    ];
    expect(failure(without, "localRoute")).toBe(
      "netlink: add a local route to link 1: EACCES; net.ipv6.conf.lo.disable_ipv6 is 1",
    );
  });

  test("users and limits", () => {
    expect(failure(nobody, "user")).toMatch(/^setgroups: EPERM; needs CAP_SETGID/);
    expect(failure(inUserNamespace("true"), "user")).toMatch(/^setgroups: EPERM; .*does not deny setgroups/);
    expect(failure(nobody, "limit")).toMatch(/^setrlimit\(7, \d+\): EPERM; the hard limit is lower/);
    expect(failure([], "descriptors")).toMatch(
      /^open \S+: EMFILE; this process's limit on open files .*ulimit -n/,
    );
    expect(failure([], "memory")).toMatch(/^mmap shared: ENOMEM; memory is short/);
    expect(failure([], "program", "/etc/passwd")).toMatch(
      /^posix_spawn \/etc\/passwd: EACCES; the file may not be executed/,
    );
  });

  test("libbpf's own errors have names", () => {
    const libbpf = new Libbpf(assetBytes("libbpf.so"));
    const garbage = new Uint8Array(4096).fill(0x5a);
    expect(() => libbpf.openObject(garbage, "garbage")).toThrow(
      /^open eBPF object garbage: LIBBPF_ERRNO__(LIBELF; it is no sound ELF file|FORMAT; it is no sound eBPF object)$/,
    );
    const ours = assetBytes("socket_guess.o").slice();
    ours.set([2], 5); // EI_DATA: the other byte order
    expect(() => libbpf.openObject(ours, "turned")).toThrow(/^open eBPF object turned: LIBBPF_ERRNO__/);
    using object = libbpf.openObject(assetBytes("socket_guess.o"), "socket_guess");
    object.load();
    expect(() => object.program("kprobe_tcp_getsockopt").attachKprobe("no_such_function")).toThrow(
      "ENOENT; the kernel and its loaded modules have no such function",
    );
  });

  test("what the callee says stands before the table; other numbers stay numbers", () => {
    expect(new SystemError("memfd_create", EPERM, "because").message).toBe("memfd_create: EPERM; because");
    expect(new SystemError("x", 4013).code).toBe("LIBBPF_ERRNO__NLPARSE");
    expect(new SystemError("x", 4014).code).toBe("errno 4014");
  });
});
