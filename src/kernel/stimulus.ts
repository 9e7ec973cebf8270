import { AF_INET, sleep } from "../../ffi/libc.ts";
import type { Family, SocketAddress } from "../net/address.ts";
import * as tcp from "../net/tcp.ts";
import { type TcpInfo, TcpSocket } from "../net/tcp.ts";
import type { Expectation, Facts } from "../offsets/observation.ts";
import { host, network, raw, shifted } from "../offsets/values.ts";

/** What we know of one end of a TCP connection: its own address, and the peer's once it has one. */
export interface End {
  readonly own: SocketAddress;
  readonly peer?: SocketAddress;
}

/** Round-trip times that were read while they could not change. */
export type Timing = Pick<TcpInfo, "rtt" | "rttvar">;

/** A state change that a system call of ours brings about, and the end whose socket it happens to. */
export interface Transition {
  readonly from: number;
  readonly to: number;
  readonly end: End;
  readonly timing?: Timing;
}

/** waitUntilStable: the pause between the two readings of a pair, in microseconds, and how many pairs at most. */
export interface Stability {
  readonly window: number;
  readonly attempts: number;
}

/** Observes our sockets, each kind of probe in its own way. */
export interface Witness {
  /** When round-trip times count as standing still. */
  readonly stability: Stability;
  /** Runs a system call that makes these state changes. */
  moving(act: () => void, transitions: readonly Transition[]): void;
  /** The socket is at rest: nothing of it will change until we change it. */
  resting(socket: TcpSocket, end: End): void;
}

/** Round trips that make srtt_us and mdev_us large and different. Pauses are in microseconds. */
const PRIMING_ROUNDS = 3;
const PRIMING_PAUSE = { least: 300, spread: 900 };

/** What stands in struct tcp_sock of one of our sockets. */
export function factsOf({ own, peer }: End, state: number, timing: Timing | undefined): Facts {
  const facts = new Map<string, Expectation>([
    ["offset_family", host(2, own.family)],
    ["offset_state", host(1, state)],
    ["offset_sport", network(2, own.port)],
    ["offset_num", host(2, own.port)],
    ["offset_dport", network(2, peer?.port ?? 0)],
  ]);
  // The IPv4 members of an IPv6 socket hold what the kernel likes (LOOPBACK4_IPV6): nothing is expected there.
  const [saddr, daddr] =
    own.family === AF_INET ? ["offset_saddr", "offset_daddr"] : ["offset_saddr_ipv6", "offset_daddr_ipv6"];
  facts.set(saddr, raw(own.address));
  facts.set(daddr, raw(peer?.address ?? new Uint8Array(own.address.length)));
  if (timing !== undefined) {
    facts.set("offset_rtt", shifted(4, timing.rtt, 3)); // tcp_get_info: tcpi_rtt = srtt_us >> 3
    facts.set("offset_rtt_var", shifted(4, timing.rttvar, 2)); // tcp_get_info: tcpi_rttvar = mdev_us >> 2
  }
  return facts;
}

/** TCP_INFO once two readings in a row agree (waitUntilStable); null when they never do. */
export function stableInfo(socket: TcpSocket, { window, attempts }: Stability): TcpInfo | null {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const first = socket.info();
    sleep(window);
    const second = socket.info();
    if (first.rtt === second.rtt && first.rttvar === second.rttvar && first.state === second.state)
      return second;
  }
  return null;
}

/** The timing of a connected socket, when it stands still. */
function timingOf(socket: TcpSocket, stability: Stability): { timing?: Timing } {
  const timing = stableInfo(socket, stability);
  return timing === null ? {} : { timing };
}

/** A TCP connection over loopback from its birth to its end, under the eyes of a witness. */
export class Connection implements Disposable {
  readonly #owned = new DisposableStack();
  readonly #witness: Witness;
  readonly #client: TcpSocket;
  readonly #server: TcpSocket;
  readonly #clientEnd: End;
  readonly #serverEnd: End;

  /**
   * Listens on `to`, connects from `from`, both on ports that the kernel picks. The thread must be in the network
   * namespace that has the addresses (4 or 16 bytes).
   */
  constructor(family: Family, from: Uint8Array, to: Uint8Array, witness: Witness) {
    using undo = new DisposableStack();
    this.#witness = witness;
    const listener = undo.use(TcpSocket.open(family));
    const listening: End = { own: listener.bind({ family, address: to, port: 0 }) };
    witness.resting(listener, listening);
    witness.moving(() => listener.listen(), [{ from: tcp.TCP_CLOSE, to: tcp.TCP_LISTEN, end: listening }]);
    witness.resting(listener, listening);

    this.#client = undo.use(TcpSocket.open(family));
    this.#clientEnd = { own: this.#client.bind({ family, address: from, port: 0 }), peer: listening.own };
    this.#serverEnd = { own: listening.own, peer: this.#clientEnd.own };
    witness.moving(
      () => this.#client.connect(listening.own),
      [
        { from: tcp.TCP_CLOSE, to: tcp.TCP_SYN_SENT, end: this.#clientEnd },
        { from: tcp.TCP_SYN_SENT, to: tcp.TCP_ESTABLISHED, end: this.#clientEnd },
        { from: tcp.TCP_SYN_RECV, to: tcp.TCP_ESTABLISHED, end: this.#serverEnd },
      ],
    );
    this.#server = undo.use(listener.accept());
    for (const socket of [this.#client, this.#server]) socket.delayAcknowledgements();
    this.#owned = undo.move();
  }

  /** Tells the witness of the established ends. */
  rest(): void {
    this.#witness.resting(this.#client, this.#clientEnd);
    this.#witness.resting(this.#server, this.#serverEnd);
  }

  /** Closes both directions, the client first. The sockets stay. */
  finish(): void {
    const { stability } = this.#witness;
    this.#witness.moving(
      () => this.#client.shutdown(),
      [
        {
          from: tcp.TCP_ESTABLISHED,
          to: tcp.TCP_FIN_WAIT1,
          end: this.#clientEnd,
          ...timingOf(this.#client, stability),
        },
        { from: tcp.TCP_FIN_WAIT1, to: tcp.TCP_FIN_WAIT2, end: this.#clientEnd },
        { from: tcp.TCP_ESTABLISHED, to: tcp.TCP_CLOSE_WAIT, end: this.#serverEnd },
      ],
    );
    this.#server.receive(new Uint8Array(1)); // the client's end of stream
    this.rest();
    this.#witness.moving(
      () => this.#server.shutdown(),
      [
        {
          from: tcp.TCP_CLOSE_WAIT,
          to: tcp.TCP_LAST_ACK,
          end: this.#serverEnd,
          ...timingOf(this.#server, stability),
        },
      ],
    );
  }

  /** Exchanges delayed echoes over all connections at once, so that each end has measured round trips. */
  static prime(connections: readonly Connection[]): void {
    const byte = new Uint8Array(1);
    for (let round = 0; round < PRIMING_ROUNDS; round++) {
      for (const connection of connections) connection.#client.send(byte);
      pause();
      for (const connection of connections) {
        connection.#server.receive(byte);
        connection.#server.send(byte);
      }
      pause();
      for (const connection of connections) connection.#client.receive(byte);
    }
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

const pause = (): void => sleep(PRIMING_PAUSE.least + Math.floor(Math.random() * PRIMING_PAUSE.spread));
