import type { Expectation } from "../../offsets/observation.ts";
import { host, masked, raw } from "../../offsets/values.ts";
import { sizeOf } from "../synthetic/ctype.ts";
import { in6Addr } from "../synthetic/declarations.ts";
import { text } from "./file.ts";
import { ended, known, leads, struct, type Thing, value } from "./row.ts";
import { atomic, atomic64, kuid, protoName, s16, s32, to, u8, u16, u32, u64, ulong } from "./typedefs.ts";

const one = (fact: number | undefined): Expectation | undefined => known(fact, (it) => host(1, it));
const two = (fact: number | undefined): Expectation | undefined => known(fact, (it) => host(2, it));
const four = (fact: number | undefined): Expectation | undefined => known(fact, (it) => host(4, it));
const eight = (fact: bigint | undefined): Expectation | undefined => known(fact, (it) => host(8, it));

/** What is known of struct proto_ops: of which family its functions are. */
export const protoOps = struct<{ readonly family: number }>("proto_ops", 64, ["family"], {
  family: value(s32, ({ family }) => four(family)),
});

/** What is known of a cache of the kernel's allocator: /proc/slabinfo, /sys/kernel/slab. */
export interface CacheFacts {
  readonly name: string;
  /** Bytes of an object, with what the allocator adds to it, and without. */
  readonly size: number;
  readonly objectSize: number;
}

/** include/linux/slub_def.h, since Linux 6.8 mm/slab.h; without the pointers of each node, which it ends with. */
export const kmemCache = struct<CacheFacts>(
  "kmem_cache",
  384,
  ["name", "size"],
  {
    name: leads(to("char"), ({ name }) => known(name, (it) => text.of({ text: ended(it) }))),
    size: value(u32, ({ size }) => four(size)),
    object_size: value(u32, ({ objectSize }) => four(objectSize)),
  },
  {
    relations: [
      {
        kind: "adjacent",
        first: "size",
        second: "object_size",
        because: "kmem_cache of SLUB, which alone tells of both, declares object_size behind size",
      },
    ],
  },
);

/** What is known of a protocol. */
export interface ProtoFacts {
  readonly name: string;
  readonly slab: Thing;
}

/** include/net/sock.h. */
export const proto = struct<ProtoFacts>("proto", 1024, ["name"], {
  name: value(protoName, ({ name }) =>
    known(name, (it) =>
      raw(Uint8Array.of(...ended(it), ...new Uint8Array(sizeOf(protoName) - it.length - 1))),
    ),
  ),
  slab: leads(to("kmem_cache"), ({ slab }) => slab),
});

/** What is known of a socket as a file has it. */
export interface SocketFacts {
  readonly type: number;
  /** SS_UNCONNECTED and so on of include/uapi/linux/net.h. */
  readonly state: number;
  /** Which of SOCK_PASSCRED, SOCK_SUPPORT_ZC and so on are known, and those of them that it has. */
  readonly flags: { readonly known: number; readonly set: number };
  readonly sock: Thing;
  readonly file: Thing;
  readonly ops: Thing;
}

/** include/linux/net.h. Behind it lies the inode of its file. */
export const socket = struct<SocketFacts>("socket", 256, ["type", "sk"], {
  state: value(u32, ({ state }) => four(state)),
  type: value(s16, ({ type }) => two(type)),
  flags: value(ulong, ({ flags }) => known(flags, (it) => masked(8, it.set, it.known))),
  file: { ...leads(to("file"), ({ file }) => file), isNamed: true },
  sk: { ...leads(to("sock"), ({ sock }) => sock), isNamed: true },
  ops: leads(to("proto_ops"), ({ ops }) => ops),
});

/** What is known of struct ipv6_pinfo. */
export interface Ipv6Facts {
  readonly saddr: Uint8Array;
  readonly trafficClass: number;
  readonly minHops: number;
}

/** include/linux/ipv6.h; it lies behind the rest of its sock. */
export const ipv6Pinfo = struct<Ipv6Facts>("ipv6_pinfo", 160, ["saddr"], {
  saddr: value(in6Addr, ({ saddr }) => known(saddr, raw)),
  tclass: value(u8, ({ trafficClass }) => one(trafficClass)),
  min_hopcount: value(u8, ({ minHops }) => one(minHops)),
});

/** What is known of struct unix_address: the address as bind(2) had it, AF_UNIX and the name. */
export const unixAddress = struct<{ readonly address: Uint8Array }>("unix_address", 160, ["name"], {
  len: value(s32, ({ address }) => four(address?.length)),
  name: { ...value(u16, ({ address }) => known(address, raw)), align: 4 },
});

/** Bit-fields that lie together, under names of ours. */
export const [REUSE, INET_BITS] = ["skc_reuse, skc_reuseport, skc_ipv6only", "recverr, freebind and so on"];

/** What getsockopt(2) tells of a sock, and what it was made with. */
export interface SockFacts {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
  readonly cookie: bigint;
  readonly reuse: number;
  readonly reusePort: number;
  readonly ipv6Only: number;
  readonly boundTo: number;
  readonly incomingCpu: number;
  readonly mark: number;
  readonly priority: number;
  readonly sendBuffer: number;
  readonly receiveBuffer: number;
  readonly lowMark: number;
  readonly peekOffset: number;
  readonly pacing: bigint;
  readonly uid: number;
  readonly error: number;
  /** 1: it receives no more, 2: it sends no more, 3: neither. */
  readonly shut: number;
  readonly backlog: number;
  readonly mostBacklog: number;
  /** Bytes by SO_MEMINFO: those that were received, those that are to be sent, and those that it may still have. */
  readonly received: number;
  readonly queued: number;
  readonly forward: number;
  /** What waits for its reader. */
  readonly queue: readonly Thing[];
  readonly socket: Thing;
  readonly network: Thing;
  readonly proto: Thing;
}

/** include/net/sock.h: what every sock begins with. */
export const sockCommon = struct<SockFacts>("sock_common", 256, [], {
  skc_net: { ...leads(to("net"), ({ network }) => network), isNamed: true },
  skc_family: { ...value(u16, ({ family }) => two(family)), isNamed: true },
  // With skc_net_refcnt and a bit that nobody has they are a byte.
  [REUSE]: {
    ...value(u8, ({ reuse, reusePort = 0, ipv6Only = 0 }) =>
      known(reuse, (it) => masked(1, it | (reusePort << 4) | (ipv6Only << 5), 0x3f)),
    ),
    isNamed: true,
  },
  skc_bound_dev_if: value(s32, ({ boundTo }) => four(boundTo)),
  skc_prot: leads(to("proto"), ({ proto }) => proto),
  skc_cookie: value(atomic64, ({ cookie }) => eight(cookie)),
  skc_incoming_cpu: value(s32, ({ incomingCpu }) => four(incomingCpu)),
});

/** include/net/sock.h; 0.7 to 1.1 KiB. */
export const sock = struct<SockFacts>("sock", 1536, ["sk_sndbuf", "sk_rcvbuf", "sk_type"], {
  sk_socket: { ...leads(to("socket"), ({ socket }) => socket), isNamed: true },
  sk_type: value(u16, ({ type }) => two(type)),
  sk_protocol: value(u16, ({ protocol }) => two(protocol)),
  sk_mark: value(u32, ({ mark }) => four(mark)),
  sk_priority: value(u32, ({ priority }) => four(priority)),
  sk_sndbuf: value(s32, ({ sendBuffer }) => four(sendBuffer)),
  sk_rcvbuf: value(s32, ({ receiveBuffer }) => four(receiveBuffer)),
  sk_rcvlowat: value(s32, ({ lowMark }) => four(lowMark)),
  sk_peek_off: value(s32, ({ peekOffset }) => four(peekOffset)),
  sk_max_pacing_rate: value(ulong, ({ pacing }) => eight(pacing)),
  sk_uid: value(kuid, ({ uid }) => four(uid)),
  sk_err: value(s32, ({ error }) => four(error)),
  sk_shutdown: value(u8, ({ shut }) => one(shut)),
  sk_ack_backlog: value(u32, ({ backlog }) => four(backlog)),
  sk_max_ack_backlog: value(u32, ({ mostBacklog }) => four(mostBacklog)),
  "sk_receive_queue.next": { ...leads(to("sk_buff"), ({ queue }) => queue?.[0]), isNamed: true },
  "sk_receive_queue.prev": { ...leads(to("sk_buff"), ({ queue }) => queue?.at(-1)), isNamed: true },
  "sk_receive_queue.qlen": { ...value(u32, ({ queue }) => four(queue?.length)), isNamed: true },
  "sk_backlog.rmem_alloc": value(atomic, ({ received }) => four(received)),
  sk_wmem_queued: value(s32, ({ queued }) => four(queued)),
  sk_forward_alloc: value(s32, ({ forward }) => four(forward)),
});

/** What is known of a sock of IPv4 or IPv6. */
export interface InetFacts {
  /** The IPv4 address that it is bound to (inet_rcv_saddr). A sock that is bound to a multicast group's sends from no address. */
  readonly bound: Uint8Array;
  readonly source: Uint8Array;
  readonly tos: number;
  readonly ttl: number;
  readonly multicastTtl: number;
  readonly minTtl: number;
  readonly discovery: number;
  readonly ipv6: Thing | null;
  readonly flags: Readonly<Record<InetFlag, number>>;
}

/** Flags of an IPv4 socket, each by its bit of the bit-fields up to Linux 6.5, and of inet_flags since. */
const inetFlags = {
  errors: [0, 9],
  freebind: [2, 11],
  multicastLoop: [4, 13],
  transparent: [5, 15],
  multicastAll: [6, 14],
  noPort: [8, 18],
} as const;
export type InetFlag = keyof typeof inetFlags;

function flagBits(flags: InetFacts["flags"], which: 0 | 1, width: 2 | 8): Expectation {
  let [value, mask] = [0, 0];
  for (const [name, bits] of Object.entries(inetFlags)) {
    mask |= 1 << bits[which];
    if (flags[name as InetFlag] !== 0) value |= 1 << bits[which];
  }
  return masked(width, value, mask);
}

/** include/net/inet_sock.h. */
export const inetSock = struct<InetFacts>("inet_sock", 2048, [], {
  pinet6: leads(to("ipv6_pinfo"), ({ ipv6 }) => ipv6),
  inet_saddr: value(u32, ({ source }) => known(source, raw)),
  // A name for skc_rcv_saddr in the sock_common that the struct begins with. Only in sockets of groups do the two addresses differ.
  inet_rcv_saddr: { ...value(u32, ({ bound }) => known(bound, raw)), isNamed: true },
  [INET_BITS]: {
    ...value(u16, ({ flags }) => known(flags, (it) => flagBits(it, 0, 2))),
    align: 1,
    isNamed: true,
    until: [6, 6],
  },
  inet_flags: { ...value(ulong, ({ flags }) => known(flags, (it) => flagBits(it, 1, 8))), since: [6, 6] },
  tos: value(u8, ({ tos }) => one(tos)),
  uc_ttl: value(s16, ({ ttl }) => two(ttl)),
  mc_ttl: value(u8, ({ multicastTtl }) => one(multicastTtl)),
  min_ttl: value(u8, ({ minTtl }) => one(minTtl)),
  pmtudisc: value(u8, ({ discovery }) => one(discovery)),
});

/** What TCP_INFO and other options tell; sequence numbers where they were chosen. */
export interface TcpFacts {
  readonly segsIn: number;
  readonly segsOut: number;
  readonly dataSegsIn: number;
  readonly dataSegsOut: number;
  readonly bytesAcked: bigint;
  readonly bytesReceived: bigint;
  readonly bytesSent: bigint;
  readonly congestionWindow: number;
  readonly sendMss: number;
  readonly advertisedMss: number;
  readonly delivered: number;
  readonly inFlight: number;
  readonly lost: number;
  readonly sentAgain: number;
  readonly threshold: number;
  readonly sendWindow: number;
  readonly receiveWindow: number;
  readonly receiveThreshold: number;
  readonly clamp: number;
  readonly unsentLow: number;
  readonly userTimeout: number;
  readonly copied: number;
  readonly received: number;
  readonly acknowledged: number;
  readonly sent: number;
  readonly written: number;
}

/** include/net/inet_connection_sock.h. */
export const inetConnectionSock = struct<TcpFacts>("inet_connection_sock", 3072, [], {
  icsk_user_timeout: value(u32, ({ userTimeout }) => four(userTimeout)),
});

/** include/linux/tcp.h; 2 to 4 KiB. */
export const tcpSock = struct<TcpFacts>("tcp_sock", 4096, [], {
  segs_in: value(u32, ({ segsIn }) => four(segsIn)),
  segs_out: value(u32, ({ segsOut }) => four(segsOut)),
  data_segs_in: value(u32, ({ dataSegsIn }) => four(dataSegsIn)),
  data_segs_out: value(u32, ({ dataSegsOut }) => four(dataSegsOut)),
  bytes_acked: value(u64, ({ bytesAcked }) => eight(bytesAcked)),
  bytes_received: value(u64, ({ bytesReceived }) => eight(bytesReceived)),
  bytes_sent: value(u64, ({ bytesSent }) => eight(bytesSent)),
  snd_cwnd: value(u32, ({ congestionWindow }) => four(congestionWindow)),
  mss_cache: value(u32, ({ sendMss }) => four(sendMss)),
  advmss: value(u16, ({ advertisedMss }) => two(advertisedMss)),
  delivered: value(u32, ({ delivered }) => four(delivered)),
  packets_out: value(u32, ({ inFlight }) => four(inFlight)),
  lost_out: value(u32, ({ lost }) => four(lost)),
  total_retrans: value(u32, ({ sentAgain }) => four(sentAgain)),
  snd_ssthresh: value(u32, ({ threshold }) => four(threshold)),
  snd_wnd: value(u32, ({ sendWindow }) => four(sendWindow)),
  rcv_wnd: value(u32, ({ receiveWindow }) => four(receiveWindow)),
  rcv_ssthresh: value(u32, ({ receiveThreshold }) => four(receiveThreshold)),
  window_clamp: value(u32, ({ clamp }) => four(clamp)),
  notsent_lowat: value(u32, ({ unsentLow }) => four(unsentLow)),
  copied_seq: value(u32, ({ copied }) => four(copied)),
  rcv_nxt: value(u32, ({ received }) => four(received)),
  snd_una: value(u32, ({ acknowledged }) => four(acknowledged)),
  snd_nxt: value(u32, ({ sent }) => four(sent)),
  write_seq: value(u32, ({ written }) => four(written)),
});

/** What is known of a sock of AF_UNIX: null where it has none. */
export interface UnixFacts {
  readonly peer: Thing | null;
  readonly address: Thing | null;
}

/** include/net/af_unix.h. */
export const unixSock = struct<UnixFacts>("unix_sock", 1536, [], {
  peer: leads(to("sock"), ({ peer }) => peer),
  addr: leads(to("unix_address"), ({ address }) => address),
});

/** What is known of a netlink socket: which number it has, and whom it is connected with. */
export interface NetlinkFacts {
  readonly portid: number;
  readonly peerPortid: number;
}

/** net/netlink/af_netlink.h. */
export const netlinkSock = struct<NetlinkFacts>("netlink_sock", 1536, [], {
  portid: value(u32, ({ portid }) => four(portid)),
  dst_portid: value(u32, ({ peerPortid }) => four(peerPortid)),
});
