import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import * as v from "valibot";
import { Btf, kinds } from "../../src/btf/btf.ts";
import { btfOf } from "../../src/btf/encode.ts";
import { parseLockedMemory, parseStatus } from "../../src/host/capabilities.ts";
import type { HostFiles } from "../../src/host/files.ts";
import { hostReport, probeHost } from "../../src/host/host.ts";
import { kernelIdentity } from "../../src/host/identity.ts";
import { parseConfig, readConfig } from "../../src/host/kconfig.ts";
import { parseLockdown } from "../../src/host/probes.ts";
import { kernelFields } from "../../src/kernel/fields/fields.ts";
import { memberOffset } from "../../src/kernel/fields/type-information.ts";
import { kernelSymbols, splitNames } from "../../src/kernel/running/kallsyms.ts";
import { btfTypes } from "../../src/kernel/synthetic/numbering.ts";
import { placeMembers } from "../../src/kernel/synthetic/place.ts";
import { uapi } from "../../src/kernel/synthetic/uapi.ts";
import { hostSchema } from "../../src/output/document.ts";
import { identityNamed } from "../../src/tls/identify/version-text.ts";
import { truthOf } from "../lab/truth.ts";
import { type Input, inputName, type Opened, same, type Target, unlessRefused, Wrong } from "./target.ts";

/** Types that lead to each other as no compiler writes them, and structs of every kernel's members. */
function btfSamples(): readonly Buffer[] {
  const { structs } = placeMembers((constant) => ({
    value: 8 * kernelFields.findIndex((row) => row.constant === constant),
  }));
  const made = btfOf(btfTypes([...structs, ...uapi("x64", [7, 2, 0])]));
  const member = (name: string, type: number, offset: number) => ({
    name,
    type,
    bitOffset: offset * 8,
    bitSize: null,
  });
  const alias = btfOf([
    { kind: "int", name: "int", size: 4, encoding: 0 },
    { kind: "typedef", name: "alias", of: 1 },
    { kind: "array", of: 2, index: 1, count: 4 },
    { kind: "union", name: "", size: 16, members: [member("skc_daddr", 3, 0)] },
    {
      kind: "struct",
      name: "sock_common",
      size: 32,
      members: [member("", 4, 0), member("skc_family", 2, 16)],
    },
  ]);
  return [Buffer.from(made), Buffer.from(alias)];
}

const members = [...new Set(kernelFields.map(({ member }) => member as string)), "sock_common.skc_daddr[2]"];

export const btf: Target = {
  name: "btf",
  what: "BTF of kernels and modules, and the ways to members",
  share: 60,
  compared: 300,
  open: async (folder): Promise<Opened> => {
    const path = join(folder, "btf");
    return {
      samples: btfSamples().map((bytes) => ({ bytes, hot: [[0, 24]] })),
      read: async ({ bytes, isCompared }: Input) => {
        const btf = new Btf(bytes, { path: inputName });
        unlessRefused(() => btf.names([kinds.struct, kinds.typedef]));
        unlessRefused(() => btf.enumerated("TCP_ESTABLISHED"));
        unlessRefused(() => new Btf(bytes, { path: inputName, base: btf }).named("sock", [kinds.struct]));
        const offsetOf = (member: string): number | null => {
          const offset = unlessRefused(() => memberOffset(btf, member));
          return typeof offset === "number" ? offset : null;
        };
        const told = new Map(members.map((member) => [member, offsetOf(member)]));
        if (isCompared) {
          writeFileSync(path, bytes);
          const truth = await truthOf(path, members).catch(() => null); // it is no reader of damaged types
          for (const [member, offset] of told)
            if (truth !== null && offset !== null) same(member, offset, truth.get(member));
        }
        return [...told.values()].some((offset) => offset !== null);
      },
    };
  },
};

const kallsyms = `0000000000000000 T tcp_sendmsg\n0000000000000000 t ip_make_skb.constprop.0\n0000000000000000 t ip_make_skb.isra.0\n0000000000000000 D __tracepoint_sys_enter\n0000000000000000 T __ctnetlink_new_conntrack\t[nf_conntrack_netlink]\n`;
const config =
  '#\n# Linux\n#\nCONFIG_KPROBES=y\nCONFIG_BPF=y\nCONFIG_NAME="x=y"\n# CONFIG_OFF is not set\nCONFIG_BTF=m\n';
const status = "Name:\tbash\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";
const limits =
  "Limit Soft Hard Units\nMax locked memory         8388608              8388608              bytes\n";
const version =
  "Linux version 6.1.0-47-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-03-01)\n";

export const host: Target = {
  name: "host",
  what: "texts of the kernel: its options, symbols, version, lockdown, a process's status and limits",
  share: 170,
  open: async (): Promise<Opened> => ({
    samples: [
      kallsyms,
      config,
      gzipSync(config),
      status,
      limits,
      version,
      "6.1.0-47-cloud-amd64\n",
      "none [integrity] confidentiality\n",
    ].map((text) => ({ bytes: Buffer.from(text) })),
    read: ({ bytes }) => {
      const text = bytes.toString();
      for (const name of splitNames(text, "ip_make_skb"))
        if (!text.includes(` ${name}`)) throw new Wrong(`a name that is not there: ${name}`);
      kernelSymbols(text).hasFunction("tcp_sendmsg");
      kernelSymbols(text).hasTracepoint("sys_enter");
      for (const [name, value] of parseConfig(text))
        if (!text.includes(`${name}=${value}`)) throw new Wrong(`an option that is not there: ${name}`);
      const files: HostFiles = { read: (path) => ({ state: "read", path, bytes }), exists: () => true };
      readConfig(files, "6.1");
      const report = unlessRefused(() => hostReport(probeHost(files)));
      if (report !== null) v.parse(hostSchema, report.report);
      unlessRefused(() => identityNamed(text));
      for (const name of parseStatus(text).effective)
        if (!/^CAP_\w+$/.test(name)) throw new Wrong(`a capability ${name}`);
      const memory = parseLockedMemory(text) ?? 0;
      if (Number.isNaN(memory) || memory < 0) throw new Wrong(`locked memory ${memory}`);
      parseLockdown(text);
      const identity = unlessRefused(() =>
        kernelIdentity({ release: text, machine: "x86_64", version: text, signature: text }),
      );
      if (identity?.version.some((part) => !Number.isSafeInteger(part) || part < 0) === true)
        throw new Wrong(`version ${identity.version}`);
      return identity !== null;
    },
  }),
};
