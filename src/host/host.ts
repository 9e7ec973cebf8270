import { machine as unameMachine, release as unameRelease } from "node:os";
import type { HostReport } from "../output/document.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { type Answer, triState } from "./answer.ts";
import { isInitialUserNamespace, parseLockedMemory, parseStatus } from "./capabilities.ts";
import { type HostFiles, hostFiles, textOf } from "./files.ts";
import { type KernelIdentity, kernelIdentity } from "./identity.ts";
import { type KernelConfig, readConfig } from "./kconfig.ts";
import {
  bpf,
  btf,
  ebpf,
  kernelReads,
  kprobes,
  type LockdownAnswer,
  lockdown,
  networkNamespaces,
  rawTracepoints,
  tracefs,
} from "./probes.ts";

/** What this host is and allows, each answer with its reason. */
export interface Host {
  readonly kernel: KernelIdentity;
  readonly lockdown: LockdownAnswer;
  readonly btf: Answer;
  readonly kprobes: Answer;
  readonly tracefs: Answer;
  /** Whether the kernel has eBPF. */
  readonly ebpf: Answer;
  /** Whether this process may load tracing programs; lockdown and the kernel's own limits aside. */
  readonly bpf: Answer;
  /** Whether these may read the kernel's memory. */
  readonly kernelReads: Answer;
  readonly rawTracepoints: Answer;
  /** Whether this process may make network namespaces of its own. */
  readonly networkNamespaces: Answer;
  /** Names of the effective capabilities of this process. */
  readonly privileges: readonly string[];
}

/** Where tracefs is mounted by custom; the second is its automount inside debugfs. */
const tracefsFolders = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] as const;

/** The folders of tracefs that may be looked into. Looking into the second one would mount it, so it is left out until it is. */
export const visibleTracefs = (mounts: string | undefined): string[] => {
  const [own, automount] = tracefsFolders;
  return mounts?.includes(` ${automount} tracefs `) ? [own, automount] : [own];
};

/**
 * Looks at the host. Reads only; mounts and loads nothing.
 * @throws when not even the kernel's release can be read.
 */
export function probeHost(files: HostFiles = hostFiles()): Host {
  const text = (path: string): string | undefined => textOf(files.read(path));
  const release = files.read("/proc/sys/kernel/osrelease");
  const kernel = kernelIdentity({
    release: textOf(release) ?? unameRelease(),
    // The runtime says arm64 where uname -m says aarch64.
    machine: unameMachine().replace(/^arm64$/, "aarch64"),
    version: text("/proc/version"),
    signature: text("/proc/version_signature"),
  });
  const { version } = kernel;
  let read: { readonly config: KernelConfig | undefined } | undefined;
  const config = (): KernelConfig | undefined => {
    read ??= { config: readConfig(files, kernel.release) };
    return read.config;
  };
  const mounts = text("/proc/self/mounts");
  const locked = lockdown(files.read("/sys/kernel/security/lockdown"), mounts, config, text("/proc/cmdline"));
  const statusText = text("/proc/self/status");
  const status = statusText === undefined ? undefined : parseStatus(statusText);
  const uidMap = text("/proc/self/uid_map");
  const limits = text("/proc/self/limits");
  const hasEbpf = ebpf(files.read("/proc/sys/kernel/unprivileged_bpf_disabled"), release);
  const mayLoad = bpf({
    version,
    ebpf: hasEbpf,
    status,
    initialUserNamespace: uidMap === undefined ? undefined : isInitialUserNamespace(uidMap),
    lockedMemory: limits === undefined ? undefined : parseLockedMemory(limits),
  });
  const pmuType = files.read("/sys/bus/event_source/devices/kprobe/type");
  return {
    kernel,
    lockdown: locked,
    btf: btf(files.read("/sys/kernel/btf/vmlinux", 2), files.exists("/sys/kernel")),
    kprobes: kprobes({
      version,
      lockdown: locked.level,
      config,
      pmuType,
      // debugfs is restricted from lockdown=integrity on, and to open it all the same is a line in the kernel's log.
      enabled: locked.level === "none" ? files.read("/sys/kernel/debug/kprobes/enabled") : null,
      ftrace: files.read("/proc/sys/kernel/ftrace_enabled"),
      tracefsEvents: visibleTracefs(mounts).some((folder) => files.exists(`${folder}/kprobe_events`)),
      eventSources: files.exists("/sys/bus/event_source/devices"),
    }),
    tracefs: tracefs(
      visibleTracefs(mounts).map((folder) => files.read(`${folder}/README`)),
      mounts,
    ),
    ebpf: hasEbpf,
    bpf: mayLoad,
    kernelReads: kernelReads({ lockdown: locked.level, bpf: mayLoad }),
    rawTracepoints: rawTracepoints({
      version,
      lockdown: locked.level,
      config,
      bpf: mayLoad,
      ebpf: hasEbpf,
      hasProbes: pmuType.state !== "absent" || files.exists("/sys/bus/event_source/devices/uprobe/type"),
    }),
    networkNamespaces: networkNamespaces({
      privileges: status?.effective ?? [],
      limit: files.read("/proc/sys/user/max_net_namespaces"),
      isWithout: files.exists("/proc/self/ns") && !files.exists("/proc/self/ns/net"),
    }),
    privileges: status?.effective ?? [],
  };
}

/** The host as the document shows it; what could not be told is null there and a diagnostic says why. */
export function hostReport(host: Host): { report: HostReport; diagnostics: Diagnostic[] } {
  const { kernel } = host;
  const untold: readonly (readonly [code: string, isUntold: boolean, why: string])[] = [
    ["W_DISTRO_UNKNOWN", kernel.distro === null, "/proc/version names no builder this program knows"],
    ["W_LOCKDOWN_UNKNOWN", host.lockdown.level === null, host.lockdown.why],
    ["W_BTF_UNKNOWN", host.btf.is === "unknown", host.btf.why],
    ["W_KPROBES_UNKNOWN", host.kprobes.is === "unknown", host.kprobes.why],
    ["W_RAW_TRACEPOINTS_UNKNOWN", host.rawTracepoints.is === "unknown", host.rawTracepoints.why],
    ["W_TRACEFS_UNKNOWN", host.tracefs.is === "unknown", host.tracefs.why],
  ];
  return {
    report: {
      kernel: { ...kernel, version: [...kernel.version] },
      lockdown: host.lockdown.level,
      btf: triState(host.btf),
      kprobes: triState(host.kprobes),
      raw_tracepoints: triState(host.rawTracepoints),
      tracefs: triState(host.tracefs),
      privileges: [...host.privileges],
    },
    diagnostics: untold.flatMap(([code, isUntold, why]) => (isUntold ? [{ code, message: why }] : [])),
  };
}
