import type { Field, Shape } from "../offsets/field.ts";
import type { Relation } from "../offsets/solver.ts";

/** A constant of the running kernel. The offset counts from the start of the type that `member` names. */
export interface KernelField extends Field {
  readonly shape: Shape;
}

const u8: Shape = { width: 1, align: 1 };
const u16: Shape = { width: 2, align: 2 };
const u32: Shape = { width: 4, align: 4 };
const pointer: Shape = { width: 8, align: 8 };
const in6Addr: Shape = { width: 16, align: 4 }; // struct in6_addr is a union whose widest member is __be32

/**
 * Every constant, in the order it is published in.
 *
 * struct sock begins with struct sock_common, inet_sock with sock, and tcp_sock with inet_sock (through
 * inet_connection_sock), so all members of these count from the same address.
 */
export const kernelFields = [
  { constant: "offset_family", member: "sock_common.skc_family", shape: u16 },
  { constant: "offset_saddr", member: "sock_common.skc_rcv_saddr", shape: u32 },
  { constant: "offset_daddr", member: "sock_common.skc_daddr", shape: u32 },
  { constant: "offset_dport", member: "sock_common.skc_dport", shape: u16 },
  { constant: "offset_sport", member: "inet_sock.inet_sport", shape: u16 },
  { constant: "offset_daddr_ipv6", member: "sock_common.skc_v6_daddr", shape: in6Addr },
  { constant: "offset_netns", member: "sock_common.skc_net", shape: pointer },
  { constant: "offset_ino", member: "net.ns.inum", shape: u32 },
  { constant: "offset_rtt", member: "tcp_sock.srtt_us", shape: u32 },
  { constant: "offset_rtt_var", member: "tcp_sock.mdev_us", shape: u32 },
  { constant: "offset_num", member: "sock_common.skc_num", shape: u16 },
  { constant: "offset_state", member: "sock_common.skc_state", shape: u8 },
  { constant: "offset_saddr_ipv6", member: "sock_common.skc_v6_rcv_saddr", shape: in6Addr },
] as const satisfies readonly KernelField[];

export type KernelConstant = (typeof kernelFields)[number]["constant"];

/** The inode number of a network namespace: in struct net, to which a socket only points. */
export const inoField = kernelFields[7] satisfies { constant: "offset_ino" };

/** The fields whose values are in the bytes of a socket. */
export const sockFields = kernelFields.filter(
  ({ constant }) => constant !== "offset_netns" && constant !== "offset_ino",
);

const adjacent = (first: KernelConstant, second: KernelConstant, because: string): Relation => ({
  kind: "adjacent",
  first,
  second,
  because,
});
const before = (first: KernelConstant, second: KernelConstant, because: string): Relation => ({
  kind: "before",
  first,
  second,
  because,
});

const commonFirst = "sock_common is the first member of sock, and sock of inet_sock";
const inetFirst = "inet_sock is the first member of inet_connection_sock, and that of tcp_sock";

/** What include/net/sock.h, inet_sock.h and linux/tcp.h have said of these structs since Linux 3.13. */
export const sockRelations: readonly Relation[] = [
  adjacent("offset_daddr", "offset_saddr", "skc_addrpair of sock_common"),
  adjacent("offset_dport", "offset_num", "skc_portpair of sock_common"),
  adjacent("offset_daddr_ipv6", "offset_saddr_ipv6", "skc_v6_daddr and skc_v6_rcv_saddr of sock_common"),
  before("offset_family", "offset_sport", commonFirst),
  before("offset_saddr", "offset_sport", commonFirst),
  before("offset_num", "offset_sport", commonFirst),
  before("offset_state", "offset_sport", commonFirst),
  before("offset_saddr_ipv6", "offset_sport", commonFirst),
  before("offset_sport", "offset_rtt", inetFirst),
  before("offset_sport", "offset_rtt_var", inetFirst),
];
