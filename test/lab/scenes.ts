import { ALL, CONNTRACK, IPV6, type Unknown, withoutNamespaces } from "./constants.ts";

/** What a host that nobody tuned to us can be like: brought about in a guest, and undone again. */
export interface Scene {
  readonly name: string;
  /** The first Linux that can be brought to it. */
  readonly since?: Version;
  readonly modules?: readonly string[];
  /** Scripts of the shell, as root. */
  readonly prepare: string;
  /** Ends with 0 only where the scene is in force: asked after all that ran in it. */
  readonly proof: string;
  readonly undo: string;
  /** Where commands run: it comes before each. */
  readonly within?: string;
  /** How the guess is asked, without BTF, and what it does not know then: nothing else may be null. */
  readonly asks: Partial<Record<Ask, Unknown>>;
  /** What `verify kernel` ends with, where it is asked, and the kinds of sockets that it does not see. */
  readonly verify?: {
    readonly status: number;
    readonly unseen?: readonly string[];
    /** From this Linux on they are seen. */
    readonly until?: Version;
  };
}

export type Version = readonly [major: number, minor: number];

/** `shared`: where no network namespace may be made, so that the stimulus meets the settings of the host's own. */
export type Ask = "snapshot" | "stepwise" | "shared snapshot" | "shared stepwise";

type Staging = Pick<Scene, "prepare" | "proof" | "undo" | "within">;

/** Settings below /proc/sys. */
const sysctls = (values: Readonly<Record<string, string>>): Staging => settings("/proc/sys/", values);

/** Settings in files of a folder; what stood there is put back. */
function settings(folder: string, values: Readonly<Record<string, string>>): Staging {
  const files = Object.entries(values).map(([name, value], index) => ({
    file: `${folder}${name}`,
    value,
    kept: `/run/kept.${index}`,
  }));
  return {
    prepare: files
      .map(({ file, value, kept }) => `cat ${file} >${kept} && echo '${value}' >${file}`)
      .join(" && "),
    proof: files.map(({ file, value }) => `[ "$(tr '\\t' ' ' <${file})" = '${value}' ]`).join(" && "),
    undo: [...files.map(({ file, kept }) => `cat ${kept} >${file}`), "rm /run/kept.*"].join(" && "),
  };
}

const CGROUP = "/sys/fs/cgroup/scene";
const PINS = "/sys/fs/bpf/scene";
const LOAD = (object: string) =>
  `mkdir ${CGROUP} ${PINS} && bpftool prog loadall /opt/${object}.o ${PINS} pinmaps ${PINS}`;
const UNLOAD = `rm -r ${PINS} && rmdir ${CGROUP}`;
/** A shell's own process goes in, and back when it is over. */
const WITHIN = `echo $$ >${CGROUP}/cgroup.procs; trap 'echo $$ >/sys/fs/cgroup/cgroup.procs' EXIT; `;

/** Attaches or detaches programs, each at the hook of its name. */
const atHooks = (verb: "attach" | "detach", hooks: readonly string[]): string[] =>
  hooks.map((hook) => `bpftool cgroup ${verb} ${CGROUP} ${hook} pinned ${PINS}/${hook}`);

/** In a cgroup with programs of deny.bpf.c; the kernel counts how often they are run. */
function refused(...hooks: readonly string[]): Staging {
  return {
    prepare: ["echo 1 >/proc/sys/kernel/bpf_stats_enabled", LOAD("deny"), ...atHooks("attach", hooks)].join(
      " && ",
    ),
    proof: hooks
      .map((hook) => `bpftool prog show pinned ${PINS}/${hook} | grep -E 'run_cnt [1-9]'`)
      .join(" && "),
    undo: [...atHooks("detach", hooks), UNLOAD, "echo 0 >/proc/sys/kernel/bpf_stats_enabled"].join(" && "),
    within: WITHIN,
  };
}

/** Packets of loopback by iproute2's tools: those of busybox are of the same names. */
const TC = "/usr/sbin/tc";
const QUEUE = `${TC} qdisc add dev lo root`;
const QUEUED: Pick<Staging, "proof" | "undo"> = {
  proof: `${TC} -s qdisc show dev lo | grep netem && ${TC} -s qdisc show dev lo | grep -E 'Sent [1-9]'`,
  undo: `${TC} qdisc del dev lo root`,
};
const MINIMUM = sysctls({ "net/ipv4/tcp_rto_min_us": "1" });

/** Hooks of datagrams that name their destination. */
const UNCONNECTED = ["sendmsg4", "sendmsg6"];

const SILENT = /ETIMEDOUT; packets over loopback are dropped/;
export const LIMIT = /unshare\(CLONE_NEWNET\): ENOSPC; user.max_net_namespaces is reached/;
const NOTHING: Unknown = [];
/** A subflow's struct sock is not the one that the program's struct socket leads to. */
const OF_A_SUBFLOW: Unknown = [
  [/no place held the expected value/, ["offset_socket_sk"]],
  [/never observed/, ["offset_socket_file"]],
];
const EVERYTHING = (because: RegExp): Unknown => [[because, ALL]];
/** In its own namespaces as well as in the host's, nothing is lost. */
const OWN = { snapshot: NOTHING, stepwise: NOTHING } as const;
const SHARED = { "shared snapshot": NOTHING, "shared stepwise": NOTHING } as const;

/** What a family that is refused costs: the snapshot finds offset_family by a packet socket all the same. */
const REFUSED = /EPERM/;
const PROVED = { status: 0 };
const UNSEEN = (...unseen: readonly string[]) => ({ status: 3, unseen });
const withoutIpv4: Scene["asks"] = {
  snapshot: [
    [
      REFUSED,
      [
        ...["offset_saddr", "offset_daddr"],
        ...["offset_saddr_fl4", "offset_daddr_fl4", "offset_sport_fl4", "offset_dport_fl4"],
      ],
    ],
  ],
  stepwise: [[REFUSED, ["offset_saddr", "offset_daddr", "offset_family"]]],
};
const withoutIpv6: Scene["asks"] = {
  snapshot: [[REFUSED, IPV6]],
  stepwise: [[REFUSED, ["offset_saddr_ipv6", "offset_daddr_ipv6", "offset_family"]]],
};
/** All constants are proved by TCP; the tracepoint that shows UDP, sock_send_length, came with Linux 6.4. */
const WITHOUT_UDP = { status: 0, unseen: ["udp4", "udp6"], until: [6, 4] } as const;
/** Tracepoints serve, of which none shows conntrack. */
const WITHOUT_KPROBES = (because: RegExp): Scene["asks"] => ({
  snapshot: [[because, CONNTRACK]],
  stepwise: NOTHING,
});

export const scenes: readonly Scene[] = [
  { name: "nothing", prepare: "true", proof: "true", undo: "true", asks: SHARED },
  {
    // Each round trip takes longer than the one before, so that rttvar_us, and in the end mdev_max_us, are mdev_us.
    name: "a minimal timeout of 1 us, and netem that delays all but SYN",
    since: [6, 12],
    modules: ["sch_netem", "sch_prio", "cls_u32"],
    prepare: `${MINIMUM.prepare} &&
      ${QUEUE} handle 1: prio bands 3 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 &&
      ${TC} qdisc add dev lo parent 1:3 handle 30: netem delay 30ms &&
      ${TC} filter add dev lo parent 1: protocol ip u32 match u8 0 2 at 33 flowid 1:3`,
    proof: `${MINIMUM.proof} && ${QUEUED.proof}`,
    undo: `${QUEUED.undo} && ${MINIMUM.undo}`,
    asks: SHARED,
  },
  {
    name: "netem that takes longer than the minimal timeout",
    modules: ["sch_netem"],
    prepare: `${QUEUE} netem delay 150ms`,
    ...QUEUED,
    asks: SHARED,
  },
  {
    name: "nft drops everything",
    modules: ["nf_tables"],
    prepare:
      "nft 'add table inet scene; add chain inet scene out { type filter hook output priority 0; policy drop; }'",
    proof: "! ping -c 1 -W 1 127.0.0.1",
    undo: "nft delete table inet scene",
    asks: {
      snapshot: NOTHING,
      "shared snapshot": EVERYTHING(SILENT),
      "shared stepwise": EVERYTHING(SILENT),
    },
  },
  {
    name: "a cgroup drops every packet",
    ...refused("egress"),
    asks: { snapshot: EVERYTHING(SILENT), stepwise: EVERYTHING(SILENT) },
    verify: { status: 4 },
  },
  {
    name: "a cgroup refuses connect4",
    ...refused("connect4"),
    asks: withoutIpv4,
    verify: UNSEEN("tcp4", "udp4"),
  },
  {
    name: "a cgroup refuses connect6",
    ...refused("connect6"),
    asks: withoutIpv6,
    verify: UNSEEN("tcp6", "udp6"),
  },
  {
    name: "a cgroup refuses bind4",
    ...refused("bind4"),
    asks: { snapshot: withoutIpv4.snapshot ?? NOTHING },
    verify: UNSEEN("tcp4", "udp4"),
  },
  {
    name: "a cgroup refuses bind6",
    ...refused("bind6"),
    asks: { snapshot: withoutIpv6.snapshot ?? NOTHING },
    verify: UNSEEN("tcp6", "udp6"),
  },
  {
    // The hooks are of what names its destination, which nothing of ours does: they are never run.
    name: "a cgroup refuses UDP without a connection",
    ...refused(...UNCONNECTED),
    // What is not attached cannot be detached; Linux 5.10 does not list to this bpftool what is.
    proof: [...atHooks("detach", UNCONNECTED), ...atHooks("attach", UNCONNECTED)].join(" && "),
    asks: { snapshot: NOTHING },
    verify: PROVED,
  },
  {
    name: "ftrace off",
    ...sysctls({ "kernel/ftrace_enabled": "0" }),
    asks: WITHOUT_KPROBES(/kernel.ftrace_enabled/),
    verify: WITHOUT_UDP,
  },
  { name: "ftrace on again", ...sysctls({ "kernel/ftrace_enabled": "1" }), asks: { snapshot: NOTHING } },
  {
    name: "kprobes turned off",
    ...settings("/sys/kernel/debug/", { "kprobes/enabled": "0" }),
    asks: WITHOUT_KPROBES(/kprobes\/enabled/),
    verify: WITHOUT_UDP,
  },
  {
    name: "a full table of conntrack",
    ...sysctls({ "net/netfilter/nf_conntrack_max": "1" }),
    asks: { snapshot: [[/nf_conntrack_max is 1, too few/, CONNTRACK]] },
  },
  {
    name: "room for one network namespace",
    ...sysctls({ "user/max_net_namespaces": "1" }),
    asks: {
      snapshot: [...withoutNamespaces(LIMIT), [LIMIT, CONNTRACK]],
      stepwise: [
        [LIMIT, ["offset_family", "offset_netns", "offset_ino", "offset_daddr_ipv6", "offset_saddr_ipv6"]],
      ],
    },
  },
  {
    name: "four local ports",
    ...sysctls({ "net/ipv4/ip_local_port_range": "32768 32771" }),
    asks: SHARED,
  },
  {
    name: "little memory",
    prepare: `mkdir /run/hog && mount -t tmpfs -o size=100% hog /run/hog; i=0
      while [ $(awk '/MemAvailable/ { print $2 }' /proc/meminfo) -gt 131072 ]; do
        dd if=/dev/zero of=/run/hog/$i bs=1M count=8 2>/dev/null || exit 1; i=$((i + 1))
      done`,
    proof: "[ $(awk '/MemAvailable/ { print $2 }' /proc/meminfo) -le 147456 ]",
    undo: "umount /run/hog && rmdir /run/hog",
    asks: OWN,
    verify: PROVED,
  },
  ...["bbr", "dctcp"].map(
    (name): Scene => ({
      name,
      modules: [`tcp_${name}`],
      ...sysctls({ "net/ipv4/tcp_congestion_control": name }),
      asks: { snapshot: NOTHING }, // a new namespace takes the first one's
    }),
  ),
  { name: "ECN", ...sysctls({ "net/ipv4/tcp_ecn": "1" }), asks: { "shared snapshot": NOTHING } },
  {
    name: "no timestamps",
    ...sysctls({ "net/ipv4/tcp_timestamps": "0" }),
    asks: { "shared snapshot": NOTHING },
  },
  {
    name: "fast open",
    ...sysctls({ "net/ipv4/tcp_fastopen": "1027" }),
    asks: { "shared snapshot": NOTHING },
  },
  {
    name: "every TCP socket is one of MPTCP",
    since: [6, 6],
    prepare: `mkdir ${PINS} && bpftool prog loadall /opt/mptcp.o ${PINS} autoattach`,
    proof: "grep -E '^MPTcpExt: [0-9 ]*[1-9]' /proc/net/netstat",
    undo: `rm -r ${PINS}`,
    asks: { snapshot: OF_A_SUBFLOW, stepwise: NOTHING, "shared snapshot": OF_A_SUBFLOW },
    verify: PROVED,
  },
  {
    name: "a mesh hands messages from socket to socket",
    prepare: `${LOAD("mesh")} && bpftool cgroup attach ${CGROUP} sock_ops pinned ${PINS}/established &&
      bpftool prog attach pinned ${PINS}/redirect msg_verdict pinned ${PINS}/sockets`,
    proof: `bpftool map dump pinned ${PINS}/redirected | grep -E '"value": [1-9]'`,
    undo: `bpftool prog detach pinned ${PINS}/redirect msg_verdict pinned ${PINS}/sockets &&
      bpftool cgroup detach ${CGROUP} sock_ops pinned ${PINS}/established && ${UNLOAD}`,
    within: WITHIN,
    asks: OWN,
    verify: PROVED,
  },
  {
    name: "a hardened host",
    ...sysctls({
      "net/core/bpf_jit_harden": "2",
      "kernel/unprivileged_bpf_disabled": "2",
      "kernel/kptr_restrict": "2",
      "kernel/dmesg_restrict": "1",
      "kernel/perf_event_paranoid": "3",
      "kernel/yama/ptrace_scope": "2",
    }),
    asks: { snapshot: NOTHING },
    verify: PROVED,
  },
];
