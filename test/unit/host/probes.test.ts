import { describe, expect, test } from "bun:test";
import type { FileRead } from "../../../src/host/files.ts";
import { parseConfig } from "../../../src/host/kconfig.ts";
import {
  type BpfSigns,
  bpf,
  btf,
  type KprobeSigns,
  kprobes,
  lockdown,
  type NamespaceSigns,
  networkNamespaces,
  parseLockdown,
  type RawTracepointSigns,
  rawTracepoints,
  tracefs,
} from "../../../src/host/probes.ts";

const read = (path: string, content: string | readonly number[]): FileRead => ({
  state: "read",
  path,
  bytes: typeof content === "string" ? new TextEncoder().encode(content) : new Uint8Array(content),
});
const absent = (path: string): FileRead => ({ state: "absent", path, errno: "ENOENT" });
const denied = (path: string): FileRead => ({ state: "denied", path, errno: "EACCES" });
const config = (text: string) => () => ({ path: "/boot/config", options: parseConfig(text) });
const noConfig = () => undefined;

const mounts = "proc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\n";
const withSecurityfs = `${mounts}securityfs /sys/kernel/security securityfs rw 0 0\n`;
const withTracefs = `${mounts}tracefs /sys/kernel/tracing tracefs rw 0 0\n`;

describe("lockdown", () => {
  const path = "/sys/kernel/security/lockdown";

  test.each([
    ["[none] integrity confidentiality", "none"],
    ["none [integrity] confidentiality", "integrity"],
    ["none integrity [confidentiality]", "confidentiality"],
  ] as const)("the brackets of %p mean %p", (text, level) => {
    expect(parseLockdown(text)).toBe(level);
    expect(lockdown(read(path, `${text}\n`), undefined, noConfig).level).toBe(level);
  });

  test("without securityfs it could not be told", () => {
    expect(lockdown(absent(path), mounts, noConfig)).toEqual({
      level: null,
      why: expect.stringContaining("not mounted"),
      help: "mount -t securityfs securityfs /sys/kernel/security",
    });
  });

  test("securityfs without the file, or a kernel built without it, has none", () => {
    expect(lockdown(absent(path), withSecurityfs, noConfig).level).toBe("none");
    expect(lockdown(absent(path), mounts, config("CONFIG_BPF=y\n")).level).toBe("none");
    expect(lockdown(absent(path), mounts, config("CONFIG_SECURITY_LOCKDOWN_LSM=y\n")).level).toBeNull();
  });

  test("without securityfs the kernel's command line may tell", () => {
    const level = (line: string) => lockdown(absent(path), mounts, noConfig, line).level;
    expect(level("quiet lockdown=confidentiality panic=-1")).toBe("confidentiality");
    expect(level("lockdown=integrity\n")).toBe("integrity");
    expect(level("nolockdown=integrity lockdown=total")).toBeNull();
    expect(lockdown(absent(path), withSecurityfs, noConfig, "lockdown=integrity").level).toBe("none");
  });

  test("a word it does not know and a file it may not read could not be told", () => {
    expect(lockdown(read(path, "none [total]"), withSecurityfs, noConfig).level).toBeNull();
    expect(lockdown(denied(path), withSecurityfs, noConfig).level).toBeNull();
  });
});

describe("btf", () => {
  const path = "/sys/kernel/btf/vmlinux";

  test("either byte order of the magic number is yes", () => {
    expect(btf(read(path, [0x9f, 0xeb]), true).is).toBe("yes");
    expect(btf(read(path, [0xeb, 0x9f]), true).is).toBe("yes");
  });

  test("absent is no only where /sys can be seen", () => {
    expect(btf(absent(path), true).is).toBe("no");
    expect(btf(absent(path), false).is).toBe("unknown");
  });

  test("other bytes, an empty file and a refused read could not be told", () => {
    expect(btf(read(path, [0x7f, 0x45]), true).is).toBe("unknown");
    expect(btf(read(path, []), true).is).toBe("unknown");
    expect(btf(denied(path), true).is).toBe("unknown");
  });
});

describe("kprobes", () => {
  const nothing: KprobeSigns = {
    version: [6, 1, 170],
    lockdown: null,
    config: noConfig,
    pmuType: absent("/sys/bus/event_source/devices/kprobe/type"),
    enabled: absent("/sys/kernel/debug/kprobes/enabled"),
    ftrace: read("/proc/sys/kernel/ftrace_enabled", "1\n"),
    tracefsEvents: false,
    eventSources: false,
  };
  const rows: readonly [string, Partial<KprobeSigns>, "yes" | "no" | "unknown"][] = [
    ["no sign at all", {}, "unknown"],
    ["the PMU", { pmuType: read("type", "8\n") }, "yes"],
    ["event sources without the PMU", { eventSources: true }, "no"],
    ["the same before 4.17", { eventSources: true, version: [4, 9, 0] }, "unknown"],
    ["tracefs' kprobe_events", { tracefsEvents: true }, "yes"],
    [
      "event sources without the PMU, whatever the config says",
      { eventSources: true, config: config("CONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\n") },
      "no",
    ],
    ["a config with them", { config: config("CONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\n") }, "yes"],
    ["a config without them", { config: config("# CONFIG_KPROBES is not set\n") }, "no"],
    ["a config without the events", { config: config("CONFIG_KPROBES=y\n") }, "no"],
    ["switched off", { pmuType: read("type", "8"), enabled: read("enabled", "0\n") }, "no"],
    ["not looked at", { pmuType: read("type", "8"), enabled: null }, "yes"],
    [
      "ftrace is off",
      { pmuType: read("type", "8"), ftrace: read("/proc/sys/kernel/ftrace_enabled", "0\n") },
      "no",
    ],
    ["lockdown", { pmuType: read("type", "8"), lockdown: "confidentiality" }, "no"],
    ["integrity allows them", { pmuType: read("type", "8"), lockdown: "integrity" }, "yes"],
  ];

  test.each(rows)("%s", (_, signs, is) => {
    expect(kprobes({ ...nothing, ...signs }).is).toBe(is);
  });
});

describe("tracefs", () => {
  test("can be read: yes; refused or not mounted: no; mounts that cannot be read: could not be told", () => {
    expect(tracefs([absent("a"), read("b", "tracing mini-HOWTO")], mounts).is).toBe("yes");
    expect(tracefs([denied("a"), absent("b")], withTracefs)).toEqual({
      is: "no",
      why: expect.stringContaining("EACCES"),
      help: "run as root",
    });
    expect(tracefs([absent("a")], mounts)).toEqual({
      is: "no",
      why: "tracefs is not mounted",
      help: "mount -t tracefs tracefs /sys/kernel/tracing",
    });
    expect(tracefs([absent("a")], undefined).is).toBe("unknown");
  });
});

describe("bpf", () => {
  const root: BpfSigns = {
    version: [5, 10, 0],
    ebpf: { is: "yes", why: "" },
    status: { effective: ["CAP_SYS_ADMIN"], seccompFilter: false },
    initialUserNamespace: true,
    lockedMemory: Number.POSITIVE_INFINITY,
  };
  const status = { effective: ["CAP_SYS_ADMIN"], seccompFilter: false };
  const rows: readonly [string, Partial<BpfSigns>, "yes" | "no" | "unknown"][] = [
    ["CAP_SYS_ADMIN", {}, "yes"],
    ["the two new ones", { status: { effective: ["CAP_PERFMON", "CAP_BPF"], seccompFilter: false } }, "yes"],
    ["one of them", { status: { effective: ["CAP_BPF"], seccompFilter: false } }, "no"],
    ["an ordinary user", { status: { effective: [], seccompFilter: false } }, "no"],
    ["a user namespace's root", { initialUserNamespace: false }, "no"],
    ["a seccomp filter", { status: { effective: ["CAP_SYS_ADMIN"], seccompFilter: true } }, "unknown"],
    ["little locked memory", { lockedMemory: 65_536 }, "unknown"],
    ["little locked memory that does not count", { lockedMemory: 65_536, version: [5, 11, 0] }, "yes"],
    [
      "little locked memory that can be raised",
      { lockedMemory: 65_536, status: { ...status, effective: ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"] } },
      "yes",
    ],
    ["no /proc", { status: undefined }, "unknown"],
    ["a kernel without eBPF", { ebpf: { is: "no", why: "" } }, "no"],
  ];

  test.each(rows)("%s", (_, signs, is) => {
    expect(bpf({ ...root, ...signs }).is).toBe(is);
  });

  test("names what is missing, as the kernel has it", () => {
    const some = { effective: ["CAP_BPF"], seccompFilter: false };
    const none = { effective: [], seccompFilter: false };
    expect(bpf({ ...root, status: some }).why).toBe("needs CAP_PERFMON, or CAP_SYS_ADMIN");
    expect(bpf({ ...root, status: none }).why).toBe("needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN");
    expect(bpf({ ...root, status: none, version: [5, 7, 0] }).why).toBe("needs CAP_SYS_ADMIN");
  });
});

describe("raw tracepoints", () => {
  const able = { is: "yes", why: "" } as const;
  const fit: RawTracepointSigns = {
    version: [5, 10, 0],
    lockdown: "none",
    config: noConfig,
    bpf: able,
    ebpf: able,
    hasProbes: false,
  };
  const rows: readonly [string, Partial<RawTracepointSigns>, "yes" | "no" | "unknown"][] = [
    ["all that is needed", {}, "yes"],
    ["no right to load programs", { bpf: { is: "no", why: "" } }, "no"],
    ["an old kernel", { version: [4, 16, 0] }, "no"],
    ["lockdown", { lockdown: "confidentiality" }, "no"],
    ["a kernel without eBPF events", { config: config("CONFIG_BPF_SYSCALL=y\n") }, "no"],
    [
      "the same with probes for perf",
      { config: config("CONFIG_BPF_SYSCALL=y\n"), ebpf: { is: "no", why: "" }, hasProbes: true },
      "no",
    ],
  ];

  test.each(rows)("%s", (_, signs, is) => {
    expect(rawTracepoints({ ...fit, ...signs }).is).toBe(is);
  });

  test("where eBPF and probes for perf are, no config is needed", () => {
    const config = () => {
      throw new Error("read");
    };
    expect(rawTracepoints({ ...fit, config, hasProbes: true }).is).toBe("yes");
  });
});

describe("network namespaces of our own", () => {
  const fit: NamespaceSigns = {
    privileges: ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"],
    limit: read("/proc/sys/user/max_net_namespaces", "63432\n"),
    isWithout: false,
  };
  const rows: readonly [string, Partial<NamespaceSigns>, "yes" | "no", help: string | undefined][] = [
    ["all that is needed", {}, "yes", undefined],
    ["a right is missing", { privileges: ["CAP_SYS_ADMIN"] }, "no", "run as root, or with CAP_NET_ADMIN"],
    [
      "none may be made",
      { limit: read("/proc/sys/user/max_net_namespaces", "0\n") },
      "no",
      "sysctl user.max_net_namespaces=1024",
    ],
    ["the kernel has none", { isWithout: true }, "no", "a kernel built with CONFIG_NET_NS"],
  ];

  test.each(rows)("%s", (_, signs, is, help) => {
    expect(networkNamespaces({ ...fit, ...signs })).toMatchObject({
      is,
      ...(help !== undefined && { help }),
    });
  });
});
