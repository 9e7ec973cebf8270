import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Architecture, loadPackage } from "../../assets/build/debian.ts";
import { type CpioEntry, cpioArchive, parentFolders } from "./cpio.ts";
import type { BootableKernel } from "./kernels.ts";

export interface GuestOptions {
  readonly kernel: BootableKernel;
  /** Shell scripts, run one after the other as root in one boot, each by a shell of its own. */
  readonly commands: readonly string[];
  /** Files of the guest by absolute path: a copy of a file of this machine, or the content itself. */
  readonly files?: Readonly<Record<string, GuestFile>>;
  /** Further packages of the kernel's suite, unpacked over the guest's root, e.g. `libssl3`. */
  readonly packages?: readonly string[];
  /** Modules to insert before the first command; what they need comes along. */
  readonly modules?: readonly string[];
  /** File systems to mount beyond proc, sysfs, devtmpfs and the tmpfs on /tmp and /run. */
  readonly mounts?: readonly (keyof typeof MOUNTS)[];
  /** Additions to the kernel's command line, e.g. `lockdown=integrity` or `ipv6.disable=1`. */
  readonly append?: readonly string[];
  /** When the guest is killed: boot and all commands together. */
  readonly deadlineSeconds?: number;
  readonly memoryMiB?: number;
  /** QEMU's name of the processor, where it is not the one that serves best. */
  readonly processor?: string;
}

export type GuestFile =
  | { readonly from: string }
  | { readonly content: string | Uint8Array; readonly mode?: number };

export interface CommandResult {
  /** As the shell tells it: 128 + the signal's number when a signal ended it. */
  readonly status: number;
  /** Byte for byte what the command wrote. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Duration by the guest's clock, in steps of 10 ms. A guest is far slower than the machine. */
  readonly seconds: number;
}

export interface GuestRun {
  /** One a command, in their order. */
  readonly results: readonly CommandResult[];
  /** The kernel's errors and worse, and what the init script wrote. For the whole log run `dmesg`. */
  readonly console: string;
  /** From the kernel's start to the first command, by the guest's clock. */
  readonly bootSeconds: number;
}

/** A guest that did not run all its commands. The message ends with the console's last lines. */
export class GuestError extends Error {
  override readonly name = "GuestError";
}

/** A guest takes seconds, and on a busy machine minutes. */
const DEADLINE_SECONDS = 1500;
/** Milliseconds for a test that fetches a kernel and boots it. */
export const guestTimeout = (DEADLINE_SECONDS + 300) * 1000;

/** Hides the kernel's BTF from the commands after it, and shows it again. */
export const HIDE_BTF = "mkdir -p /run/empty && mount -o bind /run/empty /sys/kernel/btf";
export const SHOW_BTF = "umount /sys/kernel/btf";

/** The kernel's log without what it says of its clocks, of a guest that got no time, and of kprobes that a test turns off. */
export const LOG =
  "dmesg | grep -viE 'clocksource|tsc: |random: |hrtimer: interrupt took|kprobes globally' || true";
/** For the kernel's command line: a guest that got no time is no finding. */
export const NO_STALLS = "rcupdate.rcu_cpu_stall_suppress=1";

/** `script` as a command run by an ordinary user (nobody, 65534) without capabilities. */
export function asNobody(script: string): string {
  return `su -s /bin/sh nobody -c '${script.replaceAll("'", "'\\''")}'`;
}

export function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/**
 * Boots a kernel in QEMU with an initramfs made for it (busybox, the C library of its suite, `files`), runs
 * the commands and powers off. A guest that dies before its first command starts is booted again; one that
 * dies later, or meets the deadline, is a `GuestError`.
 */
export async function bootGuest(options: GuestOptions): Promise<GuestRun> {
  const folder = await mkdtemp(join(tmpdir(), "guest-"));
  try {
    await Bun.write(join(folder, "initramfs"), cpioArchive(await guestFiles(options)));
    const deadline = Date.now() + (options.deadlineSeconds ?? DEADLINE_SECONDS) * 1000;
    for (let boot = 1; ; boot++) {
      const ended = await runQemu(options, folder, deadline);
      const frames = readFrames(await Bun.file(join(folder, "results")).bytes());
      const kernelLog = await Bun.file(join(folder, "console")).text();
      if (frames.complete) return { ...frames, console: kernelLog };
      const again = !frames.started && ended !== "deadline" && boot < MAX_BOOTS;
      if (!again) throw new GuestError(explain(options, frames, ended, boot, kernelLog));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

const MAX_BOOTS = 3;

const MOUNTS = {
  tracefs: "/sys/kernel/tracing",
  debugfs: "/sys/kernel/debug",
  securityfs: "/sys/kernel/security",
  bpf: "/sys/fs/bpf",
  cgroup2: "/sys/fs/cgroup",
} as const;

/** Busybox; the C library a dynamic executable needs; /etc/os-release. */
const BASE_PACKAGES = ["busybox-static", "libc6", "base-files"];

/** What a guest never needs of a package; character sets alone are 8 MB. */
const LEFT_OUT = /^usr\/share\/(doc|man|locale|lintian|bug)\/|\/gconv\//;

/** Debian 12 and later have /lib and the others as links into /usr; so has every guest. */
const MERGED = ["bin", "sbin", "lib", "lib64"];

const ACCOUNTS: Readonly<Record<string, GuestFile>> = {
  "/etc/passwd": {
    content: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
    mode: 0o644,
  },
  "/etc/group": { content: "root:x:0:\nnogroup:x:65534:\n", mode: 0o644 },
};

async function guestFiles(options: GuestOptions): Promise<CpioEntry[]> {
  const entries = new Map<string, CpioEntry>();
  const add = (entry: CpioEntry) => entries.set(entry.path, entry);
  const { suite: origin, userland: suite = origin, architecture } = options.kernel.row;
  for (const name of [...BASE_PACKAGES, ...(options.packages ?? [])])
    for (const entry of await packageEntries(suite, name, architecture)) add(entry);

  const modules = await options.kernel.modules(options.modules ?? []);
  const scripts: Record<string, GuestFile> = { "/init": { content: initScript(options, modules) } };
  options.commands.forEach((command, index) => {
    scripts[`/lab/commands/${index}`] = { content: `${command}\n` };
  });
  for (const { name, content } of modules) scripts[`/lab/modules/${name}.ko`] = { content };
  for (const [path, file] of Object.entries({ ...ACCOUNTS, ...scripts, ...options.files }))
    add(await fileEntry(merged(path.slice(1)), file));

  const paths = [...entries.keys(), ...MERGED.map((name) => `usr/${name}/`), ...EMPTY_FOLDERS];
  return [
    ...parentFolders(paths).map((path): CpioEntry => ({ kind: "folder", path, mode: 0o755 })),
    ...MERGED.map((path): CpioEntry => ({ kind: "symlink", path, target: `usr/${path}` })),
    ...entries.values(),
  ];
}

const EMPTY_FOLDERS = ["dev/", "proc/", "sys/", "run/", "tmp/", "root/", "var/tmp/"];

async function packageEntries(suite: string, name: string, architecture: Architecture): Promise<CpioEntry[]> {
  const { cached } = await loadPackage(suite, name, architecture);
  const entries = (await cached.entries("root"))
    .map((entry) => ({ ...entry, inGuest: entry.path.slice("root/".length) }))
    .filter(({ inGuest }) => !LEFT_OUT.test(inGuest) && !MERGED.includes(inGuest));
  return Promise.all(
    entries.map(async (entry): Promise<CpioEntry> => {
      const path = merged(entry.inGuest);
      if ("target" in entry) return { kind: "symlink", path, target: entry.target };
      return { kind: "file", path, content: await cached.read(entry.path), mode: entry.mode };
    }),
  );
}

function merged(path: string): string {
  return MERGED.some((name) => path.startsWith(`${name}/`)) ? `usr/${path}` : path;
}

async function fileEntry(path: string, file: GuestFile): Promise<CpioEntry> {
  if ("from" in file) {
    const { mode } = await stat(file.from);
    return { kind: "file", path, content: await Bun.file(file.from).bytes(), mode: mode & 0o7777 };
  }
  const { content, mode = 0o755 } = file;
  return {
    kind: "file",
    path,
    content: typeof content === "string" ? ENCODER.encode(content) : content,
    mode,
  };
}

const ENCODER = new TextEncoder();

/**
 * The guest's first process. The kernel's messages and its own go to the console; the machine's second serial line
 * carries frames only, in raw mode, so that every byte arrives as written (see `readFrames`).
 */
function initScript(options: GuestOptions, modules: readonly { readonly name: string }[]): string {
  const mounts = (options.mounts ?? []).map((type) => `mount -t ${type} ${type} ${MOUNTS[type]}`);
  const inserts = modules.map(({ name }) => `insmod /lab/modules/${name}.ko`);
  const { results } = machines[options.kernel.row.architecture];
  return `#!/bin/busybox sh
/bin/busybox --install -s /usr/bin
export PATH=/usr/sbin:/usr/bin HOME=/root
# An emulated processor on a busy machine is slower than any host that a run's deadline is for.
export OFFSETOF_DEADLINE=${DEADLINE_SECONDS * 1000}
# The root of an initramfs is open to all until told otherwise.
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
${mounts.join("\n")}
ip link set lo up
${inserts.join("\n")}
stty -F ${results} raw -echo
exec 3>${results}
index=0
while [ -e /lab/commands/$index ]; do
  read -r begin idle </proc/uptime
  echo "begin $begin" >&3
  (cd /root; sh /lab/commands/$index) </dev/null >/lab/stdout 2>/lab/stderr 3>&-
  status=$?
  read -r end idle </proc/uptime
  echo "end $end $status $(stat -c %s /lab/stdout) $(stat -c %s /lab/stderr)" >&3
  cat /lab/stdout /lab/stderr >&3
  index=$((index + 1))
done
echo done >&3
exec 3>&-
# A kernel without ACPI can halt and restart alone; QEMU ends at either (-no-reboot).
reboot -f
`;
}

interface Frames {
  readonly started: boolean;
  readonly complete: boolean;
  readonly results: readonly CommandResult[];
  readonly bootSeconds: number;
}

/**
 * Reads what came over the second serial line: for each command a line `begin UPTIME`, when it has ended a line
 * `end UPTIME STATUS STDOUT_SIZE STDERR_SIZE` and so many bytes, and a line `done` after the last.
 */
export function readFrames(bytes: Uint8Array): Frames {
  const results: CommandResult[] = [];
  let begin = Number.NaN;
  let bootSeconds = Number.NaN;
  let at = 0;
  for (;;) {
    const newline = bytes.indexOf(0x0a, at);
    if (newline < 0) break;
    const [word, ...numbers] = text(bytes.subarray(at, newline)).split(" ");
    const [uptime = Number.NaN, status = Number.NaN, outSize = 0, errSize = 0] = numbers.map(Number);
    at = newline + 1;
    if (word === "done") return { started: true, complete: true, results, bootSeconds };
    if (word === "begin") {
      begin = uptime;
      if (results.length === 0) bootSeconds = uptime;
    } else {
      const stdout = bytes.slice(at, at + outSize);
      const stderr = bytes.slice(at + outSize, at + outSize + errSize);
      at += outSize + errSize;
      if (at > bytes.length) break;
      results.push({ status, stdout, stderr, seconds: uptime - begin });
    }
  }
  return { started: !Number.isNaN(begin), complete: false, results, bootSeconds };
}

interface Machine {
  /** The program, and what it is to be; the second serial line goes to the file `results`. */
  readonly qemu: readonly [string, ...string[]];
  /** For the kernel's command line. */
  readonly append: readonly string[];
  /** The second serial line in the guest. */
  readonly results: string;
}

/**
 * amd64: with `la57=off`, as five-level page tables only make TCG slower. `cx16=off`: QEMU 7.2 now and then spoils the
 * flags after CMPXCHG16B, which the allocator of 6.12 and later lives on; a third of its boots panicked.
 *
 * arm64: not `max`: with SVE, Bun once crashed in 22 of 30 runs under QEMU 7.2 (docs/storms.md). cortex-a72 does not
 * boot kernels with pages of 16 KiB.
 */
const machines: Readonly<Record<Architecture, Machine>> = {
  amd64: {
    qemu: ["qemu-system-x86_64", "-M", "q35", "-cpu", "max,la57=off,cx16=off", "-serial", "file:results"],
    append: ["console=ttyS0", "tsc=reliable", "no_timer_check"],
    results: "/dev/ttyS1",
  },
  arm64: {
    qemu: [
      ...(["qemu-system-aarch64", "-M", "virt", "-cpu", "neoverse-n1"] as const),
      ...["-chardev", "file,id=results,path=results", "-device", "pci-serial,chardev=results"],
    ],
    append: ["console=ttyAMA0"],
    results: "/dev/ttyS0",
  },
};

const COMMAND_LINE = [
  "quiet",
  "loglevel=4",
  "panic=-1",
  "mitigations=off",
  "nokaslr",
  "random.trust_cpu=on",
  "cryptomgr.notests",
  "rcupdate.rcu_expedited=1",
];

/**
 * One boot, to the end of QEMU or to the deadline. One virtual cpu: more gain nothing here, and have panicked.
 */
async function runQemu(
  options: GuestOptions,
  folder: string,
  deadline: number,
): Promise<number | "deadline"> {
  const machine = machines[options.kernel.row.architecture];
  const [qemu, ...kind] = machine.qemu;
  const child = Bun.spawn(
    [
      [qemu, "-nodefaults", "-display", "none", "-no-reboot", "-serial", "file:console", ...kind],
      options.processor === undefined ? [] : ["-cpu", options.processor],
      ["-accel", "tcg,thread=multi,tb-size=512", "-smp", "1", "-m", `${options.memoryMiB ?? 1024}`],
      ["-kernel", options.kernel.vmlinux, "-initrd", "initramfs"],
      ["-append", [...machine.append, ...COMMAND_LINE, ...(options.append ?? [])].join(" ")],
    ].flat(),
    { cwd: folder, stdin: "ignore", stdout: "ignore", stderr: "inherit" },
  );
  let met = false;
  const timer = setTimeout(() => {
    met = true;
    child.kill("SIGKILL");
  }, deadline - Date.now());
  const status = await child.exited;
  clearTimeout(timer);
  return met ? "deadline" : status;
}

function explain(
  options: GuestOptions,
  frames: Frames,
  ended: number | "deadline",
  boot: number,
  kernelLog: string,
): string {
  const { name } = options.kernel.row;
  const done = frames.results.length;
  const place = frames.started ? `in command ${done}: ${options.commands[done]}` : "before its first command";
  const why = ended === "deadline" ? "met the deadline" : `ended (QEMU's status ${ended})`;
  const lastLines = kernelLog.split("\n").slice(-40).join("\n");
  return `The guest ${name}, boot ${boot}, ${why} ${place}\n${lastLines}`;
}
