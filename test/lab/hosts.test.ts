import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { type Document, documentSchema } from "../../src/output/document.ts";
import { buildConfine, CAP } from "../confine.ts";
import { jsonOf } from "../schema.ts";
import { ALL, CONNTRACK, IPV6, NAMESPACE, type Unknown, withoutNamespaces } from "./constants.ts";
import { executableFor } from "./executable.ts";
import {
  asNobody,
  bootGuest,
  type CommandResult,
  guestTimeout,
  HIDE_BTF,
  LOG,
  NO_STALLS,
  text,
} from "./guest.ts";
import { ARCHITECTURES, chosenKernels, type LabKernel, type LoadedKernel, loadKernel } from "./kernels.ts";
import { truthOf } from "./truth.ts";

const ASK = "/opt/offsetof kernel --format json";
const confined = (...options: string[]) => `/opt/confine ${options.join(" ")} ${ASK}`;
/** Kernels before 5.11 charge maps to this limit, and 64 KiB are too little for any guess. */
const UNLIMITED = "ulimit -l unlimited";

/** What typed reads reach. */
const TYPED = [
  ...["offset_family", "offset_saddr", "offset_daddr", "offset_dport", "offset_sport", "offset_num"],
  ...["offset_state", "offset_saddr_ipv6", "offset_daddr_ipv6", "offset_rtt", "offset_rtt_var", ...NAMESPACE],
];

/** Which rung shows struct sock: it decides what the others are. */
const SOCK_RUNG = {
  kprobe: "kprobe:tcp_getsockopt",
  raw_tp: "raw_tp:inet_sock_set_state",
  tp_btf: "tp_btf:inet_sock_set_state",
} as const;

/** What a host lets us know when it is asked this way. */
interface Case {
  readonly name: string;
  readonly command: string;
  /** The kind of the best rung that holds; none: there is no guess. */
  readonly rung: keyof typeof SOCK_RUNG | "none";
  /** Constants that stay null, by what their reason must say. */
  readonly unknown: Unknown;
  /** A diagnostic beside those of the host itself. */
  readonly diagnostic?: readonly [code: string, message: RegExp];
}

const NO_MODULE: Case["unknown"][number] = [/module nf_conntrack is not loaded \(modprobe/, CONNTRACK];
const NO_SYS_ADMIN = /unshare\(CLONE_NEWNET\): EPERM; needs CAP_SYS_ADMIN/;
const TRIO = `-c ${CAP.netAdmin},${CAP.perfmon},${CAP.bpf}`;

const LITTLE_MEMORY: Case = {
  name: "little locked memory",
  command: confined(TRIO),
  rung: "none",
  unknown: [[/EPERM; the limit on locked memory \(ulimit -l\) is 64 KiB/, ALL]],
  diagnostic: ["E_NO_GUESS", /limit on locked memory/],
};

/** Hosts that are poor in one thing each; every one begins with no tracefs, no BTF and no module of conntrack. */
const poorHosts = ({ name }: LabKernel): readonly Case[] => [
  { name: "nothing mounted, no module", command: ASK, rung: "kprobe", unknown: [NO_MODULE] },
  {
    name: "an ordinary user",
    command: asNobody(ASK),
    rung: "none",
    unknown: [[/needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN/, ALL]],
    diagnostic: ["E_NO_GUESS", /^needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN$/],
  },
  {
    name: "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; the distribution asks CAP_SYS_ADMIN for kprobes",
    command: `${UNLIMITED}; ${confined(TRIO)}`,
    rung: "raw_tp",
    unknown: [...withoutNamespaces(NO_SYS_ADMIN), NO_MODULE],
    diagnostic: ["W_GUESS_LIMITED", /current network namespace.* needs CAP_SYS_ADMIN/],
  },
  {
    name: "the same as an ordinary user",
    command: `${UNLIMITED}; ${confined("-u 65534", TRIO)}`,
    rung: "raw_tp",
    unknown: [...withoutNamespaces(NO_SYS_ADMIN), NO_MODULE],
    diagnostic: ["W_GUESS_LIMITED", /current network namespace.* needs CAP_SYS_ADMIN/],
  },
  {
    name: "the same where perf events are open",
    command: `${UNLIMITED}; echo 2 >/proc/sys/kernel/perf_event_paranoid; ${confined(TRIO)}; status=$?
      echo 3 >/proc/sys/kernel/perf_event_paranoid; exit $status`,
    rung: "kprobe",
    unknown: [...withoutNamespaces(NO_SYS_ADMIN), NO_MODULE],
    diagnostic: ["W_GUESS_LIMITED", /current network namespace.* needs CAP_SYS_ADMIN/],
  },
  {
    name: "CAP_SYS_ADMIN without CAP_NET_ADMIN",
    command: `${UNLIMITED}; ${confined(`-c ${CAP.sysAdmin}`)}`,
    rung: "kprobe",
    unknown: [...withoutNamespaces(/set link 1 up: EPERM; needs CAP_NET_ADMIN/), NO_MODULE],
    diagnostic: ["W_GUESS_LIMITED", /current network namespace.* needs CAP_NET_ADMIN/],
  },
  ...(name.startsWith("5.10") ? [LITTLE_MEMORY] : []),
  {
    name: "a seccomp filter that refuses bpf(2)",
    command: confined("-d"),
    rung: "none",
    unknown: [[/EPERM; a seccomp filter is active and may refuse bpf\(2\)/, ALL]],
    diagnostic: ["E_NO_GUESS", /seccomp filter/],
  },
  {
    name: "a container's namespaces",
    command: `unshare -p -m -n -u -i --fork sh -c 'mount -t proc proc /proc; ${ASK}'`,
    rung: "kprobe",
    unknown: [NO_MODULE],
  },
  {
    name: "root of a user namespace alone",
    command: `unshare -U -r -n -p --fork ${ASK}`,
    rung: "none",
    unknown: [[/not the initial user namespace/, ALL]],
    diagnostic: ["E_NO_GUESS", /not the initial user namespace/],
  },
  ...[0, 1].map(
    (inherit): Case => ({
      name: `IPv6 switched off by sysctl, devconf_inherit_init_net=${inherit}`,
      command: `cd /proc/sys/net; echo 1 | tee ipv6/conf/all/disable_ipv6 >ipv6/conf/default/disable_ipv6
      echo ${inherit} >core/devconf_inherit_init_net; ${ASK}; status=$?
      echo 0 | tee ipv6/conf/all/disable_ipv6 ipv6/conf/default/disable_ipv6 >core/devconf_inherit_init_net; exit $status`,
      rung: "kprobe",
      unknown: [NO_MODULE],
    }),
  ),
  {
    name: "kprobes turned off",
    // Where lockdown is not known to be none, debugfs is not looked into.
    command: `mount -t debugfs none /sys/kernel/debug; echo 0 >/sys/kernel/debug/kprobes/enabled
      mount -t securityfs none /sys/kernel/security; ${ASK}; status=$?; umount /sys/kernel/security
      ! grep tracefs /proc/mounts >&2 && exit $status`,
    rung: "raw_tp",
    unknown: [[/kprobes\/enabled is 0/, CONNTRACK]],
  },
  {
    name: "kprobes turned off where nobody can see it",
    command: `umount /sys/kernel/debug; ${ASK}`,
    rung: "raw_tp",
    unknown: [[/tcp_getsockopt is attached, but never ran/, CONNTRACK]],
    diagnostic: ["W_RUNG", /^kprobe: kprobe:tcp_getsockopt is attached, but never ran/],
  },
  {
    name: "unprivileged_bpf_disabled=2, as root",
    command: `mount -t debugfs none /sys/kernel/debug; echo 1 >/sys/kernel/debug/kprobes/enabled; umount /sys/kernel/debug
      echo 2 >/proc/sys/kernel/unprivileged_bpf_disabled; ${ASK}`,
    rung: "kprobe",
    unknown: [NO_MODULE],
  },
  {
    name: "unprivileged_bpf_disabled=2, as an ordinary user",
    command: asNobody(ASK),
    rung: "none",
    unknown: [[/needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN/, ALL]],
    diagnostic: ["E_NO_GUESS", /CAP_BPF/],
  },
];

/** The trio of capabilities, where kprobes are open to it. */
const SHARED = `${UNLIMITED}; echo 2 >/proc/sys/kernel/perf_event_paranoid; ${confined(TRIO)}`;
const COUNT = "cat /proc/sys/net/netfilter/nf_conntrack_count";
const UNLOAD = "rmmod nf_conntrack_netlink";
const MODULES = "cut -d' ' -f1 /proc/modules";

/** What must be the same before and after. */
const STATE = "cat /proc/modules /proc/mounts; tail -n +2 /proc/net/tcp; ls -A /tmp /run /dev/shm 2>&1";

const documentOf = ({ stdout, stderr }: CommandResult): Document => {
  expect(text(stderr)).toBe("");
  return v.parse(documentSchema, jsonOf("document", text(stdout)));
};

/** The truth on all fields, from the kernel's own BTF by another reader. */
async function truthIn(kernel: LoadedKernel): Promise<ReadonlyMap<string, number | null>> {
  const members = await truthOf(
    kernel.btf,
    kernelFields.map(({ member }) => member),
  );
  return new Map(kernelFields.map(({ constant, member }) => [constant, members.get(member) ?? null]));
}

function expectKnown(document: Document, truth: ReadonlyMap<string, number | null>, expected: Case): void {
  const { kernel, diagnostics } = document;
  const unknown = new Map(expected.unknown.flatMap(([why, names]) => names.map((name) => [name, why])));
  const attached = kernel?.attached ?? [];
  if (expected.rung === "none") expect(attached).toEqual([]);
  else expect(attached).toContain(SOCK_RUNG[expected.rung]);
  if (expected.rung === "raw_tp") expect(attached.filter((each) => !each.startsWith("raw_tp:"))).toEqual([]);
  for (const [constant, value] of truth) {
    const field = kernel?.fields[constant];
    const because = unknown.get(constant);
    const shown = { constant, value: field?.value, reason: field?.reason };
    if (because === undefined) expect(shown).toEqual({ constant, value, reason: undefined });
    else expect(shown).toEqual({ constant, value: null, reason: expect.stringMatching(because) });
  }
  const [code, message] = expected.diagnostic ?? [];
  const told = diagnostics.filter((each) => !/^W_(\w+)_UNKNOWN$/.test(each.code));
  expect(told).toEqual(code === undefined ? [] : [{ code, message: expect.stringMatching(message ?? "") }]);
}

for (const row of chosenKernels(ARCHITECTURES, ["amd64"])) {
  describe(row.name, () => {
    test(
      "poor hosts: what can be known is true, the rest is null with the reason",
      async () => {
        const kernel = await loadKernel(row);
        const truth = await truthIn(kernel);
        const cases = poorHosts(row);
        const { results } = await bootGuest({
          kernel,
          commands: [HIDE_BTF, STATE, LOG, ...cases.map(({ command }) => command), STATE, LOG],
          files: {
            "/opt/offsetof": { from: await executableFor(row.architecture) },
            "/opt/confine": { from: await buildConfine(row.architecture) },
          },
          append: [NO_STALLS],
        });
        const [, state, log, ...rest] = results.map(({ stdout }) => text(stdout));
        expect(state).not.toContain("tracefs");
        const failures = cases.flatMap((expected, index) => {
          const result = results[index + 3];
          if (result === undefined) throw new Error(`${expected.name} did not run`);
          try {
            expect(result.status).toBe(3);
            expectKnown(documentOf(result), truth, expected);
            return [];
          } catch (error) {
            return [`${expected.name}: ${Bun.stripANSI(String(error))}`];
          }
        });
        expect(failures.join("\n\n")).toBe("");
        expect(rest.slice(-2).join()).toBe([state, log].join());
      },
      guestTimeout,
    );

    test(
      "lockdown=confidentiality: BTF answers, and typed reads confirm struct sock",
      async () => {
        const kernel = await loadKernel(row);
        const truth = await truthIn(kernel);
        const { results } = await bootGuest({
          kernel,
          commands: [
            ...[LOG, ASK, "umount /sys/kernel/security", ASK, LOG],
            ...["mount -o bind /dev/null /proc/cmdline", ASK, HIDE_BTF, ASK, LOG],
          ],
          files: { "/opt/offsetof": { from: await executableFor(row.architecture) } },
          mounts: ["securityfs"],
          append: ["lockdown=confidentiality", NO_STALLS],
        });
        const [log, told, , toldByCommandLine, sameLog, , untold, , hidden, lastLog] = results;
        const locked = /lockdown is confidentiality/;
        const refused = /as lockdown=confidentiality does/;
        for (const [result, level, why] of [
          [told, "confidentiality", locked],
          [toldByCommandLine, "confidentiality", locked],
          [untold, null, refused],
        ] as const) {
          if (result === undefined) throw new Error("a command did not run");
          expect(result.status).toBe(3);
          const document = documentOf(result);
          expect(document.host.lockdown).toBe(level);
          const diagnostic = ["E_NO_GUESS", why] as const;
          const about = { name: "lockdown", command: ASK, rung: "tp_btf", unknown: [], diagnostic } as const;
          expectKnown(document, truth, about);
          for (const constant of ALL) {
            const [value, isTyped] = [truth.get(constant), TYPED.includes(constant)];
            const evidence = isTyped ? { guess: [value], btf: [value] } : { btf: [value] };
            const status = isTyped ? "confirmed" : "single";
            expect(document.kernel?.fields[constant]).toMatchObject({ status, evidence });
          }
        }
        if (hidden === undefined) throw new Error("a command did not run");
        expectKnown(documentOf(hidden), truth, {
          name: "lockdown without BTF",
          command: ASK,
          rung: "none",
          unknown: [[refused, ALL]],
          diagnostic: ["E_NO_GUESS", refused],
        });
        const linesOf = (result: CommandResult | undefined) =>
          text(result?.stdout ?? new Uint8Array()).split("\n");
        expect(linesOf(sameLog)).toEqual(linesOf(log));
        // Where nothing tells of lockdown, it shows by being refused, which the kernel itself notes.
        const news = linesOf(lastLog).slice(linesOf(log).length - 1, -1);
        expect(news.filter((line) => !/ Lockdown: offsetof: |callbacks suppressed/.test(line))).toEqual([]);
      },
      guestTimeout,
    );

    test(
      "ipv6.disable=1: all but IPv6's own is known, and conntrack where it may be",
      async () => {
        const kernel = await loadKernel(row);
        const truth = await truthIn(kernel);
        const { results } = await bootGuest({
          kernel,
          commands: [LOG, ASK, HIDE_BTF, ASK, ASK, ASK, SHARED, COUNT, UNLOAD, MODULES, ASK, MODULES, LOG],
          files: {
            "/opt/offsetof": { from: await executableFor(row.architecture) },
            "/opt/confine": { from: await buildConfine(row.architecture) },
          },
          modules: ["nf_conntrack_netlink"],
          append: ["ipv6.disable=1", NO_STALLS],
        });
        const about = { name: "no IPv6", command: ASK, rung: "kprobe" } as const;
        const isOff = /IPv6 is off on this host/;
        const withoutIpv6 = [isOff, IPV6] as const;
        const shown = results.slice(1, 2);
        const hidden = results.slice(3, 6);
        for (const { status } of shown) expect(status).toBe(0);
        for (const { status } of hidden) expect(status).toBe(3);
        for (const result of shown) expectKnown(documentOf(result), truth, { ...about, unknown: [] });
        for (const result of hidden) {
          const document = documentOf(result);
          expectKnown(document, truth, { ...about, unknown: [withoutIpv6] });
          expect(document.kernel?.constants).toMatchObject({ tcpv6_enabled: 0, udpv6_enabled: 0 });
        }
        const [inShared, count, , modules, unloaded, sameModules] = results.slice(6);
        if (inShared === undefined || unloaded === undefined) throw new Error("a command did not run");
        expectKnown(documentOf(inShared), truth, {
          ...about,
          // Not even with that capability would there be any.
          unknown: [
            [NO_SYS_ADMIN, [...NAMESPACE, ...CONNTRACK]],
            [isOff, [...IPV6, "offset_family"]],
          ],
          diagnostic: ["W_GUESS_LIMITED", NO_SYS_ADMIN],
        });
        expect(text(count?.stdout ?? new Uint8Array())).toBe("0\n"); // no entry in a table that is not ours
        const noCtnetlink = [/module nf_conntrack_netlink is not loaded \(modprobe/, CONNTRACK] as const;
        expectKnown(documentOf(unloaded), truth, { ...about, unknown: [withoutIpv6, noCtnetlink] });
        expect(text(modules?.stdout ?? new Uint8Array())).not.toContain("nf_conntrack_netlink");
        expect(sameModules?.stdout).toEqual(modules?.stdout ?? new Uint8Array());
        expect(results.at(-1)?.stdout).toEqual(results[0]?.stdout ?? new Uint8Array());
      },
      guestTimeout,
    );
  });
}
