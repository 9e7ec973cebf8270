import type { KernelConstant } from "../fields.ts";
import {
  array,
  at,
  type Composite,
  type CType,
  pointer,
  struct,
  typedef,
  u8,
  u16,
  u32,
  ulong,
  union,
} from "./ctype.ts";

/** include/uapi/linux/in6.h and in.h. */
const in6Addr = struct(
  "in6_addr",
  16,
  at(
    0,
    "in6_u",
    union("", 16, { u6_addr8: array(u8, 16), u6_addr16: array(u16, 8), u6_addr32: array(u32, 4) }),
  ),
);
const inAddr = struct("in_addr", 4, at(0, "s_addr", u32));

/** include/net/net_namespace.h. */
const possibleNet = typedef("possible_net_t", struct("", 8, at(0, "net", pointer("net"))));

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

/** What each constant's member is declared as. */
export const memberTypes: Readonly<Record<KernelConstant, CType>> = {
  offset_family: u16,
  offset_saddr: u32,
  offset_daddr: u32,
  offset_dport: u16,
  offset_sport: u16,
  offset_daddr_ipv6: in6Addr,
  offset_netns: possibleNet,
  offset_ino: u32,
  offset_rtt: u32,
  offset_rtt_var: u32,
  offset_saddr_fl4: u32,
  offset_daddr_fl4: u32,
  offset_sport_fl4: u16,
  offset_dport_fl4: u16,
  offset_saddr_fl6: in6Addr,
  offset_daddr_fl6: in6Addr,
  offset_sport_fl6: u16,
  offset_dport_fl6: u16,
  offset_socket_sk: pointer("sock"),
  offset_sk_buff_sock: pointer("sock"),
  offset_sk_buff_transport_header: u16,
  offset_sk_buff_head: pointer("unsigned char"),
  offset_ct_origin: tuple,
  offset_ct_reply: tuple,
  offset_ct_netns: possibleNet,
  offset_ct_ino: u32,
  offset_num: u16,
  offset_state: u8,
  offset_saddr_ipv6: in6Addr,
  offset_sk_socket: pointer("socket"),
  offset_sk_buff_network_header: u16,
  offset_sk_buff_mac_header: u16,
  offset_sk_buff_data: pointer("unsigned char"),
  offset_ct_status: ulong,
  offset_socket_file: pointer("file"),
};

const armRegisters = [
  at(0, "regs", array(ulong, 31)),
  at(248, "sp", ulong),
  at(256, "pc", ulong),
  at(264, "pstate", ulong),
];

/**
 * The registers that kprobes see, by which programs read a function's arguments: arch/x86/include/asm/ptrace.h, and
 * arch/arm64/include/uapi/asm/ptrace.h, whose struct that of the kernel begins with. No kernel may move them.
 */
export const registers: Readonly<Record<"x64" | "arm64", readonly Composite[]>> = {
  x64: [
    struct(
      "pt_regs",
      21 * 8,
      ...[
        ...["r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"],
        ...["orig_ax", "ip", "cs", "flags", "sp", "ss"],
      ].map((name, index) => at(index * 8, name, ulong)),
    ),
  ],
  arm64: [struct("user_pt_regs", 34 * 8, ...armRegisters), struct("pt_regs", 34 * 8, ...armRegisters)],
};

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
