import { constants } from "node:os";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_UNIX,
  accept,
  bind,
  connect,
  dropIncoming,
  listen,
  MSG_MORE,
  MSG_OOB,
  recv,
  resetOnClose,
  SHUT_WR,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  send,
  setsockopt,
  setsockoptBytes,
  shutdown,
  socket,
  socketPair,
  TCP_QUICKACK,
  waitReadable,
} from "../../../ffi/socket-calls.ts";
import { sleep } from "../../../ffi/thread.ts";
import { bindSomewhere, encodeSockaddr, type Family, type SocketAddress } from "../../net/address.ts";
import { LOOPBACK } from "../../net/namespace.ts";
import { randomInt } from "../../self/random.ts";
import { skBuff } from "../members/packet.ts";
import type { Thing } from "../members/row.ts";
import { type UnixFacts, unixAddress } from "../members/socket.ts";
import type { Network } from "../stimulus/private-network.ts";
import { defined, type Mutable } from "./known-facts.ts";
import {
  awaited,
  BESIDE,
  ETH_P_IP,
  ETH_P_IPV6,
  lengthOf,
  PATIENCE,
  type SocketMaker,
} from "./socket-maker.ts";
import { INFO, infoOf, SO, set, TCP, told, tried } from "./socket-options.ts";

const [REPAIR_ON, REPAIR_OFF_WITHOUT_PROBE] = [1, -1];
const [NO_QUEUE, RECEIVE_QUEUE, SEND_QUEUE] = [0, 1, 2];
/** What sk_err holds once the other end has said that nobody listens there. */
const { ECONNREFUSED } = constants.errno;
/** 239.0.0.0/8: groups of an organisation's own. */
const GROUP = 239;
/** Of enum socket_state: include/uapi/linux/net.h. */
const [SS_UNCONNECTED, SS_CONNECTED] = [1, 3];
const [NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_GENERIC] = [0, 2, 16];

/**
 * Loses segments on their way, and has them sent again: the last one after some milliseconds, as a probe for lost ones, which then
 * brings the others.
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

/** Opens sockets of all kinds, which rest in a network of ours. @param namespace what is known of that */
export function openSockets(maker: SocketMaker, network: Network, namespace: Thing | undefined): void {
  maker.inside(network, namespace, () => {
    const unfinished: (() => void)[] = [];
    for (let turn = 0; turn < 2; turn++) {
      tried(() => openUnix(maker, turn === 0));
      tried(() => openNetlink(maker));
      for (const family of [AF_INET, AF_INET6] as const) {
        if (family === AF_INET6 && network.withoutIpv6 !== null) continue;
        tried(() => openDatagram(maker, family));
        const finish = tried(() => openConnection(maker, family, turn + (family === AF_INET ? 1 : 3)));
        if (finish !== undefined) unfinished.push(finish);
      }
    }
    // What a network that others share has sent to it may answer.
    if (network.shared === null)
      for (const variant of [0, 1, 2, 3]) tried(() => openRepaired(maker, AF_INET, variant));
    tried(() => openRefused(maker));
    for (const finish of unfinished) tried(finish);
  });
}

/** Two that are connected with each other, and two that are bound. @param isShut whether one sends no more */
function openUnix(maker: SocketMaker, isShut: boolean): void {
  const ends = socketPair().map((each) => maker.owned.use(each));
  const [one] = ends;
  if (one !== undefined && isShut) shutdown(one.fd, SHUT_WR);
  const facts = ends.map((): Mutable<Partial<UnixFacts>> => ({ address: null }));
  const length = randomInt(100, 1000);
  if (ends[1] !== undefined) send(ends[1].fd, new Uint8Array(length));
  const unread = skBuff.of({ length, paged: 0, from: 0, device: null });
  const things = ends.map((each, index) => {
    maker.vary(each);
    const shut = isShut ? [2, 1][index] : 0;
    const queue = index === 0 ? [unread] : [];
    return maker.add(each, AF_UNIX, defined({ shut, queue, unix: facts[index] }));
  });
  for (const [index, each] of facts.entries()) Object.assign(each, defined({ peer: things[1 - index] }));
  for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
    const bound = maker.open(AF_UNIX, type);
    // An abstract name, which begins with a zero, and that nobody else has. All are so long that struct unix_address takes 33 to 64 bytes,
    // and lies in the cache for 64: of one beside another in the cache for 32 no more than that would be looked at.
    const name = new TextEncoder().encode(`\0${crypto.randomUUID()}`).subarray(0, randomInt(24, 36));
    const address = Uint8Array.of(AF_UNIX, 0, ...name);
    bind(bound.fd, address, "a socket of AF_UNIX");
    if (type === SOCK_STREAM) listen(bound.fd, randomInt(1, 100));
    maker.vary(bound);
    const unix = { peer: null, address: unixAddress.of({ address }) };
    maker.add(bound, AF_UNIX, { unix });
  }
}

function openNetlink(maker: SocketMaker): void {
  for (const protocol of [NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_GENERIC]) {
    const one = maker.open(AF_NETLINK, SOCK_RAW, protocol);
    // struct sockaddr_nl: u16 family, u16 padding, u32 portid, u32 groups
    const address = (portid: number) => {
      const words = new Uint32Array([AF_NETLINK, portid, 0]);
      return new Uint8Array(words.buffer);
    };
    const [portid, peerPortid] = [randomInt(2 ** 22, 2 ** 31), randomInt(2 ** 22, 2 ** 31)];
    bind(one.fd, address(portid), "a socket of AF_NETLINK");
    connect(one.fd, address(peerPortid), "a socket of AF_NETLINK");
    maker.vary(one);
    maker.add(one, AF_NETLINK, { netlink: { portid, peerPortid } });
  }
}

/** One that is bound to an address, and of IPv4 one that is bound to a group's. */
function openDatagram(maker: SocketMaker, family: Family): void {
  const addresses = [maker.address(family)];
  if (family === AF_INET)
    addresses.push(Uint8Array.of(GROUP, randomInt(1, 255), randomInt(1, 255), randomInt(1, 255)));
  for (const address of addresses) {
    const one = maker.open(family, SOCK_DGRAM);
    const to = bindSomewhere(one, { family, address });
    const isGroup = address[0] === GROUP;
    const queue = isGroup ? [] : sendTo(maker, one, to);
    maker.vary(one);
    const inet = isGroup ? { source: new Uint8Array(4) } : {};
    maker.add(one, family, { state: SS_UNCONNECTED, inet, ...defined({ queue }) });
  }
}

/** Has a datagram wait in a socket. @returns what is known of it; undefined where it did not come */
function sendTo(maker: SocketMaker, { fd }: FileDescriptor, to: SocketAddress): readonly Thing[] | undefined {
  using sender = socket(to.family, SOCK_DGRAM);
  set(sender.fd, SOL_SOCKET, SO.mark, randomInt(1, 2 ** 30));
  connect(sender.fd, encodeSockaddr(to), "a socket of ours");
  const length = lengthOf(maker.turn());
  send(sender.fd, new Uint8Array(length));
  const size = awaited(fd, 0);
  if (size === undefined) return undefined;
  const protocol = to.family === AF_INET ? ETH_P_IP : ETH_P_IPV6;
  const mark = told(sender.fd, SOL_SOCKET, SO.mark);
  return [skBuff.of(defined({ length, paged: 0, protocol, mark, size, end: size - BESIDE, from: LOOPBACK }))];
}

/**
 * One that listens, with so many connections that nobody takes, and the two ends of one over which data went both ways.
 * @returns what is left to do, after some milliseconds; undefined where nothing connected
 */
function openConnection(maker: SocketMaker, family: Family, waiting: number): (() => void) | undefined {
  const listener = maker.open(family, SOCK_STREAM);
  resetOnClose(listener.fd); // these may be in the machine's own network, where it has no namespaces
  set(listener.fd, SOL_TCP, TCP.maxSegment, randomInt(300, 1200));
  set(listener.fd, SOL_TCP, TCP.clamp, randomInt(2 ** 15, 2 ** 16));
  const to = bindSomewhere(listener, { family, address: maker.address(family) });
  listen(listener.fd, 20 * waiting + randomInt(0, 20));
  const dial = () => {
    const one = maker.open(family, SOCK_STREAM);
    resetOnClose(one.fd);
    set(one.fd, SOL_TCP, TCP.maxSegment, randomInt(300, 1200));
    bindSomewhere(one, { family, address: maker.address(family) });
    connect(one.fd, encodeSockaddr(to), "a socket of ours");
    return one;
  };
  const client = dial();
  if (!waitReadable(listener.fd, PATIENCE)) return undefined;
  const server = maker.owned.use(accept(listener.fd));
  for (let left = waiting; left > 0; left--) dial();
  // So much at once makes the congestion window larger.
  const burst = (told(client.fd, SOL_TCP, TCP.maxSegment) ?? 536) * (8 + waiting);
  for (const [from, into, first] of [
    [client, server, burst],
    [server, client, 1],
  ] as const)
    for (let left = randomInt(2, 12); left >= 0; left--) {
      const bytes = new Uint8Array(left === 0 ? first : randomInt(1, 2000));
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
    maker.vary(listener, true);
    maker.add(listener, family, { state: SS_UNCONNECTED, isListening: true });
    for (const one of [client, server]) {
      maker.vary(one, true);
      maker.add(one, family, { state: SS_CONNECTED });
    }
  };
}

/**
 * One that the kernel takes for connected, with sequence numbers of our choice (TCP_REPAIR): some data is on its way, some
 * waits to be sent, and some to be read. The window is full, and all that comes is dropped, so that nothing moves.
 * @param variant in which way the numbers that are kept of others (snd_sml, snd_up, pushed_seq and so on) are not the same
 */
function openRepaired(maker: SocketMaker, family: Family, variant: number): void {
  const one = maker.open(family, SOCK_STREAM);
  const { fd } = one;
  const repair = (option: number, value: number) => setsockopt(fd, SOL_TCP, option, value);
  dropIncoming(fd);
  set(fd, SOL_TCP, TCP.maxSegment, randomInt(300, 1200));
  repair(TCP.repair, REPAIR_ON);
  const [sent, received] = [randomInt(2 ** 20, 2 ** 32 - 2 ** 20), randomInt(2 ** 20, 2 ** 32 - 2 ** 20)];
  repair(TCP.repairQueue, SEND_QUEUE);
  repair(TCP.queueSequence, sent | 0);
  repair(TCP.repairQueue, RECEIVE_QUEUE);
  repair(TCP.queueSequence, received | 0);
  bindSomewhere(one, { family, address: maker.address(family) });
  const to = { family, address: maker.address(family), port: randomInt(1024, 65536) };
  connect(fd, encodeSockaddr(to), "a socket in repair");
  const segment = told(fd, SOL_TCP, TCP.maxSegment) ?? 536;
  const packets = variant % 2 === 1 ? 0 : randomInt(2, 9);
  const inFlight = packets * segment - (variant === 2 ? randomInt(1, 100) : 0);
  // With nothing to send the kernel does not try to, so that the numbers of its last attempt stay as they are.
  const [unread, unsent] = [randomInt(200, 900), variant === 3 ? 0 : randomInt(20, 200)];
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
  // Reading makes room in the window.
  const read = variant === 1 ? randomInt(1, 100) : 0;
  if (read > 0) recv(fd, new Uint8Array(read));
  maker.vary(one, true);
  const tcp = {
    copied: (received + read) >>> 0,
    received: (received + unread) >>> 0,
    acknowledged: sent,
    sent: (sent + inFlight) >>> 0,
    written: (sent + inFlight + unsent) >>> 0,
    inFlight: packets,
    sendWindow: inFlight,
  };
  maker.add(one, family, { state: SS_CONNECTED, tcp });
}

/** One to which it was said that nobody listens, which no call of ours has reported yet. */
function openRefused(maker: SocketMaker): void {
  const address = maker.address(AF_INET);
  const one = maker.open(AF_INET, SOCK_DGRAM);
  const other = maker.open(AF_INET, SOCK_DGRAM);
  const to = bindSomewhere(other, { family: AF_INET, address });
  other[Symbol.dispose]();
  connect(one.fd, encodeSockaddr(to), "a socket of nobody");
  send(one.fd, new Uint8Array(1));
  if (!waitReadable(one.fd, PATIENCE)) return;
  maker.vary(one, true);
  maker.add(one, AF_INET, { error: ECONNREFUSED });
}
