import type { Host } from "./host.ts";

/** Something that this host lacks. */
export interface Missing {
  readonly what: string;
  readonly why: string;
  /** What is not known without it. */
  readonly cost: string;
  /** The one command, capability or setting that would change it. */
  readonly help: string;
}

/** What a guess makes use of, each with what is not known where the host lacks it. */
const parts = [
  ["lockdown", "lockdown level", "only by trying is it known whether eBPF may read the kernel's memory"],
  ["bpf", "the right to load eBPF", "nothing is guessed; BTF alone tells of the kernel"],
  ["rawTracepoints", "raw tracepoints", "kprobes alone show the structs"],
  ["kprobes", "kprobes", "structs that no tracepoint shows, nf_conn above all"],
  ["btf", "BTF", "nothing confirms the guess"],
] as const;

/** What this host lacks and a command, capability or setting would bring. A cause that stands behind several is told once. */
export function missingHere(host: Host, withoutConntrack: string | null): readonly Missing[] {
  const rows: Missing[] = parts.flatMap(([part, what, cost]) => {
    const { why, help } = host[part];
    const isAnswered = "is" in host[part] ? host[part].is === "yes" : host[part].level !== null;
    return isAnswered || help === undefined ? [] : [{ what, why, cost, help }];
  });
  const { why, help } = host.networkNamespaces;
  if (host.bpf.is !== "no" && help !== undefined) {
    const cost = "IPv6, connection tracking, offset_netns and offset_ino";
    rows.push({ what: "private network namespaces", why, cost, help });
  }
  if (host.kprobes.is !== "no" && host.bpf.is !== "no" && withoutConntrack !== null) {
    const help = "modprobe nf_conntrack_netlink";
    rows.push({ what: "connection tracking", why: withoutConntrack, cost: "the members of nf_conn", help });
  }
  return rows.filter(({ why }, at) => rows.findIndex((row) => row.why === why) === at);
}
