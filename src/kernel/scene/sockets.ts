import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { SystemError } from "../../../ffi/error.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import { changeOwner } from "../../../ffi/process.ts";
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  accept,
  bind,
  connect,
  dropIncoming,
  getsockname,
  getsockopt,
  IPV6_FREEBIND,
  listen,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  recv,
  resetOnClose,
  SHUT_WR,
  SO_SNDTIMEO,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  send,
  setFilter,
  setsockopt,
  setsockoptBytes,
  shutdown,
  socket,
  socketPair,
  TCP_INFO,
  TCP_QUICKACK,
  waitReadable,
} from "../../../ffi/socket-calls.ts";
import { sleep } from "../../../ffi/thread.ts";
import { bindSomewhere, encodeSockaddr, type Family, portOf, type SocketAddress } from "../../net/address.ts";
import { RouteNetlink } from "../../net/route.ts";
import { type BufferFacts, type DeviceFacts, HASH_BITS, skBuff } from "../members/packet.ts";
import { once, type Thing } from "../members/row.ts";
import {
  type InetFacts,
  type InetFlag,
  inetConnectionSock,
  inetSock,
  ipv6Pinfo,
  kmemCache,
  type NetlinkFacts,
  netlinkSock,
  proto,
  protoOps,
  type SocketFacts,
  type SockFacts,
  sock,
  sockCommon,
  socket as socketStruct,
  type TcpFacts,
  tcpSock,
  type UnixFacts,
  unixAddress,
  unixSock,
} from "../members/socket.ts";
import type { Network } from "../stimulus/private-network.ts";
import type { Files } from "./open-files.ts";
import { defined, isFirstNumbering, objectSizeOf, objectSizes, pageSize } from "./procfs.ts";

/** Options of include/uapi/asm-generic/socket.h, linux/in.h, in6.h and tcp.h. */
const SO = {
  reuse: 2,
  type: 3,
  sendBuffer: 7,
  receiveBuffer: 8,
  priority: 12,
  passCredentials: 16,
  lowMark: 18,
  detachFilter: 27,
  mark: 36,
  reusePort: 15,
  protocol: 38,
  domain: 39,
  peekOffset: 42,
  pacing: 47,
  incomingCpu: 49,
  memory: 55,
  cookie: 57,
  boundTo: 62,
} as const;
const IP = { tos: 1, ttl: 2, discovery: 10, minTtl: 21, multicastTtl: 33 } as const;
const IP_FLAGS: Readonly<Record<InetFlag, number>> = {
  errors: 11,
  freebind: 15,
  transparent: 19,
  noPort: 24,
  multicastLoop: 34,
  multicastAll: 49,
};
const IPV6 = { only: 26, trafficClass: 67, minHops: 73 } as const;
const TCP = {
  maxSegment: 2,
  clamp: 10,
  congestion: 13,
  userTimeout: 18,
  repair: 19,
  repairQueue: 20,
  queueSequence: 21,
  repairWindow: 29,
  unsentLow: 25,
} as const;
const IPPROTO_TCP = 6;
const RENO = new TextEncoder().encode("reno");
const IPPROTO_UDP = 17;
const [REPAIR_ON, REPAIR_OFF_WITHOUT_PROBE] = [1, -1];
const [NO_QUEUE, RECEIVE_QUEUE, SEND_QUEUE] = [0, 1, 2];
/** The connection was refused: what a sock that is told so has of it. */
const { ECONNREFUSED } = constants.errno;
const [SOL_PACKET, PACKET_STATISTICS, ETH_P_ALL] = [263, 6, 3];
const [ETH_P_IP, ETH_P_IPV6] = [0x0800, 0x86dd];
/** The first interface of every network namespace. */
export const LOOPBACK = 1;
/** Bytes of an Ethernet header, and where in it the EtherType is. */
const [ETHER_HEADER, ETHER_TYPE] = [14, 12];
/** 239.0.0.0/8: groups of an organisation's own. */
const GROUP = 239;
/** How long a peer of ours may take, in milliseconds. */
const PATIENCE = 2000;
/** Of enum socket_state: include/uapi/linux/net.h. */
const [SS_UNCONNECTED, SS_CONNECTED] = [1, 3];
const [NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_GENERIC] = [0, 2, 16];
/** Offsets in struct tcp_info: include/uapi/linux/tcp.h. */
const INFO = {
  sendMss: 16,
  inFlight: 24,
  lost: 32,
  mostBacklog: 28,
  receiveThreshold: 64,
  threshold: 76,
  congestionWindow: 80,
  advertisedMss: 84,
  sentAgain: 100,
  segsOut: 136,
  segsIn: 140,
  dataSegsIn: 152,
  dataSegsOut: 156,
  delivered: 192,
  sendWindow: 228,
  receiveWindow: 232,
} as const;
const INFO_LONG = { bytesAcked: 120, bytesReceived: 128, bytesSent: 200 } as const;
const SIZE_OF_TCP_INFO = 240;

const random = (least: number, below: number): number => least + Math.floor(Math.random() * (below - least));

/** What a call gives; undefined where the system refuses it. */
function tried<Result>(call: () => Result): Result | undefined {
  try {
    return call();
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}

const set = (fd: number, level: number, option: number, value: number): void => {
  tried(() => setsockopt(fd, level, option, value));
};

/** An option of an int. */
const told = (fd: number, level: number, option: number): number | undefined =>
  tried(() => {
    const words = new Int32Array(1);
    return getsockopt(fd, level, option, new Uint8Array(words.buffer)) === 4 ? words[0] : undefined;
  });

const toldLong = (fd: number, option: number): bigint | undefined =>
  tried(() => {
    const words = new BigUint64Array(1);
    return getsockopt(fd, SOL_SOCKET, option, new Uint8Array(words.buffer)) === 8 ? words[0] : undefined;
  });

/** SK_MEMINFO_* of include/uapi/linux/sock_diag.h: what was received, and so on. */
const memoryOf = (fd: number): Uint32Array | undefined =>
  tried(() => {
    const memory = new Uint32Array(9);
    getsockopt(fd, SOL_SOCKET, SO.memory, new Uint8Array(memory.buffer));
    return memory;
  });

/** Of include/linux/net.h, a bit of struct socket's flags: SOCK_PASSCRED, since Linux 6.16 SOCK_SUPPORT_ZC. */
const KNOWN_FLAG = 1 << 3;
/**
 * What a packet takes beside its buffer: struct sk_buff, 224 to 256 bytes, and skb_shared_info, 320, each up to a line of the cache.
 * Where a kernel has others the buffer's end is refuted.
 */
const BESIDE = 256 + 320;
/** What lies before a frame in a packet of ours: sixteen for the header (LL_RESERVED_SPACE of include/linux/netdevice.h), which it has. */
const HEADROOM = 16 - ETHER_HEADER;
/** PACKET_HOST, MULTICAST and OTHERHOST, by who a frame is for; and OUTGOING: include/uapi/linux/if_packet.h. */
const [recipients, PACKET_OUTGOING] = [
  [
    [0, 0],
    [2, 1],
    [3, 2],
  ] as const,
  4,
];

/** How much of its buffer what comes next takes; undefined where nothing comes in time. */
function awaited(fd: number, before: number): number | undefined {
  const until = performance.now() + PATIENCE;
  for (;;) {
    const taken = (memoryOf(fd)?.[0] ?? 0) - before;
    if (taken > 0) return taken;
    if (performance.now() > until) return undefined;
    sleep(100);
  }
}

/** A length that needs another buffer than that of the last turn. */
const lengthOf = (turn: number): number => (turn % 2 === 0 ? random(100, 300) : random(750, 1000));

/** Sends a frame, of a length of its own. @param turn frames differ by it @returns what the kernel has of it wherever it waits */
function sendFrame(
  { fd }: FileDescriptor,
  protocol: number,
  turn: number,
  isLarge: boolean,
): Partial<BufferFacts> {
  set(fd, SOL_SOCKET, SO.mark, random(1, 2 ** 30));
  set(fd, SOL_SOCKET, SO.priority, random(1, 2 ** 30));
  // What a page does not hold lies in pages of its own, sixteen at most, but for the header.
  const length = isLarge ? random(20_000, 60_000) : lengthOf(turn);
  const isPaged = (pageSize() ?? length) < 20_000;
  const frame = new Uint8Array(length);
  new DataView(frame.buffer).setUint16(ETHER_TYPE, protocol);
  const [type, first] = recipients[turn % recipients.length] ?? recipients[0];
  frame[0] = first;
  send(fd, frame);
  const [mark, priority] = [told(fd, SOL_SOCKET, SO.mark), told(fd, SOL_SOCKET, SO.priority)];
  const paged = isLarge ? (isPaged ? length - ETHER_HEADER : undefined) : 0;
  const tail = paged === undefined ? undefined : HEADROOM + length - paged;
  return { ...defined({ length, paged, protocol, mark, priority, tail }), type, device: null };
}

/** A segment that a filter may cut to as many bytes as a hash has values, and more. */
const [LEAST_CUT, LONGEST_CUT] = [64, 64 + HASH_BITS];

/**
 * What comes for a socket is cut to a length that tells its hash; of segments without so much data nothing is left. Codes of
 * linux/bpf_common.h, SKF_AD_RXHASH of linux/filter.h.
 */
const tellHash = (fd: number): void =>
  setFilter(fd, [
    { code: 0x80, k: 0 }, // A = length of the packet
    { code: 0x25, k: LONGEST_CUT, not: 4 }, // where it is greater
    { code: 0x20, k: 2 ** 32 - 0x1000 + 32 }, // A = hash
    { code: 0x54, k: HASH_BITS }, // A &= HASH_BITS
    { code: 0x04, k: LEAST_CUT }, // A += LEAST_CUT
    { code: 0x16, k: 0 }, // return A
    { code: 0x06, k: 0 }, // return 0
  ]);

/**
 * Has segments be lost on their way, and sent again: the last as a probe, after some milliseconds, and so the others.
 * @returns what waits for that
 */
function lose({ fd }: FileDescriptor, into: FileDescriptor, segments: number): () => void {
  const bytes = new Uint8Array(segments * (told(fd, SOL_TCP, TCP.maxSegment) ?? 536));
  dropIncoming(into.fd);
  send(fd, bytes);
  set(into.fd, SOL_SOCKET, SO.detachFilter, 0);
  return () => {
    const until = performance.now() + PATIENCE;
    while (infoOf(fd)?.(INFO.inFlight) !== 0 && performance.now() < until) sleep(500);
    if (waitReadable(into.fd, PATIENCE)) recv(into.fd, bytes);
  };
}

/** Whether so many frames come to a socket of AF_PACKET that has none yet. */
function haveCome(fd: number, count: number): boolean {
  const until = performance.now() + PATIENCE;
  // struct tpacket_stats: how many frames since it was asked last, and how many of them were lost
  for (let come = 0; ; sleep(100)) {
    const words = new Uint32Array(2);
    tried(() => getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, new Uint8Array(words.buffer)));
    come += words[0] ?? 0;
    if (come >= count) return come === count && words[1] === 0;
    if (performance.now() > until) return false;
  }
}

/** struct sockaddr_ll: frames of an EtherType on the loopback interface. */
function packetAddress(protocol: number): Uint8Array {
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol);
  view.setInt32(4, LOOPBACK, true);
  return address;
}

/** What is known of a socket beside what it tells itself. */
interface Known {
  readonly state?: number;
  readonly error?: number;
  readonly shut?: number;
  readonly unix?: Partial<UnixFacts>;
  readonly inet?: Partial<InetFacts>;
  readonly tcp?: Partial<TcpFacts>;
  readonly netlink?: NetlinkFacts;
  readonly queue?: readonly Thing[] | undefined;
  readonly isListening?: true;
}

/** Sockets of all kinds at rest, in a network of ours, and what the kernel has of them. */
export class Sockets {
  /** Those of AF_PACKET, for whose end the kernel waits. */
  readonly packets: FileDescriptor[] = [];
  readonly #ops = new Map<string, Thing>();
  readonly #protocols = protocols();
  readonly #areUsersKnown = isFirstNumbering();
  /** How often something was sent. */
  #turn = 0;
  /** Whether sockets of IP may pass credentials, as all do as long as that is a flag of struct socket. */
  readonly #isPassing = tried(() => {
    using one = socket(AF_INET, SOCK_DGRAM);
    setsockopt(one.fd, SOL_SOCKET, SO.passCredentials, 1);
    return true;
  });

  /** The network that they are made in, and what is known of it. */
  #place: { readonly network: Network; readonly namespace: Thing | undefined } | undefined;

  constructor(
    private readonly owned: DisposableStack,
    private readonly files: Files,
  ) {}

  /** Sockets of all kinds. */
  openAll(network: Network, namespace: Thing | undefined): void {
    this.#inside(network, namespace, () => {
      const unfinished: (() => void)[] = [];
      for (let turn = 0; turn < 2; turn++) {
        tried(() => this.#openUnix(turn === 0));
        tried(() => this.#openNetlink());
        for (const family of [AF_INET, AF_INET6] as const) {
          if (family === AF_INET6 && network.withoutIpv6 !== null) continue;
          tried(() => this.#openDatagram(family));
          const finish = tried(() => this.#openConnection(family, turn + (family === AF_INET ? 1 : 3)));
          if (finish !== undefined) unfinished.push(finish);
        }
      }
      // What a network that others share has sent to it may answer.
      if (network.shared === null)
        for (const variant of [0, 1, 2, 3]) tried(() => this.#openRepaired(AF_INET, variant));
      tried(() => this.#openRefused());
      for (const finish of unfinished) tried(finish);
    });
  }

  #inside(network: Network, namespace: Thing | undefined, act: () => void): void {
    this.#place = { network, namespace };
    network.inside(act);
  }

  #address(family: Family): Uint8Array {
    if (this.#place === undefined) throw new RangeError("no network to take an address of");
    return this.#place.network.address(family);
  }

  /** Two that are connected with each other, and two that are bound. @param isShut whether one sends no more */
  #openUnix(isShut: boolean): void {
    const ends = socketPair().map((each) => this.owned.use(each));
    const [one] = ends;
    if (one !== undefined && isShut) shutdown(one.fd, SHUT_WR);
    const facts = ends.map((): Mutable<Partial<UnixFacts>> => ({ address: null }));
    const length = random(100, 1000);
    if (ends[1] !== undefined) send(ends[1].fd, new Uint8Array(length));
    const unread = skBuff.of({ length, paged: 0, from: 0, device: null });
    const things = ends.map((each, index) => {
      this.#vary(each);
      const shut = isShut ? [2, 1][index] : 0;
      const queue = index === 0 ? [unread] : [];
      return this.#add(each, AF_UNIX, defined({ shut, queue, unix: facts[index] }));
    });
    for (const [index, each] of facts.entries()) Object.assign(each, defined({ peer: things[1 - index] }));
    for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
      const bound = this.#open(AF_UNIX, type);
      // An abstract name: a zero, and what nobody else has. With all of them a struct takes 33 to 64 bytes: where two lay side by
      // side in a cache of 32, no more would be looked at of a longer one.
      const name = new TextEncoder().encode(`\0${crypto.randomUUID()}`).subarray(0, random(24, 36));
      const address = Uint8Array.of(AF_UNIX, 0, ...name);
      bind(bound.fd, address, "a socket of AF_UNIX");
      if (type === SOCK_STREAM) listen(bound.fd, random(1, 100));
      this.#vary(bound);
      const unix = { peer: null, address: unixAddress.of({ address }) };
      this.#add(bound, AF_UNIX, { unix });
    }
  }

  #openNetlink(): void {
    for (const protocol of [NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_GENERIC]) {
      const one = this.#open(AF_NETLINK, SOCK_RAW, protocol);
      // struct sockaddr_nl: u16 family, u16 padding, u32 portid, u32 groups
      const address = (portid: number) => {
        const words = new Uint32Array([AF_NETLINK, portid, 0]);
        return new Uint8Array(words.buffer);
      };
      const [portid, peerPortid] = [random(2 ** 22, 2 ** 31), random(2 ** 22, 2 ** 31)];
      bind(one.fd, address(portid), "a socket of AF_NETLINK");
      connect(one.fd, address(peerPortid), "a socket of AF_NETLINK");
      this.#vary(one);
      this.#add(one, AF_NETLINK, { netlink: { portid, peerPortid } });
    }
  }

  /** One that is bound to an address, and of IPv4 one that is bound to a group's. */
  #openDatagram(family: Family): void {
    const addresses = [this.#address(family)];
    if (family === AF_INET)
      addresses.push(Uint8Array.of(GROUP, random(1, 255), random(1, 255), random(1, 255)));
    for (const address of addresses) {
      const one = this.#open(family, SOCK_DGRAM);
      const to = this.#bind(one, family, address);
      const isGroup = address[0] === GROUP;
      const queue = isGroup ? [] : this.#sendTo(one, to);
      this.#vary(one);
      const inet = isGroup ? { source: new Uint8Array(4) } : {};
      this.#add(one, family, { state: SS_UNCONNECTED, inet, ...defined({ queue }) });
    }
  }

  /** Has a datagram wait in a socket. @returns what is known of it; undefined where it did not come */
  #sendTo({ fd }: FileDescriptor, to: SocketAddress): readonly Thing[] | undefined {
    using sender = socket(to.family, SOCK_DGRAM);
    set(sender.fd, SOL_SOCKET, SO.mark, random(1, 2 ** 30));
    connect(sender.fd, encodeSockaddr(to), "a socket of ours");
    const length = lengthOf(this.#turn++);
    send(sender.fd, new Uint8Array(length));
    const size = awaited(fd, 0);
    if (size === undefined) return undefined;
    const protocol = to.family === AF_INET ? ETH_P_IP : ETH_P_IPV6;
    const mark = told(sender.fd, SOL_SOCKET, SO.mark);
    return [
      skBuff.of(defined({ length, paged: 0, protocol, mark, size, end: size - BESIDE, from: LOOPBACK })),
    ];
  }

  /**
   * One that listens, with so many connections that nobody takes, and the two ends of one over which data went both ways.
   * @returns what is left to do, after some milliseconds; undefined where nothing connected
   */
  #openConnection(family: Family, waiting: number): (() => void) | undefined {
    const listener = this.#open(family, SOCK_STREAM);
    resetOnClose(listener.fd); // these may be in the machine's own network, where it has no namespaces
    set(listener.fd, SOL_TCP, TCP.maxSegment, random(300, 1200));
    set(listener.fd, SOL_TCP, TCP.clamp, random(2 ** 15, 2 ** 16));
    const to = this.#bind(listener, family, this.#address(family));
    listen(listener.fd, 20 * waiting + random(0, 20));
    const dial = () => {
      const one = this.#open(family, SOCK_STREAM);
      resetOnClose(one.fd);
      set(one.fd, SOL_TCP, TCP.maxSegment, random(300, 1200));
      this.#bind(one, family, this.#address(family));
      connect(one.fd, encodeSockaddr(to), "a socket of ours");
      return one;
    };
    const client = dial();
    if (!waitReadable(listener.fd, PATIENCE)) return undefined;
    const server = this.owned.use(accept(listener.fd));
    for (let left = waiting; left > 0; left--) dial();
    // So much at once makes the congestion window larger.
    const burst = (told(client.fd, SOL_TCP, TCP.maxSegment) ?? 536) * (8 + waiting);
    for (const [from, into, first] of [
      [client, server, burst],
      [server, client, 1],
    ] as const)
      for (let left = random(2, 12); left >= 0; left--) {
        const bytes = new Uint8Array(left === 0 ? first : random(1, 2000));
        send(from.fd, bytes);
        if (waitReadable(into.fd, PATIENCE)) recv(into.fd, bytes);
      }
    // Each loss is counted and halves the congestion window. Counters of a single recovery begin anew with the next.
    const losses = family === AF_INET ? waiting : 0;
    const recover = losses > 0 ? lose(client, server, 3 + losses) : () => {};
    return () => {
      recover();
      for (let left = losses - 1; left > 0; left--) lose(client, server, 3 + left)();
      for (const one of [client, server, client]) set(one.fd, SOL_TCP, TCP_QUICKACK, 1);
      this.#vary(listener, true);
      this.#add(listener, family, { state: SS_UNCONNECTED, isListening: true });
      for (const one of [client, server]) {
        this.#vary(one, true);
        this.#add(one, family, { state: SS_CONNECTED });
      }
    };
  }

  /**
   * One that the kernel takes for connected, with sequence numbers of our choice (TCP_REPAIR): some data is on its way, some
   * waits to be sent, and some to be read. The window is full, and all that comes is dropped, so that nothing moves.
   * @param variant in which way the numbers that are kept of others (snd_sml, snd_up, pushed_seq and so on) are not the same
   */
  #openRepaired(family: Family, variant: number): void {
    const one = this.#open(family, SOCK_STREAM);
    const { fd } = one;
    const repair = (option: number, value: number) => setsockopt(fd, SOL_TCP, option, value);
    dropIncoming(fd);
    set(fd, SOL_TCP, TCP.maxSegment, random(300, 1200));
    repair(TCP.repair, REPAIR_ON);
    const [sent, received] = [random(2 ** 20, 2 ** 32 - 2 ** 20), random(2 ** 20, 2 ** 32 - 2 ** 20)];
    repair(TCP.repairQueue, SEND_QUEUE);
    repair(TCP.queueSequence, sent | 0);
    repair(TCP.repairQueue, RECEIVE_QUEUE);
    repair(TCP.queueSequence, received | 0);
    this.#bind(one, family, this.#address(family));
    const to = { family, address: this.#address(family), port: random(1024, 65536) };
    connect(fd, encodeSockaddr(to), "a socket in repair");
    const segment = told(fd, SOL_TCP, TCP.maxSegment) ?? 536;
    const packets = variant % 2 === 1 ? 0 : random(2, 9);
    const inFlight = packets * segment - (variant === 2 ? random(1, 100) : 0);
    // Who has nothing to send never tries, and so keeps what it said last.
    const [unread, unsent] = [random(200, 900), variant === 3 ? 0 : random(20, 200)];
    send(fd, new Uint8Array(unread));
    // struct tcp_repair_window: snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup
    const windows = new Uint32Array([
      received,
      inFlight,
      2 ** 20,
      2 ** 18,
      received + unread - (variant === 0 ? 0 : 100),
    ]);
    setsockoptBytes(fd, SOL_TCP, TCP.repairWindow, new Uint8Array(windows.buffer));
    repair(TCP.repairQueue, SEND_QUEUE);
    if (packets > 0) send(fd, new Uint8Array(inFlight));
    repair(TCP.repairQueue, NO_QUEUE);
    repair(TCP.repair, REPAIR_OFF_WITHOUT_PROBE);
    if (unsent > 0) send(fd, new Uint8Array(unsent), [MSG_OOB, 0, MSG_MORE][variant]);
    // Who reads opens the window for more.
    const read = variant === 1 ? random(1, 100) : 0;
    if (read > 0) recv(fd, new Uint8Array(read));
    this.#vary(one, true);
    const tcp = {
      copied: (received + read) >>> 0,
      received: (received + unread) >>> 0,
      acknowledged: sent,
      sent: (sent + inFlight) >>> 0,
      written: (sent + inFlight + unsent) >>> 0,
      inFlight: packets,
      sendWindow: inFlight,
    };
    this.#add(one, family, { state: SS_CONNECTED, tcp });
  }

  /**
   * Sockets that read what passes the loopback interface, with frames that nobody has read: of an EtherType and of lengths of
   * their own. @throws SystemError where there are none
   */
  openPackets(network: Network, { mtu, network: namespace }: Partial<DeviceFacts>): void {
    this.#inside(network, namespace, () => {
      using netlink = new RouteNetlink();
      if (mtu !== undefined) netlink.setLinkMtu(LOOPBACK, mtu);
      const writer = this.#open(AF_PACKET, SOCK_RAW);
      bind(writer.fd, packetAddress(0), "a socket of AF_PACKET");
      for (const count of [1, 2]) {
        const protocol = random(0x9200, 0xfe00);
        const reader = this.#open(AF_PACKET, SOCK_RAW);
        bind(reader.fd, packetAddress(protocol), "a socket of AF_PACKET");
        const queue = Array.from({ length: count }, (_, index) => {
          const before = memoryOf(reader.fd)?.[0] ?? 0;
          const sent = sendFrame(writer, protocol, this.#turn++, index > 0);
          const size = awaited(reader.fd, before);
          const end = index === 0 && size !== undefined ? size - BESIDE : undefined;
          return size === undefined
            ? []
            : [skBuff.of({ ...sent, ...defined({ end }), size, from: LOOPBACK })];
        }).flat();
        this.#vary(reader, true);
        if (queue.length === count) this.#add(reader, AF_PACKET, { queue });
      }
      for (let turn = 0; turn < 2; turn++) tried(() => this.#openHashed());
      // Who reads all sees what is sent, too, which came from nowhere.
      const reader = this.#open(AF_PACKET, SOCK_RAW);
      bind(reader.fd, packetAddress(ETH_P_ALL), "a socket of AF_PACKET");
      const sent = sendFrame(writer, random(0x9200, 0xfe00), this.#turn++, false);
      const hasBoth = haveCome(reader.fd, 2);
      this.#vary(reader, true);
      if (hasBoth)
        this.#add(reader, AF_PACKET, {
          queue: [
            skBuff.of({ ...sent, from: 0, type: PACKET_OUTGOING }),
            skBuff.of({ ...sent, from: LOOPBACK }),
          ],
        });
    });
  }

  /** A reader of what a connection sends, which has a hash of its own. */
  #openHashed(): void {
    const reader = this.#open(AF_PACKET, SOCK_RAW);
    tellHash(reader.fd);
    const listener = this.#open(AF_INET, SOCK_STREAM);
    const client = this.#open(AF_INET, SOCK_STREAM);
    const to = this.#bind(listener, AF_INET, this.#address(AF_INET));
    for (const { fd } of [listener, client]) resetOnClose(fd);
    listen(listener.fd, 1);
    connect(client.fd, encodeSockaddr(to), "a socket of ours");
    bind(reader.fd, packetAddress(ETH_P_IP), "a socket of AF_PACKET");
    send(client.fd, new Uint8Array(LONGEST_CUT + 1));
    if (!waitReadable(reader.fd, PATIENCE)) return;
    dropIncoming(reader.fd);
    const length = recv(reader.fd, new Uint8Array(1), MSG_PEEK | MSG_TRUNC);
    const buffer = skBuff.of({
      length,
      hash: length - LEAST_CUT,
      protocol: ETH_P_IP,
      from: LOOPBACK,
      type: 0,
      device: null,
    });
    this.#vary(reader, true);
    this.#add(reader, AF_PACKET, { queue: [buffer] });
  }

  /** One that has been told that nobody listens, and has not told it yet. */
  #openRefused(): void {
    const address = this.#address(AF_INET);
    const one = this.#open(AF_INET, SOCK_DGRAM);
    const other = this.#open(AF_INET, SOCK_DGRAM);
    const to = this.#bind(other, AF_INET, address);
    other[Symbol.dispose]();
    connect(one.fd, encodeSockaddr(to), "a socket of nobody");
    send(one.fd, new Uint8Array(1));
    if (!waitReadable(one.fd, PATIENCE)) return;
    this.#vary(one, true);
    this.#add(one, AF_INET, { error: ECONNREFUSED });
  }

  #open(family: number, type: number, protocol = 0): FileDescriptor {
    const one = this.owned.use(socket(family, type, protocol));
    if (family === AF_PACKET) this.packets.push(one);
    const patience = new BigInt64Array([BigInt(PATIENCE / 1000), 0n]); // struct timeval
    setsockoptBytes(one.fd, SOL_SOCKET, SO_SNDTIMEO, new Uint8Array(patience.buffer));
    // The congestion control that keeps no numbers of its own, which could be the same as others.
    if (isInet(family)) tried(() => setsockoptBytes(one.fd, SOL_TCP, TCP.congestion, RENO));
    return one;
  }

  #bind({ fd }: FileDescriptor, family: Family, address: Uint8Array) {
    if (family === AF_INET6) setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, 1);
    bindSomewhere({ family, address }, (chosen) => bind(fd, encodeSockaddr(chosen), "a socket of ours"));
    return { family, address, port: portOf(getsockname(fd)) };
  }

  /** Sets all that can be set to what no other has. @param isAtWork whether it is to send or receive */
  #vary(descriptor: FileDescriptor, isAtWork = false): void {
    const { fd } = descriptor;
    for (const [level, option, value] of [
      [SOL_IP, IP.tos, 4 * random(1, 63)],
      [SOL_IP, IP.ttl, random(2, 255)],
      [SOL_IP, IP.multicastTtl, random(2, 255)],
      [SOL_IP, IP.minTtl, isAtWork ? 0 : random(2, 255)],
      [SOL_IP, IP.discovery, random(0, 4)],
      [SOL_IPV6, IPV6.trafficClass, 4 * random(1, 63)],
      [SOL_IPV6, IPV6.minHops, isAtWork ? 0 : random(2, 255)],
      [SOL_TCP, TCP.userTimeout, random(2 ** 20, 2 ** 30)],
      [SOL_TCP, TCP.unsentLow, random(2 ** 20, 2 ** 30)],
      [SOL_SOCKET, SO.priority, random(1, 2 ** 30)],
      [SOL_SOCKET, SO.mark, random(1, 2 ** 30)],
      [SOL_SOCKET, SO.sendBuffer, random(5000, 50_000)],
      [SOL_SOCKET, SO.receiveBuffer, random(5000, 50_000)],
      [SOL_SOCKET, SO.passCredentials, random(0, 2)],
      [SOL_SOCKET, SO.reuse, random(0, 2)],
      [SOL_SOCKET, SO.reusePort, random(0, 2)],
      ...Object.values(IP_FLAGS).map((option) => [SOL_IP, option, random(0, 2)] as const),
    ] as const)
      set(fd, level, option, value);
    if (isAtWork) return;
    set(fd, SOL_SOCKET, SO.boundTo, random(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.incomingCpu, random(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.lowMark, random(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.peekOffset, random(1, 2 ** 30));
    const pacing = new BigUint64Array([BigInt(random(2 ** 30, 2 ** 45))]);
    tried(() => setsockoptBytes(fd, SOL_SOCKET, SO.pacing, new Uint8Array(pacing.buffer)));
    tried(() => changeOwner(descriptor, random(1, 2 ** 30), random(1, 2 ** 30)));
  }

  #add(descriptor: FileDescriptor, family: number, known: Known): Thing {
    const { fd } = descriptor;
    const own: Mutable<Partial<SocketFacts>> = {};
    const thing = socketStruct.of(own);
    const before = { ...this.#sockFacts(fd, known), socket: thing };
    // Several structs begin at this address. Facts are asked once for all of them, after the last one was read.
    const again = once(() => ({ ...before, ...movingFacts(fd, known) }));
    const parts = [
      sockCommon.of(before, { again }),
      ...(isInet(family) ? this.#inetParts(fd, known, family) : []),
      ...(known.unix === undefined ? [] : [unixSock.of(known.unix)]),
      ...(known.netlink === undefined ? [] : [netlinkSock.of(known.netlink)]),
    ];
    const { type, protocol } = before;
    const all = defined({
      type,
      state: known.state,
      flags: this.#flagsOf(fd, family),
      sock: sock.of(before, { again, parts }),
      file: this.files.add(descriptor, thing),
      ops: this.#opsOf(family, `${family} ${type} ${isInet(family) ? protocol : ""}`),
    });
    Object.assign(own, all);
    return all.sock ?? thing;
  }

  #flagsOf(fd: number, family: number): SocketFacts["flags"] | undefined {
    const passes = told(fd, SOL_SOCKET, SO.passCredentials);
    if (this.#isPassing && passes !== undefined) return { known: KNOWN_FLAG, set: passes * KNOWN_FLAG };
    return { known: KNOWN_FLAG, set: isInet(family) ? KNOWN_FLAG : 0 };
  }

  /** Sockets of a kind have functions of their own; other than those of IP have them whatever the protocol. */
  #opsOf(family: number, kind: string): Thing {
    const ops = this.#ops.get(kind) ?? protoOps.of({ family });
    this.#ops.set(kind, ops);
    return ops;
  }

  #sockFacts(fd: number, known: Known): Partial<SockFacts> {
    const at = (option: number) => told(fd, SOL_SOCKET, option);
    return defined({
      ...movingFacts(fd, known),
      family: at(SO.domain),
      type: at(SO.type),
      protocol: at(SO.protocol),
      cookie: toldLong(fd, SO.cookie),
      reuse: at(SO.reuse),
      reusePort: at(SO.reusePort),
      ipv6Only: told(fd, SOL_IPV6, IPV6.only),
      boundTo: at(SO.boundTo),
      mark: at(SO.mark),
      priority: at(SO.priority),
      lowMark: at(SO.lowMark),
      peekOffset: at(SO.peekOffset),
      pacing: toldLong(fd, SO.pacing),
      uid: this.#areUsersKnown ? fstatSync(fd).uid : undefined,
      error: known.error ?? 0,
      shut: known.shut ?? 0,
      network: this.#place?.namespace,
      queue: known.queue,
      proto: this.#protocols.get(`${at(SO.domain)} ${at(SO.protocol)}`),
    });
  }

  #inetParts(fd: number, known: Known, family: Family): Thing[] {
    const name = getsockname(fd);
    const isIpv4 = family === AF_INET;
    const bound = isIpv4 ? name.subarray(4, 8) : name.subarray(8, 24);
    const ipv6 = isIpv4
      ? null
      : ipv6Pinfo.of(
          defined({
            saddr: bound,
            trafficClass: told(fd, SOL_IPV6, IPV6.trafficClass),
            minHops: told(fd, SOL_IPV6, IPV6.minHops),
          }),
        );
    const at = (option: number) => (isIpv4 ? told(fd, SOL_IP, option) : undefined);
    const facts: Partial<InetFacts> = defined({
      ipv6,
      ...(isIpv4 && { bound, source: bound, ...known.inet }),
      tos: at(IP.tos),
      ttl: at(IP.ttl),
      multicastTtl: at(IP.multicastTtl),
      minTtl: at(IP.minTtl),
      discovery: at(IP.discovery),
      flags: isIpv4 ? flagsOf(fd) : undefined,
    });
    const inet = inetSock.of(facts);
    if (told(fd, SOL_SOCKET, SO.protocol) !== IPPROTO_TCP) return [inet];
    const tcpFacts = () => tcpFactsOf(fd, known);
    const [before, more] = [tcpFacts(), { again: once(tcpFacts) }];
    return [inet, inetConnectionSock.of(before, more), tcpSock.of(before, more)];
  }
}

/** What the kernel itself may change of a sock. */
function movingFacts(fd: number, { isListening }: Known): Partial<SockFacts> {
  const memory = memoryOf(fd);
  const info = isListening ? infoOf(fd) : undefined;
  return defined({
    incomingCpu: told(fd, SOL_SOCKET, SO.incomingCpu),
    sendBuffer: told(fd, SOL_SOCKET, SO.sendBuffer),
    receiveBuffer: told(fd, SOL_SOCKET, SO.receiveBuffer),
    backlog: info?.(INFO.inFlight),
    mostBacklog: info?.(INFO.mostBacklog),
    received: memory?.[0],
    forward: memory?.[4],
    queued: memory?.[5],
  });
}

/** Undefined where one of them is not told. */
function flagsOf(fd: number): InetFacts["flags"] | undefined {
  const flags = Object.entries(IP_FLAGS).map(([name, option]) => [name, told(fd, SOL_IP, option)] as const);
  return flags.every(([, flag]) => flag !== undefined)
    ? (Object.fromEntries(flags) as InetFacts["flags"])
    : undefined;
}

/** What is known of a protocol by its family and number: its name, and the cache of the same name that its socks are of. */
function protocols(): ReadonlyMap<string, Thing> {
  const sizes = objectSizes();
  const rows = [
    [AF_INET, IPPROTO_TCP, "TCP"],
    [AF_INET6, IPPROTO_TCP, "TCPv6"],
    [AF_INET, IPPROTO_UDP, "UDP"],
    [AF_INET6, IPPROTO_UDP, "UDPv6"],
  ] as const;
  return new Map(
    rows.map(([family, number, name]) => {
      const size = sizes.get(name);
      // One that serves other protocols too may have the name of another.
      const slab =
        size === undefined
          ? undefined
          : kmemCache.of(defined({ name, size, objectSize: objectSizeOf(name) }));
      return [`${family} ${number}`, proto.of(defined({ name, slab }))];
    }),
  );
}

const isInet = (family: number): family is Family => family === AF_INET || family === AF_INET6;

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** Words of struct tcp_info by their offsets, as far as this kernel has them. */
function infoOf(fd: number): ((at: number) => number | undefined) | undefined {
  const bytes = new Uint8Array(SIZE_OF_TCP_INFO);
  const length = tried(() => getsockopt(fd, SOL_TCP, TCP_INFO, bytes));
  if (length === undefined) return undefined;
  const view = new DataView(bytes.buffer);
  return (at) => (at + 4 <= length ? view.getUint32(at, true) : undefined);
}

function tcpFactsOf(fd: number, { tcp, isListening }: Known): Partial<TcpFacts> {
  const facts = {
    ...tcp,
    userTimeout: told(fd, SOL_TCP, TCP.userTimeout),
    unsentLow: told(fd, SOL_TCP, TCP.unsentLow),
    clamp: told(fd, SOL_TCP, TCP.clamp),
  };
  const info = isListening ? undefined : infoOf(fd);
  if (info === undefined) return defined(facts);
  const long = (at: number) => {
    const [low, high] = [info(at), info(at + 4)];
    return low === undefined || high === undefined ? undefined : (BigInt(high) << 32n) | BigInt(low);
  };
  const words = Object.entries(INFO).map(([name, at]) => [name, info(at)] as const);
  const longs = Object.entries(INFO_LONG).map(([name, at]) => [name, long(at)] as const);
  return defined({ ...Object.fromEntries([...words, ...longs]), ...facts }) as Partial<TcpFacts>;
}
