import { host } from "../../offsets/values.ts";
import { type KnownStruct, known, leads, type Row, struct, type Thing, value } from "./row.ts";
import { to, u32 } from "./typedefs.ts";

/** A namespace, by the inode number of its file below /proc/PID/ns. */
export interface NamespaceFacts {
  readonly inum: number;
  /** The loopback interface, for a network namespace. */
  readonly loopback: Thing;
}

const namespace = (
  name: string,
  limit: number,
  rows: Readonly<Record<string, Row<NamespaceFacts>>> = {},
): KnownStruct<NamespaceFacts> =>
  struct<NamespaceFacts>(name, limit, ["ns.inum"], {
    "ns.inum": value(u32, ({ inum }) => known(inum, (it) => host(4, it))),
    ...rows,
  });

/** By the names of their files; the limits are two to three times what they were seen to have. */
export const namespaces = {
  uts: namespace("uts_namespace", 1024),
  ipc: namespace("ipc_namespace", 2048),
  mnt: namespace("mnt_namespace", 512),
  pid: namespace("pid_namespace", 1024),
  net: namespace("net", 16384, { loopback_dev: leads(to("net_device"), ({ loopback }) => loopback) }),
  time: namespace("time_namespace", 512),
  cgroup: namespace("cgroup_namespace", 256),
  user: namespace("user_namespace", 1024),
} as const;
export type NamespaceKind = keyof typeof namespaces;

/** What is known of struct nsproxy. */
export type NsproxyFacts = Readonly<Record<NamespaceKind | "pid_for_children" | "time_for_children", Thing>>;

/** include/linux/nsproxy.h: a count and up to eight pointers. Behind it lie others, of dead namespaces whose numbers are given again. */
export const nsproxy = struct<NsproxyFacts>("nsproxy", 80, ["uts_ns", "ipc_ns"], {
  uts_ns: leads(to("uts_namespace"), ({ uts }) => uts),
  ipc_ns: leads(to("ipc_namespace"), ({ ipc }) => ipc),
  mnt_ns: leads(to("mnt_namespace"), ({ mnt }) => mnt),
  pid_ns_for_children: leads(to("pid_namespace"), (facts) => facts.pid_for_children),
  net_ns: leads(to("net"), ({ net }) => net),
  time_ns: { ...leads(to("time_namespace"), ({ time }) => time), since: [5, 6] },
  time_ns_for_children: {
    ...leads(to("time_namespace"), (facts) => facts.time_for_children),
    since: [5, 6],
  },
  cgroup_ns: leads(to("cgroup_namespace"), ({ cgroup }) => cgroup),
});
