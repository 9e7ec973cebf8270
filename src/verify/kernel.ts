import { SystemError } from "../../ffi/error.ts";
import type { BpfObject, Libbpf } from "../../ffi/libbpf.ts";
import { AF_INET, AF_INET6, sleep } from "../../ffi/libc.ts";
import { readSocketEvent, type SocketEvent } from "../bytecode/events.ts";
import { stableInfo } from "../kernel/stimulus/connection.ts";
import { type Network, PrivateNetwork } from "../kernel/stimulus/namespace.ts";
import { NamedThread } from "../kernel/thread.ts";
import type { Family, SocketAddress } from "../net/address.ts";
import { TcpSocket } from "../net/tcp.ts";
import { UdpSocket } from "../net/udp.ts";

/** One value that the program read, and what the kernel says of the same socket by its API. */
export interface Comparison {
  /** What leads to the value: all of them are wrong together, or one of them. */
  readonly constants: readonly string[];
  readonly socket: "tcp4" | "tcp6" | "udp4" | "udp6";
  /** As text: an address in hex, a number in decimal. */
  readonly expected: string;
  /** Null: it was not read. */
  readonly got: string | null;
}

/** What was compared, and by which programs. */
export interface KernelVerification {
  /** `kind:target` of the programs in use. */
  readonly attached: readonly string[];
  /** Why others are not in use. */
  readonly refused: readonly string[];
  readonly comparisons: readonly Comparison[];
}

type Attach = (object: BpfObject, program: string, target: string) => { readonly where: string } & Disposable;
const kprobe: Attach = (object, program, target) => object.program(program).attachKprobe(target);
const rawTracepoint: Attach = (object, program, target) =>
  object.program(program).attachRawTracepoint(target);

/** Where the program sees a socket at rest, in a system call of ours. */
const rungs: readonly { readonly program: string; readonly target: string; readonly attach: Attach }[] = [
  { program: "kprobe_tcp_getsockopt", target: "tcp_getsockopt", attach: kprobe },
  { program: "raw_tp_tcp_rcv_space_adjust", target: "tcp_rcv_space_adjust", attach: rawTracepoint },
  { program: "raw_tp_sock_send_length", target: "sock_send_length", attach: rawTracepoint },
  { program: "kprobe_udp_sendmsg", target: "udp_sendmsg", attach: kprobe },
  { program: "kprobe_udpv6_sendmsg", target: "udpv6_sendmsg", attach: kprobe },
];

/** Round-trip times stand still when two readings so many microseconds apart agree. */
const stability = { window: 100, attempts: 20 };
const PRIMING_ROUNDS = 2;
/** Microseconds. */
const PRIMING_PAUSE = 300;
const TCP_ESTABLISHED = 1;

export interface VerifyOptions {
  /**
   * Bytes of socket_reader with the constants in it, and these values for its filter besides, which no document has.
   * @throws what baking throws
   */
  readonly bake: (filter: ReadonlyMap<string, bigint>) => Uint8Array;
  readonly name: string;
  /** How many sockets of each kind. */
  readonly rounds: number;
}

/**
 * Has the socket reader look at fresh sockets with random addresses in private network namespaces, TCP and UDP of both
 * families, and compares what it read with bind(2), connect(2), TCP_INFO and the namespace's inode number.
 * @throws SystemError when the kernel lets no program in
 */
export function verifyKernel(libbpf: Libbpf, { bake, name, rounds }: VerifyOptions): KernelVerification {
  using thread = new NamedThread();
  using object = libbpf.openObject(bake(filterFor(thread.name)), name);
  object.load();
  const events: SocketEvent[] = [];
  using reader = object.map("events").events((record) => events.push(readSocketEvent(record)));
  using links = new DisposableStack();
  const attached: string[] = [];
  const refused: string[] = [];
  for (const { program, target, attach } of rungs) {
    try {
      attached.push(links.use(attach(object, program, target)).where);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      refused.push(error.message);
    }
  }
  /** What the programs saw while `act` ran. */
  const during = (act: () => void): readonly SocketEvent[] => {
    reader.consume();
    events.length = 0;
    act();
    reader.consume();
    return [...events];
  };
  const comparisons: Comparison[] = [];
  for (let round = 0; round < rounds; round++) {
    using network = new PrivateNetwork();
    const families: readonly Family[] = network.withoutIpv6 === null ? [AF_INET, AF_INET6] : [AF_INET];
    network.inside(() => {
      for (const family of families) {
        comparisons.push(...lookAtTcp(network, family, during));
        comparisons.push(...lookAtUdp(network, family, during));
      }
    });
  }
  return { attached, refused, comparisons };
}

/** The constants filter_comm_0 to _3: the bytes of a thread's name as four numbers. */
function filterFor(name: Uint8Array): ReadonlyMap<string, bigint> {
  const view = new DataView(name.buffer, name.byteOffset, name.byteLength);
  return new Map(
    [0, 1, 2, 3].map((index) => [`filter_comm_${index}`, BigInt(view.getUint32(4 * index, true))]),
  );
}

type During = (act: () => void) => readonly SocketEvent[];

function lookAtTcp(network: Network, family: Family, during: During): Comparison[] {
  using listener = TcpSocket.open(family);
  const peer = listener.bind({ family, address: network.address(family), port: 0 });
  listener.listen();
  using client = TcpSocket.open(family);
  const own = client.bind({ family, address: network.address(family), port: 0 });
  client.connect(peer);
  using server = listener.accept();
  for (const socket of [client, server]) socket.delayAcknowledgements();
  const byte = new Uint8Array(1);
  for (let round = 0; round < PRIMING_ROUNDS; round++) {
    client.send(byte);
    sleep(PRIMING_PAUSE);
    server.receive(byte);
    server.send(byte);
    // The last byte stays, to be looked at.
    if (round < PRIMING_ROUNDS - 1) client.receive(byte);
  }
  const before = stableInfo(client, stability);
  const seen = during(() => {
    client.peek();
    client.info();
  });
  const after = client.info();
  const isStill = before !== null && before.rtt === after.rtt && before.rttvar === after.rttvar;
  const socket = family === AF_INET ? "tcp4" : "tcp6";
  return [
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
}

function lookAtUdp(network: Network, family: Family, during: During): Comparison[] {
  using receiver = UdpSocket.open(family);
  const peer = receiver.bind({ family, address: network.address(family), port: 0 });
  using sender = UdpSocket.open(family);
  const own = sender.bind({ family, address: network.address(family), port: 0 });
  sender.connect(peer);
  const seen = during(() => sender.send(new Uint8Array(1)));
  return compareAddresses(network, own, peer, family === AF_INET ? "udp4" : "udp6", seen);
}

function compareAddresses(
  network: Network,
  own: SocketAddress,
  peer: SocketAddress,
  socket: Comparison["socket"],
  seen: readonly SocketEvent[],
): Comparison[] {
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

/** Of several events the first that is wrong tells most; without an event there is nothing. */
function compare(
  constants: readonly (string | undefined)[],
  socket: Comparison["socket"],
  expected: string | number | null,
  seen: readonly SocketEvent[],
  read: (event: SocketEvent) => string | number | null,
): Comparison {
  const wanted = String(expected);
  const values = seen.map((event) => read(event)?.toString() ?? null);
  const got = values.find((value) => value !== wanted) ?? values[0] ?? null;
  return { constants: constants.filter((name) => name !== undefined), socket, expected: wanted, got };
}
