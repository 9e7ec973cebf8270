import { NO_NAMESPACES } from "../net/namespace.ts";
import { type Answer, no, unknown, yes } from "./answer.ts";
import type { Capability, ProcessStatus } from "./capabilities.ts";
import { type FileRead, textOf } from "./files.ts";
import { isAtLeast } from "./identity.ts";
import { type LaterConfig, missingOption } from "./kconfig.ts";

const AS_ROOT = "run as root";
const UNLOCK = "boot without lockdown=confidentiality";
const MOUNT_SYSFS = "mount -t sysfs sysfs /sys";
const builtWith = (option: string): string => `a kernel built with ${option}`;

/** Lockdown levels as /sys/kernel/security/lockdown names them. */
export const lockdownLevels = ["none", "integrity", "confidentiality"] as const;
export type LockdownLevel = (typeof lockdownLevels)[number];

export interface LockdownAnswer {
  readonly level: LockdownLevel | null;
  readonly why: string;
  /** The command that would make the level known, where it is not. */
  readonly help?: string;
}

/** The bracketed word of "none [integrity] confidentiality". */
export function parseLockdown(text: string): LockdownLevel | undefined {
  const word = /\[(\w+)\]/.exec(text)?.[1];
  return lockdownLevels.find((level) => level === word);
}

/**
 * `mounts` is /proc/self/mounts: without securityfs a missing file says nothing. Then /proc/cmdline may tell; to find
 * out by being refused would leave a line in the kernel's log.
 */
export function lockdown(
  file: FileRead,
  mounts: string | undefined,
  config: LaterConfig,
  commandLine?: string,
): LockdownAnswer {
  const text = textOf(file);
  if (text !== undefined) {
    const level = parseLockdown(text);
    return level === undefined
      ? { level: null, why: `${file.path}: no known level in "${text.slice(0, 64)}"` }
      : { level, why: `${file.path} says ${level}` };
  }
  if (file.state === "denied") return { level: null, why: `${file.path} cannot be read`, help: AS_ROOT };
  if (mounts !== undefined && isMounted(mounts, "securityfs")) {
    return { level: "none", why: `securityfs is mounted and has no lockdown file` };
  }
  const built = config();
  if (built !== undefined && missingOption(built, ["CONFIG_SECURITY_LOCKDOWN_LSM"]) !== undefined) {
    return { level: "none", why: `${built.path} has no CONFIG_SECURITY_LOCKDOWN_LSM` };
  }
  const asked = /(?:^|\s)lockdown=(\w+)/.exec(commandLine ?? "")?.[1];
  const level = lockdownLevels.find((each) => each === asked);
  if (level !== undefined) return { level, why: `/proc/cmdline has lockdown=${level}` };
  return {
    level: null,
    why: "securityfs is not mounted; mount it on /sys/kernel/security to know",
    help: "mount -t securityfs securityfs /sys/kernel/security",
  };
}

/** BTF's magic number 0xEB9F in either byte order. */
const btfMagics: readonly (readonly [number, number])[] = [
  [0x9f, 0xeb],
  [0xeb, 0x9f],
];

/** `file` holds at least the first two bytes of /sys/kernel/btf/vmlinux. */
export function btf(file: FileRead, sysfs: boolean): Answer {
  if (file.state === "read") {
    const isBtf = btfMagics.some(([first, second]) => file.bytes[0] === first && file.bytes[1] === second);
    return isBtf ? yes(`${file.path} is there`) : unknown(`${file.path}: no BTF magic at offset 0`);
  }
  if (file.state === "denied") return unknown(`${file.path} cannot be read (${file.errno})`);
  return sysfs
    ? no(`${file.path} is not there`, "a kernel built with CONFIG_DEBUG_INFO_BTF")
    : unknown("/sys is not mounted", MOUNT_SYSFS);
}

export interface KprobeSigns {
  readonly version: readonly [number, number, number];
  readonly lockdown: LockdownLevel | null;
  readonly config: LaterConfig;
  /** /sys/bus/event_source/devices/kprobe/type, there from Linux 4.17 on. */
  readonly pmuType: FileRead;
  /** /sys/kernel/debug/kprobes/enabled; null where it is not to be opened. */
  readonly enabled: FileRead | null;
  /** /proc/sys/kernel/ftrace_enabled. */
  readonly ftrace: FileRead;
  /** Some tracefs has a kprobe_events file. */
  readonly tracefsEvents: boolean;
  /** /sys/bus/event_source/devices can be seen. */
  readonly eventSources: boolean;
}

/** Whether kprobes can be attached here, and fire. */
export function kprobes(signs: KprobeSigns): Answer {
  const { pmuType } = signs;
  if (signs.lockdown === "confidentiality")
    return no("lockdown is confidentiality, which forbids kprobes (integrity does not)", UNLOCK);
  if (signs.enabled !== null && textOf(signs.enabled) === "0")
    return no(`${signs.enabled.path} is 0`, `echo 1 > ${signs.enabled.path}`);
  // A kprobe at a function's entry is one of ftrace (KPROBES_ON_FTRACE): armed while that is off it never fires, and
  // kernels up to 6.12 warn and lose all kprobes when it is turned on again (ftrace_shutdown).
  if (textOf(signs.ftrace) === "0")
    return no(`${signs.ftrace.path} is 0, and kprobes rest on ftrace`, "sysctl kernel.ftrace_enabled=1");
  if (pmuType.state !== "absent") return yes(`${pmuType.path} is there`);
  if (signs.tracefsEvents) return yes("tracefs has kprobe_events");
  // Where there are sources of events they have it as soon as they are built in (kernel/events/core.c, perf_tp_register).
  if (signs.eventSources && isAtLeast(signs.version, 4, 17))
    return no(`${pmuType.path} is not there`, builtWith("CONFIG_KPROBE_EVENTS"));
  const config = signs.config();
  if (config !== undefined) {
    const missing = missingOption(config, ["CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"]);
    return missing === undefined
      ? yes(`${config.path} has CONFIG_KPROBE_EVENTS`)
      : no(`${config.path} has no ${missing}`, builtWith(missing));
  }
  return unknown("no sign of kprobes either way: no /sys, no tracefs, no kernel config", MOUNT_SYSFS);
}

/** `readmes` are the README files at the usual mount points; every tracefs has one. */
export function tracefs(readmes: readonly FileRead[], mounts: string | undefined): Answer {
  for (const file of readmes) if (file.state === "read") return yes(`${file.path} can be read`);
  for (const file of readmes) {
    if (file.state === "denied") return no(`${file.path} cannot be read (${file.errno})`, AS_ROOT);
  }
  if (mounts === undefined) return unknown("/proc/self/mounts cannot be read");
  return isMounted(mounts, "tracefs")
    ? no("tracefs is mounted where this process cannot read it", AS_ROOT)
    : no("tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing");
}

/**
 * Whether this kernel has the eBPF that a guess is made with.
 *
 * @param setting /proc/sys/kernel/unprivileged_bpf_disabled, which Linux 4.4 and later have where bpf(2) is built in; of
 *   vendors' older kernels those that took eBPF over. To call bpf(2) would tell too, and filters kill for it.
 * @param release /proc/sys/kernel/osrelease: where that cannot be read either, nothing is known
 */
export function ebpf(setting: FileRead, release: FileRead): Answer {
  if (setting.state !== "absent") return yes(`${setting.path} is there`);
  return release.state === "read"
    ? no(
        `eBPF is too old on this kernel, or not built in: ${setting.path} is not there`,
        "Linux 4.17 or later, built with CONFIG_BPF_SYSCALL",
      )
    : unknown(`no sign of eBPF either way: ${release.path} cannot be read`);
}

export interface BpfSigns {
  readonly version: readonly [number, number, number];
  /** What {@link ebpf} says. */
  readonly ebpf: Answer;
  readonly status: ProcessStatus | undefined;
  readonly initialUserNamespace: boolean | undefined;
  /** The soft limit on locked memory, in bytes. */
  readonly lockedMemory: number | undefined;
}

/** Bytes of locked memory that the maps and programs of a guess take at most. */
const LOCKED_MEMORY = 2 << 20;

/** Whether this process may load tracing programs by bpf(2). */
export function bpf(signs: BpfSigns): Answer {
  const { version, status, initialUserNamespace, lockedMemory = Infinity } = signs;
  if (signs.ebpf.is === "no") return signs.ebpf;
  if (status === undefined) return unknown("/proc/self/status cannot be read");
  const has = (name: Capability): boolean => status.effective.includes(name);
  const isSplit = isAtLeast(version, 5, 8); // into these two, of CAP_SYS_ADMIN
  const missing = isSplit ? (["CAP_BPF", "CAP_PERFMON"] as const).filter((name) => !has(name)) : [];
  if (!has("CAP_SYS_ADMIN") && !(isSplit && missing.length === 0)) {
    return isSplit
      ? no(`needs ${missing.join(" and ")}, or CAP_SYS_ADMIN`, `${AS_ROOT}, or with ${missing.join(" and ")}`)
      : no("needs CAP_SYS_ADMIN", AS_ROOT);
  }
  if (initialUserNamespace === false) {
    return no(
      "this is not the initial user namespace: its capabilities do not reach bpf(2)",
      "run outside of the user namespace, as root of the host",
    );
  }
  // Since Linux 5.11 the memory of maps is charged to the cgroup, and RLIMIT_MEMLOCK does not matter.
  if (!isAtLeast(version, 5, 11) && !has("CAP_SYS_RESOURCE") && lockedMemory < LOCKED_MEMORY) {
    const need = `needs CAP_SYS_RESOURCE, or ${LOCKED_MEMORY >> 10} KiB`;
    const why = `the limit on locked memory (ulimit -l) is ${lockedMemory >> 10} KiB: ${need}`;
    return unknown(why, `ulimit -l ${LOCKED_MEMORY >> 10}`);
  }
  if (status.seccompFilter) {
    return unknown(
      "a seccomp filter is active and may refuse bpf(2)",
      "a seccomp profile that allows bpf(2)",
    );
  }
  return yes("this process has the capabilities");
}

/** Whether a program that this process loads may read the kernel's memory: each try where it may not is a line in the kernel's log. */
export const kernelReads = ({ lockdown, bpf }: Pick<RawTracepointSigns, "lockdown" | "bpf">): Answer =>
  lockdown === "confidentiality"
    ? no(
        "lockdown is confidentiality, which forbids reading kernel memory from eBPF (integrity does not)",
        UNLOCK,
      )
    : bpf;

export interface RawTracepointSigns {
  readonly version: readonly [number, number, number];
  readonly lockdown: LockdownLevel | null;
  readonly config: LaterConfig;
  readonly bpf: Answer;
  /** What {@link ebpf} says. */
  readonly ebpf: Answer;
  /** Perf has kprobes or uprobes (/sys/bus/event_source/devices), so CONFIG_PERF_EVENTS and CONFIG_KPROBE_EVENTS or CONFIG_UPROBE_EVENTS are. */
  readonly hasProbes: boolean;
}

/** Options without which no raw tracepoint program attaches. */
const rawTracepointOptions = ["CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS"];

/** Whether this process may load and attach a raw tracepoint program that reads kernel memory. */
export function rawTracepoints(signs: RawTracepointSigns): Answer {
  if (!isAtLeast(signs.version, 4, 17)) return no("raw tracepoints need Linux 4.17", "Linux 4.17 or later");
  if (signs.lockdown === "confidentiality") return kernelReads(signs);
  // CONFIG_BPF_EVENTS is nobody's choice: it is on where these and CONFIG_BPF_SYSCALL are (kernel/trace/Kconfig).
  const config = signs.ebpf.is === "yes" && signs.hasProbes ? undefined : signs.config();
  const missing = config === undefined ? undefined : missingOption(config, rawTracepointOptions);
  if (missing !== undefined) return no(`${config?.path} has no ${missing}`, builtWith(missing));
  return signs.bpf;
}

/** Rights with which the stimulus has network namespaces of its own. */
const namespaceRights = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"];

/** Network namespaces that a guess makes: it takes two to tell which pointer leads to a socket's own. */
const NAMESPACES_OF_A_GUESS = 2;

export interface NamespaceSigns {
  readonly privileges: readonly string[];
  /** /proc/sys/user/max_net_namespaces. */
  readonly limit: FileRead;
  /** Whether the kernel has no network namespaces at all (isWithoutNamespaces). */
  readonly isWithout: boolean;
}

/** Whether this process may make the network namespaces that a guess takes. */
export function networkNamespaces({ privileges, limit, isWithout }: NamespaceSigns): Answer {
  if (isWithout) return no(NO_NAMESPACES, builtWith("CONFIG_NET_NS"));
  const names = namespaceRights.filter((right) => !privileges.includes(right)).join(" and ");
  if (names !== "") return no(`needs ${names}`, `${AS_ROOT}, or with ${names}`);
  const most = textOf(limit);
  if (most !== undefined && Number(most) < NAMESPACES_OF_A_GUESS)
    return no(`${limit.path} is ${most}`, "sysctl user.max_net_namespaces=1024");
  return yes("this process has the capabilities");
}

/** True when /proc/self/mounts lists a file system of this type. */
const isMounted = (mounts: string, type: string): boolean =>
  mounts.split("\n").some((line) => line.split(" ")[2] === type);
