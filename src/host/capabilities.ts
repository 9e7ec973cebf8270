/** Capability names by bit, as in linux/capability.h: the only list of them in this program. */
const capabilityNames = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;

export type Capability = (typeof capabilityNames)[number];

/** Names of the bits set in a capability mask, lowest first; a bit newer than the list is `CAP_<number>`. */
export function capabilitiesOf(mask: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((mask >> BigInt(bit)) & 1n) names.push(capabilityNames[bit] ?? `CAP_${bit}`);
  }
  return names;
}

/** What /proc/self/status says of this process. */
export interface ProcessStatus {
  /** Names of the effective capabilities. */
  readonly effective: readonly string[];
  /** Whether a seccomp filter is in force, which may refuse system calls whatever the capabilities say. */
  readonly seccompFilter: boolean;
}

/** Reads `CapEff:` (hexadecimal mask) and `Seccomp:` (2: filter) from /proc/self/status. */
export function parseStatus(text: string): ProcessStatus {
  const field = (name: string): string | undefined => new RegExp(`^${name}:\\s*(\\w+)$`, "m").exec(text)?.[1];
  const mask = field("CapEff");
  const isHex = mask !== undefined && /^[0-9a-f]{1,16}$/i.test(mask);
  return {
    effective: isHex ? capabilitiesOf(BigInt(`0x${mask}`)) : [],
    seccompFilter: field("Seccomp") === "2",
  };
}

/** True when /proc/self/uid_map maps every id to itself: only there do capabilities reach the kernel's own objects. */
export const isInitialUserNamespace = (uidMap: string): boolean => /^\s*0\s+0\s+4294967295$/.test(uidMap);

/** The soft limit on locked memory that /proc/self/limits tells, in bytes; Infinity for `unlimited`. */
export function parseLockedMemory(limits: string): number | undefined {
  const soft = /^Max locked memory\s+(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}
