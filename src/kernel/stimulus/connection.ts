import { SystemError } from "../../../ffi/error.ts";
import { sleep } from "../../../ffi/thread.ts";
import type { Family } from "../../net/address.ts";
import * as tcp from "../../net/tcp.ts";
import { type TcpInfo, TcpSocket } from "../../net/tcp.ts";
import { randomInt } from "../../self/random.ts";
import type { Families, Stability } from "../fields/options.ts";
import type { ConnectionEnd, Timing } from "./facts.ts";
import { type Network, tcpFamilies } from "./private-network.ts";

/** A state change that a system call of ours brings about, and the end whose socket it happens to. */
export interface Transition {
  readonly from: number;
  readonly to: number;
  readonly end: ConnectionEnd;
  readonly timing?: Timing;
}

/** Something that observes our connections: a strategy of the guess, by its eBPF program. */
export interface Spectator {
  /** When round-trip times count as standing still. */
  readonly stability: Stability;
  /** Runs a system call that makes these state changes; `sender` looks up a route and sends a packet meanwhile. */
  moving(act: () => void, transitions: readonly Transition[], sender?: ConnectionEnd): void;
  /** Observes a socket at rest: nothing of it changes until we change it. */
  resting(socket: TcpSocket, end: ConnectionEnd): void;
}

/**
 * Round trips that make srtt_us and mdev_us large and different. While each takes longer than the one before, as behind a
 * queue that delays data, rttvar_us and mdev_max_us may be mdev_us; after so many more of one length mdev_us falls and they
 * do not follow it (net/ipv4/tcp_input.c: tcp_rtt_estimator).
 */
const PRIMING_ROUNDS = { first: 2, again: 10 };
/** Microseconds between an arrival and the echo, by chance: the shortest, and what none reaches. */
const PRIMING_PAUSE = { least: 200, below: 800 };

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

/** A TCP connection over loopback from its birth to its end, under the eyes of a spectator. */
export class Connection implements Disposable {
  readonly #owned: DisposableStack;
  readonly #spectator: Spectator;
  readonly #client: TcpSocket;
  readonly #server: TcpSocket;
  readonly #clientEnd: ConnectionEnd;
  readonly #serverEnd: ConnectionEnd;

  /**
   * Listens on `to`, connects from `from`, both on ports that the kernel picks. The thread must be in the network
   * namespace that has the addresses (4 or 16 bytes).
   */
  constructor(family: Family, from: Uint8Array, to: Uint8Array, spectator: Spectator) {
    using undo = new DisposableStack();
    this.#spectator = spectator;
    const listener = undo.use(TcpSocket.open(family));
    const listening: ConnectionEnd = { own: listener.bind({ family, address: to }) };
    spectator.moving(() => listener.listen(), [{ from: tcp.TCP_CLOSE, to: tcp.TCP_LISTEN, end: listening }]);
    spectator.resting(listener, listening);

    this.#client = undo.use(TcpSocket.open(family));
    this.#clientEnd = { own: this.#client.bind({ family, address: from }), peer: listening.own };
    this.#serverEnd = { own: listening.own, peer: this.#clientEnd.own };
    const transitions = [
      { from: tcp.TCP_CLOSE, to: tcp.TCP_SYN_SENT, end: this.#clientEnd },
      { from: tcp.TCP_SYN_SENT, to: tcp.TCP_ESTABLISHED, end: this.#clientEnd },
    ];
    spectator.moving(() => this.#client.connect(listening.own), transitions, this.#clientEnd);
    this.#server = undo.use(listener.accept());
    for (const socket of [this.#client, this.#server]) socket.delayAcknowledgements();
    this.#owned = undo.move();
  }

  /** Shows ends of the connection at rest. */
  show(...sides: ("client" | "server")[]): void {
    if (sides.includes("client")) this.#spectator.resting(this.#client, this.#clientEnd);
    if (sides.includes("server")) this.#spectator.resting(this.#server, this.#serverEnd);
  }

  /** Closes the client's direction and shows the server then. The sockets stay. */
  closeClient(): void {
    const { stability } = this.#spectator;
    const closing = { from: tcp.TCP_ESTABLISHED, to: tcp.TCP_FIN_WAIT1, end: this.#clientEnd };
    const clientTiming = timingOf(this.#client, stability);
    this.#spectator.moving(() => this.#client.shutdown(), [{ ...closing, ...clientTiming }]);
    this.#server.receive(new Uint8Array(1)); // the client's end of stream
    this.show("server");
  }

  /** Closes the server's direction, after the client's: TIME_WAIT then stays for a minute, or as long as the namespace. */
  closeServer(): void {
    const { stability } = this.#spectator;
    const last = { from: tcp.TCP_CLOSE_WAIT, to: tcp.TCP_LAST_ACK, end: this.#serverEnd };
    const serverTiming = timingOf(this.#server, stability);
    this.#spectator.moving(() => this.#server.shutdown(), [{ ...last, ...serverTiming }]);
  }

  /**
   * Exchanges delayed echoes over all connections at once, so that each end has measured round trips.
   * @param rounds how many each
   * @param fail what is done about a connection over which nothing comes through: it is left out from then on
   */
  static prime(
    connections: readonly Connection[],
    rounds: number,
    fail: (connection: Connection, error: SystemError) => void,
  ): void {
    const byte = new Uint8Array(1);
    let left = connections;
    const each = (step: (connection: Connection) => void): void => {
      left = left.filter((connection) => {
        const error = failureOf(() => step(connection));
        if (error !== null) fail(connection, error);
        return error === null;
      });
    };
    for (let round = 0; round < rounds; round++) {
      each((connection) => connection.#client.send(byte));
      pause();
      each((connection) => {
        connection.#server.receive(byte);
        connection.#server.send(byte);
      });
      pause();
      each((connection) => void connection.#client.receive(byte));
    }
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

const pause = (): void => sleep(randomInt(PRIMING_PAUSE.least, PRIMING_PAUSE.below));

/** What the system refused of a step, or null. @throws anything else */
export function failureOf(act: () => void): SystemError | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof SystemError) return error;
    throw error;
  }
}

/** Why no connections of a family can be made here, by the first that failed. */
export type Refusals = Map<Family, string>;

/** A network in which connections are made, and who observes them. */
export interface ConnectionPlace {
  readonly network: Network;
  readonly spectator: Spectator;
  /** How many connections of each family. Default 1. */
  readonly count?: number;
}

/**
 * Primed connections of all families in all places. A family of which one fails, as an eBPF program of a cgroup may have
 * it, is left out of all that follows: what it would have shown is lost, and nothing else.
 *
 * @param refusals families that failed before, and those that do now
 * @param turn how often that was done before and left values that could not be told apart
 * @throws SystemError where no family is left
 */
export function openConnections(
  owned: DisposableStack,
  places: readonly ConnectionPlace[],
  families: Families,
  refusals: Refusals,
  turn = 0,
): Connection[] {
  const made: { connection: Connection; family: Family }[] = [];
  let last: SystemError | null = null;
  const refuse = (family: Family, error: SystemError): void => {
    if (!refusals.has(family)) refusals.set(family, error.message);
    last = error;
  };
  for (const { network, spectator, count = 1 } of places) {
    for (const family of tcpFamilies(network, families)) {
      for (let index = 0; index < count && !refusals.has(family); index++) {
        const error = failureOf(() => {
          const [from, to] = [network.address(family), network.address(family)];
          const connection = network.inside(() => new Connection(family, from, to, spectator));
          made.push({ connection: owned.use(connection), family });
        });
        if (error !== null) refuse(family, error);
      }
    }
  }
  const isLeft = ({ family }: { family: Family }): boolean => !refusals.has(family);
  Connection.prime(
    made.filter(isLeft).map(({ connection }) => connection),
    turn === 0 ? PRIMING_ROUNDS.first : PRIMING_ROUNDS.again,
    (connection, error) => {
      const failed = made.find((one) => one.connection === connection);
      if (failed !== undefined) refuse(failed.family, error);
    },
  );
  const left = made.filter(isLeft).map(({ connection }) => connection);
  if (left.length === 0 && last !== null) throw last;
  return left;
}
