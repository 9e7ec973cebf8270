import type { Field, Shape } from "../../offsets/field.ts";
import type { Relation } from "../../offsets/solver.ts";
import type { WatchedStruct } from "./ladder.ts";

/** A constant of the running kernel: a byte offset from the start of the type that `member` names. */
export interface KernelField extends Field {
  /** The struct whose bytes hold it. Types that begin with one another (sock_common … tcp_sock) count as one. */
  readonly struct: WatchedStruct | "net";
  readonly shape: Shape;
}

const u8: Shape = { width: 1, align: 1 };
const u16: Shape = { width: 2, align: 2 };
const u32: Shape = { width: 4, align: 4 };
const pointer: Shape = { width: 8, align: 8 };
const in6Addr: Shape = { width: 16, align: 4 }; // struct in6_addr is a union whose widest member is __be32
const tuple: Shape = { width: 40, align: 4 }; // struct nf_conntrack_tuple: two of union nf_inet_addr and 4 bytes

const field = <Constant extends string, Member extends string>(
  struct: KernelField["struct"],
  constant: Constant,
  member: Member,
  shape: Shape,
) => ({ constant, member, struct, shape });

/**
 * Every offset, in the order it is published in.
 *
 * struct sock begins with struct sock_common, inet_sock with sock, and tcp_sock with inet_sock (through
 * inet_connection_sock), so all members of these count from the same address.
 */
export const kernelFields = [
  field("sock", "offset_family", "sock_common.skc_family", u16),
  field("sock", "offset_saddr", "sock_common.skc_rcv_saddr", u32),
  field("sock", "offset_daddr", "sock_common.skc_daddr", u32),
  field("sock", "offset_dport", "sock_common.skc_dport", u16),
  field("sock", "offset_sport", "inet_sock.inet_sport", u16),
  field("sock", "offset_daddr_ipv6", "sock_common.skc_v6_daddr", in6Addr),
  field("sock", "offset_netns", "sock_common.skc_net", pointer),
  field("net", "offset_ino", "net.ns.inum", u32),
  field("sock", "offset_rtt", "tcp_sock.srtt_us", u32),
  field("sock", "offset_rtt_var", "tcp_sock.mdev_us", u32),
  field("flowi4", "offset_saddr_fl4", "flowi4.saddr", u32),
  field("flowi4", "offset_daddr_fl4", "flowi4.daddr", u32),
  field("flowi4", "offset_sport_fl4", "flowi4.uli.ports.sport", u16),
  field("flowi4", "offset_dport_fl4", "flowi4.uli.ports.dport", u16),
  field("flowi6", "offset_saddr_fl6", "flowi6.saddr", in6Addr),
  field("flowi6", "offset_daddr_fl6", "flowi6.daddr", in6Addr),
  field("flowi6", "offset_sport_fl6", "flowi6.uli.ports.sport", u16),
  field("flowi6", "offset_dport_fl6", "flowi6.uli.ports.dport", u16),
  field("socket", "offset_socket_sk", "socket.sk", pointer),
  field("sk_buff", "offset_sk_buff_sock", "sk_buff.sk", pointer),
  field("sk_buff", "offset_sk_buff_transport_header", "sk_buff.transport_header", u16),
  field("sk_buff", "offset_sk_buff_head", "sk_buff.head", pointer),
  field("nf_conn", "offset_ct_origin", "nf_conn.tuplehash[0].tuple", tuple),
  field("nf_conn", "offset_ct_reply", "nf_conn.tuplehash[1].tuple", tuple),
  field("nf_conn", "offset_ct_netns", "nf_conn.ct_net", pointer),
  field("net", "offset_ct_ino", "net.ns.inum", u32),
  field("sock", "offset_num", "sock_common.skc_num", u16),
  field("sock", "offset_state", "sock_common.skc_state", u8),
  field("sock", "offset_saddr_ipv6", "sock_common.skc_v6_rcv_saddr", in6Addr),
  field("sock", "offset_sk_socket", "sock.sk_socket", pointer),
  field("sk_buff", "offset_sk_buff_network_header", "sk_buff.network_header", u16),
  field("sk_buff", "offset_sk_buff_mac_header", "sk_buff.mac_header", u16),
  field("sk_buff", "offset_sk_buff_data", "sk_buff.data", pointer),
  field("nf_conn", "offset_ct_status", "nf_conn.status", u32),
  field("socket", "offset_socket_file", "socket.file", pointer),
] as const satisfies readonly KernelField[];

export type KernelConstant = (typeof kernelFields)[number]["constant"];
/** `type.member` of a constant; several constants may name one. */
export type KernelMember = (typeof kernelFields)[number]["member"];

/** The row of a constant. @throws Error where there is none */
export function fieldOf(constant: KernelConstant): KernelField {
  const found = kernelFields.find((each) => each.constant === constant);
  if (found === undefined) throw new Error(`no row for ${constant}`);
  return found;
}

/** The fields of a struct that observations of it can solve. */
export const fieldsOf = (struct: WatchedStruct): KernelField[] =>
  kernelFields.filter((each) => each.struct === struct);

const relation =
  (kind: Relation["kind"]) =>
  (first: KernelConstant, second: KernelConstant, because: string): Relation => ({
    kind,
    first,
    second,
    because,
  });
const adjacent = relation("adjacent");
const before = relation("before");

const commonFirst = "sock_common is the first member of sock, and sock of inet_sock";
const inetFirst = "inet_sock is the first member of inet_connection_sock, and that of tcp_sock";

/**
 * What the declarations have said of these structs in every kernel since Linux 3.13: include/net/sock.h, inet_sock.h,
 * flow.h, netfilter/nf_conntrack.h and include/linux/{tcp,skbuff,net}.h.
 */
export const relations: Record<WatchedStruct, readonly Relation[]> = {
  sock: [
    adjacent("offset_daddr", "offset_saddr", "skc_addrpair of sock_common"),
    adjacent("offset_dport", "offset_num", "skc_portpair of sock_common"),
    adjacent("offset_daddr_ipv6", "offset_saddr_ipv6", "skc_v6_daddr and skc_v6_rcv_saddr of sock_common"),
    before("offset_family", "offset_sport", commonFirst),
    before("offset_saddr", "offset_sport", commonFirst),
    before("offset_num", "offset_sport", commonFirst),
    before("offset_state", "offset_sport", commonFirst),
    before("offset_saddr_ipv6", "offset_sport", commonFirst),
    before("offset_sk_socket", "offset_sport", commonFirst),
    before("offset_sport", "offset_rtt", inetFirst),
    before("offset_sport", "offset_rtt_var", inetFirst),
  ],
  socket: [adjacent("offset_socket_file", "offset_socket_sk", "file and sk of struct socket")],
  flowi4: [
    adjacent("offset_saddr_fl4", "offset_daddr_fl4", "(saddr,daddr) of flowi4 must be grouped"),
    adjacent("offset_daddr_fl4", "offset_dport_fl4", "daddr and uli of flowi4"),
    adjacent("offset_dport_fl4", "offset_sport_fl4", "ports of union flowi_uli"),
  ],
  flowi6: [
    adjacent("offset_daddr_fl6", "offset_saddr_fl6", "daddr and saddr of flowi6"),
    adjacent("offset_dport_fl6", "offset_sport_fl6", "ports of union flowi_uli"),
    before("offset_saddr_fl6", "offset_dport_fl6", "saddr and uli of flowi6"),
  ],
  sk_buff: [
    adjacent("offset_sk_buff_transport_header", "offset_sk_buff_network_header", "headers of sk_buff"),
    adjacent("offset_sk_buff_network_header", "offset_sk_buff_mac_header", "headers of sk_buff"),
    adjacent("offset_sk_buff_head", "offset_sk_buff_data", "head and data of sk_buff"),
    before("offset_sk_buff_mac_header", "offset_sk_buff_head", "tail, end, head, data end sk_buff"),
  ],
  nf_conn: [before("offset_ct_origin", "offset_ct_reply", "tuplehash[0] and [1] of nf_conn")],
};
