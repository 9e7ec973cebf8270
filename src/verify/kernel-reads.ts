import type { SystemError } from "../../ffi/error.ts";
import type { BpfObject, Libbpf } from "../../ffi/libbpf.ts";
import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import { sleep } from "../../ffi/thread.ts";
import { readSocketEvent, type SocketEvent } from "../bytecode/events.ts";
import type { Answer } from "../host/answer.ts";
import { NamedThread } from "../kernel/running/named-thread.ts";
import { failureOf, stableInfo } from "../kernel/stimulus/connection.ts";
import { CurrentNetwork, type Network, PrivateNetwork } from "../kernel/stimulus/private-network.ts";
import type { Family, SocketAddress } from "../net/address.ts";
import { isWithoutNamespaces, NO_NAMESPACES } from "../net/namespace.ts";
import { TcpSocket } from "../net/tcp.ts";
import { UdpSocket } from "../net/udp.ts";

/** A kind of socket that is looked at. */
export type SocketKind = "tcp4" | "tcp6" | "udp4" | "udp6";

/** One value that the program read, and what the kernel says of the same socket by its API. */
export interface SocketComparison {
  /** The constants that lead to the value. Where it is wrong, at least one of them is. */
  readonly constants: readonly string[];
  readonly socket: SocketKind;
  /** As text: an address in hex, a number in decimal. */
  readonly expected: string;
  /** The value that the program read; null where it read none. */
  readonly got: string | null;
}

/** A socket that was not looked at: nothing is known of what the program would have read. */
export interface Unseen {
  readonly socket: SocketKind;
  readonly reason: string;
}

/** What was compared, and by which programs. */
export interface KernelVerification {
  /** `kind:target` of the programs in use. */
  readonly attached: readonly string[];
  /** Why others are not in use. */
  readonly refused: readonly string[];
  readonly comparisons: readonly SocketComparison[];
  readonly unseen: readonly Unseen[];
}

interface Rung {
  readonly kind: "kprobe" | "raw_tp";
  readonly target: string;
  /** The sockets that pass it. */
  readonly sees: readonly SocketKind[];
  /** Whether they pass it always. Kprobes may be turned off, and what a sockmap redirects is not received by TCP. */
  readonly always?: true;
}

/** Where the program sees a socket at rest, in a system call of ours. */
const rungs: readonly Rung[] = [
  { kind: "kprobe", target: "tcp_getsockopt", sees: ["tcp4", "tcp6"] },
  { kind: "raw_tp", target: "tcp_rcv_space_adjust", sees: ["tcp4", "tcp6"] },
  { kind: "raw_tp", target: "sock_send_length", sees: ["udp4", "udp6"], always: true },
  { kind: "kprobe", target: "udp_sendmsg", sees: ["udp4"] },
  { kind: "kprobe", target: "udpv6_sendmsg", sees: ["udp6"] },
];

function attach(object: BpfObject, { kind, target }: Rung): { readonly where: string } & Disposable {
  const program = object.program(`${kind}_${target}`);
  return kind === "kprobe" ? program.attachKprobe(target) : program.attachRawTracepoint(target);
}

/** Round-trip times stand still when two readings so many microseconds apart agree. */
const stability = { window: 100, attempts: 20 };
const PRIMING_ROUNDS = 2;
/** Microseconds that an echo waits, so that round trips can be measured. */
const PRIMING_PAUSE = 300;
const TCP_ESTABLISHED = 1;
/** How often a look is repeated that no program saw: one does not run where it interrupts another one (bpf_prog_active), which is rare. */
const MOST_MISSES = 3;

export interface VerifyOptions {
  /**
   * Bytes of socket_reader with the constants in it, and these values for its filter besides, which no document has.
   * @throws what baking throws
   */
  readonly bake: (filter: ReadonlyMap<string, bigint>) => Uint8Array;
  readonly name: string;
  /** How many sockets of each kind. */
  readonly rounds: number;
  /** Whether kprobes may be attached. Where ftrace is off they never run, and kernels up to 6.12 warn and lose them (ftrace_shutdown). */
  readonly kprobes: Answer;
}

/**
 * Has the socket reader look at fresh sockets with random addresses in private network namespaces, TCP and UDP of both
 * families, and compares what it read with bind(2), connect(2), TCP_INFO and the namespace's inode number.
 * @throws SystemError when the kernel lets no program in, or no socket of any kind comes about
 */
export function verifyKernel(libbpf: Libbpf, options: VerifyOptions): KernelVerification {
  const { bake, name, rounds, kprobes } = options;
  using thread = new NamedThread();
  using object = libbpf.openObject(bake(filterFor(thread.name)), name);
  object.load();
  const events: SocketEvent[] = [];
  using reader = object.map("events").events((record) => events.push(readSocketEvent(record)));
  using links = new DisposableStack();
  const attached: Rung[] = [];
  const refused: { readonly rung: Rung; readonly why: string }[] = [];
  for (const rung of rungs) {
    const why =
      rung.kind === "kprobe" && kprobes.is === "no"
        ? kprobes.why
        : failureOf(() => void links.use(attach(object, rung)))?.message;
    if (why === undefined) attached.push(rung);
    else refused.push({ rung, why });
  }
  /** What the programs saw while `act` ran. */
  const during = (act: () => void): readonly SocketEvent[] => {
    for (let miss = 0; miss < MOST_MISSES; miss++) {
      reader.consume();
      events.length = 0;
      act();
      reader.consume();
      if (events.length > 0) break;
    }
    return [...events];
  };
  const comparisons: SocketComparison[] = [];
  const unseen: Unseen[] = [];
  const failures = new Map<SocketKind, SystemError>();
  /** What the system refuses of one kind of socket costs that kind alone, and is waited for once. */
  const look = (socket: SocketKind, lookAt: () => Look): void => {
    let found: Look | undefined;
    const failure =
      failures.get(socket) ??
      failureOf(() => {
        found = lookAt();
      });
    if (failure !== null) {
      failures.set(socket, failure);
      unseen.push({ socket, reason: failure.message });
      return;
    }
    const { isSeen = false, compared = [] } = found ?? {};
    const watching = attached.filter(({ sees }) => sees.includes(socket));
    if (isSeen) comparisons.push(...compared);
    // The program ran, and tells nothing where it reads no address family that it knows.
    else if (watching.some(({ always }) => always))
      comparisons.push(...compared.filter(({ constants }) => constants.includes("offset_family")));
    else unseen.push({ socket, reason: whyUnseen(socket, watching, refused) });
  };
  for (let round = 0; round < rounds; round++) {
    using network = isWithoutNamespaces() ? new CurrentNetwork(NO_NAMESPACES) : new PrivateNetwork();
    const families: readonly Family[] = network.withoutIpv6 === null ? [AF_INET, AF_INET6] : [AF_INET];
    network.inside(() => {
      for (const family of families) {
        const [tcp, udp] = family === AF_INET ? (["tcp4", "udp4"] as const) : (["tcp6", "udp6"] as const);
        look(tcp, () => lookAtTcp(network, family, tcp, during));
        look(udp, () => lookAtUdp(network, family, udp, during));
      }
    });
  }
  const [failure] = failures.values();
  if (failure !== undefined && comparisons.length === 0) throw failure;
  return {
    attached: attached.map(({ kind, target }) => `${kind}:${target}`),
    refused: refused.map(({ rung: { kind, target }, why }) => `${kind}:${target}: ${why}`),
    comparisons,
    unseen,
  };
}

/** Why no program saw a socket of a kind. */
function whyUnseen(
  socket: SocketKind,
  watching: readonly Rung[],
  refused: readonly { readonly rung: Rung; readonly why: string }[],
): string {
  const silent = watching.map(({ kind, target }) => `${kind}:${target} is attached, but told nothing`);
  const others = refused
    .filter(({ rung }) => rung.sees.includes(socket))
    .map(({ rung: { kind, target }, why }) => `${kind}:${target}: ${why}`);
  return [...silent, ...others].join("; ");
}

/** The constants filter_comm_0 to _3: the bytes of a thread's name as four numbers. */
function filterFor(name: Uint8Array): ReadonlyMap<string, bigint> {
  const view = new DataView(name.buffer, name.byteOffset, name.byteLength);
  return new Map(
    [0, 1, 2, 3].map((index) => [`filter_comm_${index}`, BigInt(view.getUint32(4 * index, true))]),
  );
}

type During = (act: () => void) => readonly SocketEvent[];

/** What came of looking at one socket. */
interface Look {
  /** Whether a program told of it at all. */
  readonly isSeen: boolean;
  readonly compared: readonly SocketComparison[];
}

function lookAtTcp(network: Network, family: Family, socket: SocketKind, during: During): Look {
  using listener = TcpSocket.open(family);
  const peer = listener.bind({ family, address: network.address(family) });
  listener.listen();
  using client = TcpSocket.open(family);
  const own = client.bind({ family, address: network.address(family) });
  client.connect(peer);
  using server = listener.accept();
  for (const socket of [client, server]) socket.delayAcknowledgements();
  const byte = new Uint8Array(1);
  for (let round = 0; round < PRIMING_ROUNDS; round++) {
    client.send(byte);
    sleep(PRIMING_PAUSE);
    server.receive(byte);
    server.send(byte);
    // The last byte stays in the queue, so that a read which leaves it there (MSG_PEEK) passes the program.
    if (round < PRIMING_ROUNDS - 1) client.receive(byte);
  }
  const before = stableInfo(client, stability);
  const seen = during(() => {
    client.peek();
    client.info();
  });
  const after = client.info();
  const isStill = before !== null && before.rtt === after.rtt && before.rttvar === after.rttvar;
  const compared = [
    ...compareAddresses(network, own, peer, socket, seen),
    compare(["offset_state"], socket, TCP_ESTABLISHED, seen, ({ state }) => state),
    ...(isStill
      ? [
          // tcp_get_info: tcpi_rtt is srtt_us >> 3, tcpi_rttvar mdev_us >> 2.
          compare(["offset_rtt"], socket, after.rtt, seen, ({ rtt }) => (rtt === null ? null : rtt >>> 3)),
          compare(["offset_rtt_var"], socket, after.rttvar, seen, ({ rtt_var }) =>
            rtt_var === null ? null : rtt_var >>> 2,
          ),
        ]
      : []),
  ];
  return { isSeen: seen.length > 0, compared };
}

function lookAtUdp(network: Network, family: Family, socket: SocketKind, during: During): Look {
  using receiver = UdpSocket.open(family);
  const peer = receiver.bind({ family, address: network.address(family) });
  using sender = UdpSocket.open(family);
  const own = sender.bind({ family, address: network.address(family) });
  sender.connect(peer);
  const seen = during(() => sender.send(new Uint8Array(1)));
  return { isSeen: seen.length > 0, compared: compareAddresses(network, own, peer, socket, seen) };
}

function compareAddresses(
  network: Network,
  own: SocketAddress,
  peer: SocketAddress,
  socket: SocketComparison["socket"],
  seen: readonly SocketEvent[],
): SocketComparison[] {
  const isIpv4 = own.family === AF_INET;
  const [saddr, daddr] = isIpv4
    ? ["offset_saddr", "offset_daddr"]
    : ["offset_saddr_ipv6", "offset_daddr_ipv6"];
  const hex = (bytes: Uint8Array | null): string | null =>
    bytes === null ? null : Buffer.from(bytes).toString("hex");
  return [
    compare(["offset_family"], socket, isIpv4 ? "ipv4" : "ipv6", seen, ({ family }) => family),
    compare([saddr], socket, hex(own.address), seen, (event) => hex(event.saddr)),
    compare([daddr], socket, hex(peer.address), seen, (event) => hex(event.daddr)),
    compare(["offset_sport"], socket, own.port, seen, ({ sport }) => sport),
    compare(["offset_dport"], socket, peer.port, seen, ({ dport }) => dport),
    compare(["offset_num"], socket, own.port, seen, ({ num }) => num),
    compare(["offset_netns", "offset_ino"], socket, network.inode, seen, ({ ino }) => ino),
  ];
}

/** The comparisons of a socket: where several events tell of it, those of the first that is wrong. */
function compare(
  constants: readonly (string | undefined)[],
  socket: SocketComparison["socket"],
  expected: string | number | null,
  seen: readonly SocketEvent[],
  read: (event: SocketEvent) => string | number | null,
): SocketComparison {
  const wanted = String(expected);
  const values = seen.map((event) => read(event)?.toString() ?? null);
  const got = values.find((value) => value !== wanted) ?? values[0] ?? null;
  return { constants: constants.filter((name) => name !== undefined), socket, expected: wanted, got };
}
