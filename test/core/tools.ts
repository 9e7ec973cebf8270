/** Debian 12's own libbpf-tools at work in a guest, with the file of `offsetof btf` where they look for BTF. */
import { join } from "node:path";
import * as v from "valibot";
import { loadPackage } from "../../assets/build/debian.ts";
import { executableFor } from "../lab/executable.ts";
import { bootGuest, type GuestFile, HIDE_BTF, text } from "../lab/guest.ts";
import type { BootableKernel } from "../lab/kernels.ts";

/** A tool, and what it prints of the workload below where it tells the truth. */
interface Tool {
  readonly name: string;
  readonly args?: string;
  readonly expects: RegExp;
}

/** As everybody knows what it does: files, processes, signals, mounts and a connection of its own, by their names. */
const WORKLOAD = `
echo some >/etc/offsetof-read
/usr/bin/cat /etc/offsetof-read
/usr/bin/stat -f /etc/offsetof-read
: >/tmp/offsetof-life; sleep 1; /usr/bin/rm /tmp/offsetof-life
/usr/bin/uname offsetof-exec
/usr/bin/sh -c 'exit 7'
/usr/bin/sleep 50 & kill -USR1 $!
mkdir /run/offsetof-mount; /usr/bin/mount -t tmpfs offsetof-device /run/offsetof-mount; /usr/bin/umount /run/offsetof-mount
echo hello | /usr/bin/nc -l -p 4242 >/dev/null & sleep 1; /usr/bin/nc 127.0.0.1 4242 </dev/null
/usr/bin/dd if=/dev/zero of=/tmp/offsetof-file bs=4096 count=256
/usr/bin/dd if=/dev/loop0 of=/dev/null bs=4096
/usr/bin/getent ahosts offsetof-host
echo >/dev/console
(sleep 2; echo 'echo offsetof-line'; sleep 2; echo exit) | script -qec 'bash --norc -i' /dev/null
`;
/** What is there before the tools look. */
const STAGE = `
echo 127.0.0.1 offsetof-host >/etc/hosts; mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
dd if=/dev/zero of=/tmp/offsetof-disk bs=4096 count=256 2>/dev/null; losetup -f /tmp/offsetof-disk
`;

const HISTOGRAM = /distribution\n.*\|/;

const known: readonly Tool[] = [
  { name: "bashreadline", expects: /\d +echo offsetof-line/ },
  { name: "bindsnoop", expects: /nc .*TCP .*4242/ },
  { name: "biolatency", expects: HISTOGRAM },
  // 1 MiB, twice; of the first request it does not know where it should be.
  { name: "biopattern", expects: /loop0 +\d +(9\d|100) +\d+ +(1\d\d\d|20\d\d)\b/ },
  { name: "capable", expects: /mount .*CAP_SYS_ADMIN/ },
  { name: "cpudist", expects: HISTOGRAM },
  { name: "execsnoop", expects: /uname .*offsetof-exec/ },
  { name: "exitsnoop", expects: /sh .*code 7/ },
  { name: "filelife", expects: /rm +[1-9]\.\d+ +offsetof-life/ },
  { name: "filetop", args: "-C 1", expects: /dd .*offsetof-file/ },
  { name: "funclatency", args: "vfs_read", expects: HISTOGRAM },
  { name: "gethostlatency", expects: /getent +[\d.]+ +offsetof-host/ },
  { name: "hardirqs", expects: /(ttyS0|uart-pl011) +\d/ },
  { name: "klockstat", expects: /\w+\+0x/ },
  { name: "mountsnoop", expects: /mount .*offsetof-device.*offsetof-mount/ },
  { name: "opensnoop", expects: /cat +\d+ +0 +\/etc\/offsetof-read/ },
  { name: "runqlat", expects: HISTOGRAM },
  { name: "runqslower", args: "1", expects: /\d\d:\d\d:\d\d +(cat|dd|nc|uname) +\d+ +\d+/ },
  { name: "sigsnoop", expects: / 10 +\d+ +0 *$/m },
  { name: "slabratetop", args: "-C 1", expects: /filp +\d+ +\d+/ },
  { name: "softirqs", expects: /timer +\d+/ },
  { name: "solisten", expects: /nc +0 +1 +TCPv6 +4242/ },
  { name: "statsnoop", expects: /stat .*\/etc\/offsetof-read/ },
  { name: "syscount", expects: /^read +\d+/m },
  { name: "tcpconnect", expects: /nc .*127\.0\.0\.1 +127\.0\.0\.1 +4242/ },
  { name: "tcpconnlat", expects: /nc .*127\.0\.0\.1 +127\.0\.0\.1 +4242 +\d/ },
  { name: "tcplife", expects: /nc +127\.0\.0\.1 +\d+ +127\.0\.0\.1 +4242/ },
  { name: "tcprtt", expects: HISTOGRAM },
  { name: "tcpstates", expects: /127\.0\.0\.1 +4242 +SYN_SENT +-> +ESTABLISHED/ },
  { name: "tcpsynbl", expects: /backlog_max = 1\b/ },
  { name: "tcptop", args: "-C 1", expects: /nc .*127\.0\.0\.1:4242/ },
  { name: "tcptracer", expects: /C +\d+ +nc +4 +127\.0\.0\.1 +127\.0\.0\.1 +\d+ +4242/ },
  { name: "vfsstat", args: "5 1", expects: /\d\d:\d\d:\d\d: +\d+/ },
];

/** Whether a tool printed the truth, and what it printed. */
export const printedSchema = v.object({ isTrue: v.boolean(), output: v.string() });
/** By its name. */
export type Printed = ReadonlyMap<string, v.InferOutput<typeof printedSchema>>;

/**
 * They look at /sys/kernel/btf/vmlinux alone. Where a kernel has no such folder, one with it stands in for its parent.
 */
const OURS = `
if [ -d /sys/kernel/btf ]; then ${HIDE_BTF}; else
  mkdir -p /run/kernel/btf /run/kernel/debug /run/kernel/tracing
  for one in debug tracing; do mount -o bind /sys/kernel/$one /run/kernel/$one; done
  mount -o rbind /run/kernel /sys/kernel; mkdir -p /run/empty; mount -o bind /run/empty /sys/kernel/btf
fi
/opt/offsetof btf -o /tmp/kernel.btf; mv /tmp/kernel.btf /run/empty/vmlinux`;

/** @param btf the kernel's own, or what `offsetof btf` makes in its place @param names of the tools; all where none are told */
export async function toolsAtWork(
  kernel: BootableKernel,
  btf: "own" | "ours",
  names: readonly string[] = known.map(({ name }) => name),
): Promise<Printed> {
  const tools = known.filter(({ name }) => names.includes(name));
  const { architecture } = kernel.row;
  const root = async (name: string) => (await loadPackage("bookworm", name, architecture)).root;
  const files: Record<string, GuestFile> = { "/opt/workload": { content: WORKLOAD } };
  if (btf === "ours") files["/opt/offsetof"] = { from: await executableFor(architecture) };
  const from = join(await root("libbpf-tools"), "usr/sbin");
  for (const { name } of tools) files[`/opt/tools/${name}`] = { from: join(from, name) };
  const start = tools.map(
    ({ name, args = "" }) => `/opt/tools/${name} ${args} >/tmp/out/${name} 2>&1 & echo $! >>/tmp/pids`,
  );
  const { results } = await bootGuest({
    // The tools are linked with Debian 12's libraries.
    kernel: { ...kernel, row: { ...kernel.row, userland: "bookworm" } },
    commands: [
      btf === "ours" ? OURS : ":",
      [
        STAGE,
        // Without it every line that is printed has /etc/localtime looked for, which is traced, and printed.
        "export TZ=UTC0; mkdir /tmp/out",
        ...start,
        // Each is at work once it holds a link or a perf event, or has ended for want of a member.
        "isReady() { [ ! -d /proc/$1/fd ] || ls -l /proc/$1/fd | grep -q 'perf_event\\|bpf_link\\|bpf-link'; }",
        "tries=0; for one in $(cat /tmp/pids); do until isReady $one || [ $tries = 200 ]; do sleep 1; tries=$((tries+1)); done; done",
        // Twice: where many are at work on one processor, one or the other loses what comes first.
        "sleep 5; for turn in 1 2; do sh /opt/workload >/dev/null 2>&1; sleep 3; done",
        "kill -INT $(cat /tmp/pids) 2>/dev/null",
        "tries=0; for one in $(cat /tmp/pids); do while [ -d /proc/$one/fd ] && [ $tries != 60 ]; do sleep 1; tries=$((tries+1)); done; done",
        "kill -KILL $(cat /tmp/pids) 2>/dev/null",
        ...tools.map(({ name }) => `echo "== ${name}"; cat /tmp/out/${name}`),
      ].join("\n"),
    ],
    files,
    packages: ["libelf1", "zlib1g", "libc-bin", "bash", "libtinfo6", "bsdutils"],
    modules: ["loop"],
    mounts: ["tracefs", "debugfs"],
  });
  const printed = text(results[1]?.stdout ?? new Uint8Array());
  const outputs = new Map(
    printed
      .split(/^== (?=\w+$)/m)
      .map((part) => [part.slice(0, part.indexOf("\n")), part.slice(part.indexOf("\n") + 1)]),
  );
  return new Map(
    tools.map(({ name, expects }) => {
      const output = outputs.get(name) ?? "";
      return [name, { isTrue: expects.test(output), output }];
    }),
  );
}
