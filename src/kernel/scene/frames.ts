import type { FileDescriptor } from "../../../ffi/libc.ts";
import {
  AF_INET,
  AF_PACKET,
  bind,
  connect,
  dropIncoming,
  getsockopt,
  listen,
  MSG_PEEK,
  MSG_TRUNC,
  recv,
  resetOnClose,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  send,
  setFilter,
  waitReadable,
} from "../../../ffi/socket-calls.ts";
import { sleep } from "../../../ffi/thread.ts";
import { bindSomewhere, encodeSockaddr } from "../../net/address.ts";
import { LOOPBACK } from "../../net/namespace.ts";
import { RouteNetlink } from "../../net/route.ts";
import { randomInt } from "../../self/random.ts";
import { type BufferFacts, type DeviceFacts, HASH_BITS, skBuff } from "../members/packet.ts";
import type { Network } from "../stimulus/private-network.ts";
import { defined } from "./known-facts.ts";
import { pageSize } from "./procfs.ts";
import {
  awaited,
  BESIDE,
  ETH_P_ALL,
  ETH_P_IP,
  lengthOf,
  PATIENCE,
  type SocketMaker,
} from "./socket-maker.ts";
import { memoryOf, SO, set, told, tried } from "./socket-options.ts";

const [SOL_PACKET, PACKET_STATISTICS] = [263, 6];
/** Bytes of an Ethernet header, and where in it the EtherType is. */
const [ETHER_HEADER, ETHER_TYPE] = [14, 12];
/** Bytes before a frame in its buffer: the kernel keeps 16 for its header (LL_RESERVED_SPACE of include/linux/netdevice.h), which takes 14. */
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

/** Sends a frame, of a length of its own. @param turn frames differ by it @returns what the kernel has of it wherever it waits */
function sendFrame(
  { fd }: FileDescriptor,
  protocol: number,
  turn: number,
  isLarge: boolean,
): Partial<BufferFacts> {
  set(fd, SOL_SOCKET, SO.mark, randomInt(1, 2 ** 30));
  set(fd, SOL_SOCKET, SO.priority, randomInt(1, 2 ** 30));
  // What a page does not hold lies in pages of its own, sixteen at most, but for the header.
  const length = isLarge ? randomInt(20_000, 60_000) : lengthOf(turn);
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

/**
 * Opens sockets that read what passes the loopback interface, with frames that nobody has read: of an EtherType and of lengths of
 * their own. @throws SystemError where there are none
 */
export function openFrames(
  maker: SocketMaker,
  network: Network,
  { mtu, network: namespace }: Partial<DeviceFacts>,
): void {
  maker.inside(network, namespace, () => {
    using netlink = new RouteNetlink();
    if (mtu !== undefined) netlink.setLinkMtu(LOOPBACK, mtu);
    const writer = maker.open(AF_PACKET, SOCK_RAW);
    bind(writer.fd, packetAddress(0), "a socket of AF_PACKET");
    for (const count of [1, 2]) {
      const protocol = randomInt(0x9200, 0xfe00);
      const reader = maker.open(AF_PACKET, SOCK_RAW);
      bind(reader.fd, packetAddress(protocol), "a socket of AF_PACKET");
      const queue = Array.from({ length: count }, (_, index) => {
        const before = memoryOf(reader.fd)?.[0] ?? 0;
        const sent = sendFrame(writer, protocol, maker.turn(), index > 0);
        const size = awaited(reader.fd, before);
        const end = index === 0 && size !== undefined ? size - BESIDE : undefined;
        return size === undefined ? [] : [skBuff.of({ ...sent, ...defined({ end }), size, from: LOOPBACK })];
      }).flat();
      maker.vary(reader, true);
      if (queue.length === count) maker.add(reader, AF_PACKET, { queue });
    }
    for (let turn = 0; turn < 2; turn++) tried(() => openHashed(maker));
    // A reader of every EtherType gets each frame twice: as it is sent, when it came from no interface, and as it comes in.
    const reader = maker.open(AF_PACKET, SOCK_RAW);
    bind(reader.fd, packetAddress(ETH_P_ALL), "a socket of AF_PACKET");
    const sent = sendFrame(writer, randomInt(0x9200, 0xfe00), maker.turn(), false);
    const hasBoth = haveCome(reader.fd, 2);
    maker.vary(reader, true);
    if (hasBoth)
      maker.add(reader, AF_PACKET, {
        queue: [
          skBuff.of({ ...sent, from: 0, type: PACKET_OUTGOING }),
          skBuff.of({ ...sent, from: LOOPBACK }),
        ],
      });
  });
}

/** A reader of what a connection sends, which has a hash of its own. */
function openHashed(maker: SocketMaker): void {
  const reader = maker.open(AF_PACKET, SOCK_RAW);
  tellHash(reader.fd);
  const listener = maker.open(AF_INET, SOCK_STREAM);
  const client = maker.open(AF_INET, SOCK_STREAM);
  const to = bindSomewhere(listener, { family: AF_INET, address: maker.address(AF_INET) });
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
  maker.vary(reader, true);
  maker.add(reader, AF_PACKET, { queue: [buffer] });
}
