import { statusOf } from "../../../ffi/descriptors.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import {
  AF_INET,
  AF_INET6,
  getsockname,
  SOCK_DGRAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  setsockopt,
  socket,
} from "../../../ffi/socket-calls.ts";
import type { Family } from "../../net/address.ts";
import { once } from "../../self/once.ts";
import type { Thing } from "../members/row.ts";
import {
  type InetFacts,
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
  unixSock,
} from "../members/socket.ts";
import { defined, type Mutable } from "./known-facts.ts";
import type { Files } from "./open-files.ts";
import { isFirstNumbering, objectSizeOf, objectSizes } from "./procfs.ts";
import {
  INFO,
  INFO_LONG,
  IP,
  IP_FLAGS,
  IPV6,
  infoOf,
  isInet,
  memoryOf,
  SO,
  TCP,
  told,
  toldLong,
  tried,
} from "./socket-options.ts";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;

/** Of include/linux/net.h, a bit of struct socket's flags: SOCK_PASSCRED, since Linux 6.16 SOCK_SUPPORT_ZC. */
const KNOWN_FLAG = 1 << 3;

/** What is known of a socket beside what it tells itself. */
export interface KnownOfSocket {
  readonly state?: number;
  readonly error?: number;
  readonly shut?: number;
  readonly unix?: Partial<UnixFacts>;
  readonly inet?: Partial<InetFacts>;
  readonly tcp?: Partial<TcpFacts>;
  readonly netlink?: NetlinkFacts;
  readonly queue?: readonly Thing[] | undefined;
  readonly isListening?: true;
  /** Its network namespace. */
  readonly network?: Thing | undefined;
}

/** What the kernel has of sockets of ours: what they tell of themselves, and what whoever made them knows besides. */
export class SocketThings {
  readonly #ops = new Map<string, Thing>();
  readonly #protocols = protocols();
  readonly #areUsersKnown = isFirstNumbering();
  /** Whether sockets of IP may pass credentials, as all do as long as that is a flag of struct socket. */
  readonly #isPassing = tried(() => {
    using one = socket(AF_INET, SOCK_DGRAM);
    setsockopt(one.fd, SOL_SOCKET, SO.passCredentials, 1);
    return true;
  });

  constructor(private readonly files: Files) {}

  /** The thing that is the socket behind a descriptor. */
  add(descriptor: FileDescriptor, family: number, known: KnownOfSocket): Thing {
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

  #sockFacts(fd: number, known: KnownOfSocket): Partial<SockFacts> {
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
      uid: this.#areUsersKnown ? Number(statusOf(fd, "a socket of ours").uid) : undefined,
      error: known.error ?? 0,
      shut: known.shut ?? 0,
      network: known.network,
      queue: known.queue,
      proto: this.#protocols.get(`${at(SO.domain)} ${at(SO.protocol)}`),
    });
  }

  #inetParts(fd: number, known: KnownOfSocket, family: Family): Thing[] {
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
function movingFacts(fd: number, { isListening }: KnownOfSocket): Partial<SockFacts> {
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

function tcpFactsOf(fd: number, { tcp, isListening }: KnownOfSocket): Partial<TcpFacts> {
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
