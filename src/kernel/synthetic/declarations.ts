import type { KernelMember } from "../fields/fields.ts";
import { array, at, type CType, pointer, struct, typedef, u8, u16, u32, u64, ulong, union } from "./ctype.ts";

/** include/uapi/linux/in6.h and in.h. */
export const in6Addr = struct(
  "in6_addr",
  16,
  at(
    0,
    "in6_u",
    union("", 16, { u6_addr8: array(u8, 16), u6_addr16: array(u16, 8), u6_addr32: array(u32, 4) }),
  ),
);
export const inAddr = struct("in_addr", 4, at(0, "s_addr", u32));

/** include/net/net_namespace.h. */
export const possibleNet = typedef("possible_net_t", struct("", 8, at(0, "net", pointer("net"))));

/** include/uapi/linux/netfilter.h. */
const inetAddr = union("nf_inet_addr", 16, {
  all: array(u32, 4),
  ip: u32,
  ip6: array(u32, 4),
  in: inAddr,
  in6: in6Addr,
});

const port = struct("", 2, at(0, "port", u16));
const protocols = { all: u16, tcp: port, udp: port, dccp: port, sctp: port };

/** include/net/netfilter/nf_conntrack_tuple.h. The guess finds a tuple by all its bytes, so they are known to lie so. */
export const tuple = struct(
  "nf_conntrack_tuple",
  40,
  at(
    0,
    "src",
    struct(
      "nf_conntrack_man",
      20,
      at(0, "u3", inetAddr),
      at(16, "u", union("nf_conntrack_man_proto", 2, protocols)),
      at(18, "l3num", u16),
    ),
  ),
  at(
    20,
    "dst",
    struct(
      "",
      20,
      at(0, "u3", inetAddr),
      at(16, "u", union("", 2, protocols)),
      at(18, "protonum", u8),
      at(19, "dir", u8),
    ),
  ),
);

/** The type that each member is declared with. */
export const memberTypes: Readonly<Record<KernelMember, CType>> = {
  "sock_common.skc_family": u16,
  "sock_common.skc_rcv_saddr": u32,
  "sock_common.skc_daddr": u32,
  "sock_common.skc_dport": u16,
  "inet_sock.inet_sport": u16,
  "sock_common.skc_v6_daddr": in6Addr,
  "sock_common.skc_net": possibleNet,
  "net.ns.inum": u32,
  "tcp_sock.srtt_us": u32,
  "tcp_sock.mdev_us": u32,
  "flowi4.saddr": u32,
  "flowi4.daddr": u32,
  "flowi4.uli.ports.sport": u16,
  "flowi4.uli.ports.dport": u16,
  "flowi6.saddr": in6Addr,
  "flowi6.daddr": in6Addr,
  "flowi6.uli.ports.sport": u16,
  "flowi6.uli.ports.dport": u16,
  "socket.sk": pointer("sock"),
  "sk_buff.sk": pointer("sock"),
  "sk_buff.transport_header": u16,
  "sk_buff.head": pointer("unsigned char"),
  "nf_conn.tuplehash[0].tuple": tuple,
  "nf_conn.tuplehash[1].tuple": tuple,
  "nf_conn.ct_net": possibleNet,
  "sock_common.skc_num": u16,
  "sock_common.skc_state": u8,
  "sock_common.skc_v6_rcv_saddr": in6Addr,
  "sock.sk_socket": pointer("socket"),
  "sk_buff.network_header": u16,
  "sk_buff.mac_header": u16,
  "sk_buff.data": pointer("unsigned char"),
  "nf_conn.status": ulong,
  "socket.file": pointer("file"),
};

/**
 * Two members of one size that lie side by side, with a third name for both of them in a union: include/net/sock.h. That third one is not
 * measured: it is there where the two lie side by side.
 */
export interface Pair {
  readonly name: string;
  readonly type: CType;
  readonly first: KernelMember;
  readonly second: KernelMember;
}

export const pairs: readonly Pair[] = [
  {
    name: "skc_addrpair",
    type: u64,
    first: "sock_common.skc_daddr",
    second: "sock_common.skc_rcv_saddr",
  },
  {
    name: "skc_portpair",
    type: u32,
    first: "sock_common.skc_dport",
    second: "sock_common.skc_num",
  },
];

/** A struct that can be told, and what it begins with. */
export interface Declared {
  readonly name: string;
  readonly base?: { readonly member: string; readonly struct: string };
}

const within = (name: string, member: string, base: string): Declared => ({
  name,
  base: { member, struct: base },
});

/** Every struct, a base before what begins with it: include/net/sock.h, inet_sock.h, inet_connection_sock.h, linux/tcp.h. */
export const declared: readonly Declared[] = [
  { name: "sock_common" },
  within("sock", "__sk_common", "sock_common"),
  within("inet_sock", "sk", "sock"),
  within("inet_connection_sock", "icsk_inet", "inet_sock"),
  within("tcp_sock", "inet_conn", "inet_connection_sock"),
  { name: "socket" },
  { name: "sk_buff" },
  { name: "net" },
  { name: "flowi4" },
  { name: "flowi6" },
  { name: "nf_conn" },
];
