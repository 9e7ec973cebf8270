import { SystemError } from "../../../ffi/error.ts";
import type { Libbpf } from "../../../ffi/libbpf.ts";
import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import { sleep } from "../../../ffi/thread.ts";
import type { TcpInfo, TcpSocket } from "../../net/tcp.ts";
import type { Facts } from "../../offsets/observation.ts";
import type { Solution } from "../../offsets/solver.ts";
import { host } from "../../offsets/values.ts";
import { fieldOf, fieldsOf, type KernelConstant, kernelFields, relations } from "../fields/fields.ts";
import { type Offers, type Rung, stepwiseLadder } from "../fields/ladder.ts";
import type { Families, GuessOptions, Stability } from "../fields/options.ts";
import { NET } from "../snapshot/chase.ts";
import { evidenceOf, type Guess, openNetworks, Unwatchable } from "../snapshot/guess.ts";
import { openConnections, type Refusals, type Spectator, stableInfo } from "../stimulus/connection.ts";
import { type ConnectionEnd, sockFacts } from "../stimulus/facts.ts";
import { type Network, whyNoNamespaces, whyNoTcp } from "../stimulus/private-network.ts";
import { Prober } from "./prober.ts";
import { type FoundPlaces, type Search, searchBehind, searchField, settleFound } from "./steps.ts";

const inoField = fieldOf("offset_ino");

/** The widest threshold, in bytes: about the size of struct tcp_sock, beyond which is nothing to find. */
export const MOST_THRESHOLD = 3000;

/**
 * The members that are looked for from the start of struct sock, in this order.
 *
 * `common`: members of struct sock_common, which struct sock begins with (include/net/sock.h). What it holds in two
 * places, IPv4 addresses as v4-mapped ones too, `relations` tell apart.
 * `tcp`: members of inet_sock or tcp_sock, far behind. sock_common has the own port only in host order (skc_num).
 */
const steps: readonly { readonly constant: KernelConstant; readonly within: "common" | "tcp" }[] = [
  { constant: "offset_saddr", within: "common" },
  { constant: "offset_daddr", within: "common" },
  { constant: "offset_dport", within: "common" },
  { constant: "offset_family", within: "common" },
  { constant: "offset_num", within: "common" },
  { constant: "offset_state", within: "common" },
  { constant: "offset_sport", within: "tcp" },
  { constant: "offset_rtt", within: "tcp" },
  { constant: "offset_rtt_var", within: "tcp" },
  { constant: "offset_daddr_ipv6", within: "common" },
  { constant: "offset_saddr_ipv6", within: "common" },
];

/** Connections per address family in the first and in the second network namespace. */
const CONNECTIONS = [2, 1] as const;

/** An acknowledgement may be delayed by 200 ms (TCP_DELACK_MAX). In microseconds. */
const LONGEST_DELAY = 300_000;
const DELAY_STEP = 500;

/** A socket at rest that candidates are read from. */
interface Subject {
  readonly socket: TcpSocket;
  readonly facts: Facts;
}

/**
 * Learns the classic offsets of struct sock one candidate an event, on one rung.
 *
 * @throws Unwatchable when no rung can be used here
 */
export function stepwise(libbpf: Libbpf, bytecode: Uint8Array, offers: Offers, options: GuessOptions): Guess {
  const { threshold, retries } = options;
  const { rung, prober: attached } = climb(libbpf, bytecode, offers);
  using prober = attached;
  const reach = { common: threshold, tcp: MOST_THRESHOLD };
  for (let attempts = 1; ; attempts++) {
    const { solutions, limits, failed } = attempt(prober, rung, reach, options, attempts - 1);
    if (failed && attempts <= retries) continue;
    return {
      evidence: kernelFields.map(({ constant }) =>
        evidenceOf(
          constant,
          solutions.get(constant) ?? { is: "open", reason: "not guessed by the stepwise strategy" },
        ),
      ),
      attached: [prober.attached],
      events: prober.events,
      limits: attempts === 1 ? limits : [...limits, `the stepwise strategy took ${attempts} attempts`],
      attempts,
    };
  }
}

/** Goes down the ladder until a rung holds. */
function climb(libbpf: Libbpf, bytecode: Uint8Array, offers: Offers): { rung: Rung; prober: Prober } {
  const refusals: string[] = [];
  let cause: SystemError | undefined;
  for (const rung of stepwiseLadder) {
    const refusal = offers(rung);
    if (refusal !== null) {
      refusals.push(`${rung.kind}:${rung.target}: ${refusal}`);
      continue;
    }
    try {
      return { rung, prober: new Prober(libbpf, bytecode, rung) };
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      refusals.push(`${rung.kind}:${rung.target}: ${error.message}`);
      cause = error;
    }
  }
  throw new Unwatchable(refusals.join("; "), { cause });
}

interface Attempt {
  readonly solutions: ReadonlyMap<string, Solution>;
  readonly limits: string[];
  /** A field was looked for and not found: another attempt may do better. */
  readonly failed: boolean;
}

/** One whole guess with namespaces, sockets and searches of its own. */
function attempt(
  prober: Prober,
  rung: Rung,
  reach: { common: number; tcp: number },
  { families, stability }: GuessOptions,
  turn: number,
): Attempt {
  using owned = new DisposableStack();
  owned.defer(() => prober.reset());
  const { networks, limits } = openNetworks(owned);
  const refusals: Refusals = new Map();
  const subjects = openSubjects(owned, networks, rung, { families, stability }, refusals, turn);
  const facts = subjects.map((subject) => subject.facts);
  const pass = passOf(rung);
  const run = <Result>(search: Search<Result>): Result => {
    for (let next = search.next(); ; ) {
      if (next.done) return next.value;
      const question = next.value;
      const subject = subjects[question.subject];
      if (subject === undefined) throw new TypeError(`there is no socket ${question.subject}`);
      next = search.next(prober.ask(question, () => pass(subject.socket)));
    }
  };

  const found = new Map<string, FoundPlaces>();
  const hopeless = hopelessIn(networks, families, refusals);
  for (const { constant, within } of steps) {
    const field = kernelFields.find((each) => each.constant === constant);
    if (field === undefined || hopeless.has(constant)) continue;
    found.set(constant, run(searchField(field, facts, reach[within])));
  }
  if (!hopeless.has("offset_netns")) {
    const { pointer, member } = run(searchBehind(inoField, facts, reach.common, NET));
    found.set("offset_netns", pointer);
    found.set("offset_ino", member);
  }
  const solutions = new Map([
    ...settleFound(fieldsOf("sock"), found, relations.sock),
    ...settleFound([inoField], found, []), // of another struct
  ]);
  const failed = [...solutions.values()].some(({ is }) => is !== "solved");
  for (const [constant, reason] of hopeless) solutions.set(constant, { is: "open", reason });
  return { solutions, limits, failed };
}

/** Fields that no attempt can find with these networks, and why. */
function hopelessIn(
  networks: readonly Network[],
  families: Families,
  refusals: Refusals,
): Map<KernelConstant, string> {
  const hopeless = new Map<KernelConstant, string>();
  const ofFamily = [
    [AF_INET, ["offset_saddr", "offset_daddr"]],
    [AF_INET6, ["offset_daddr_ipv6", "offset_saddr_ipv6"]],
  ] as const;
  for (const [family, constants] of ofFamily) {
    const without = whyNoTcp(family, networks, families, refusals);
    if (without === null) continue;
    for (const constant of constants) hopeless.set(constant, without);
    hopeless.set("offset_family", `one family proves nothing: ${without}`);
  }
  const oneNamespace = whyNoNamespaces(networks);
  if (oneNamespace !== null) {
    for (const constant of ["offset_netns", "offset_ino"] as const) hopeless.set(constant, oneNamespace);
  }
  return hopeless;
}

/** Makes the rung pass over a socket, once. */
function passOf({ kind }: Rung): (socket: TcpSocket) => void {
  switch (kind) {
    case "kprobe":
      return (socket) => void socket.info();
    case "raw_tp":
      return (socket) => socket.peek();
  }
}

/** Opens connections and listening sockets of both families, in several states, and brings all of them to rest. */
function openSubjects(
  owned: DisposableStack,
  networks: readonly Network[],
  rung: Rung,
  { families, stability }: Pick<GuessOptions, "families" | "stability">,
  refusals: Refusals,
  turn: number,
): Subject[] {
  const collectors = networks.map((network) => new Collector(network, stability));
  const places = collectors.map((spectator, index) => ({
    network: spectator.network,
    spectator,
    count: CONNECTIONS[index] ?? 1,
  }));
  const connections = openConnections(owned, places, families, refusals, turn);
  for (const connection of connections) connection.show("client", "server");
  settle(collectors.flatMap((collector) => collector.connected));
  const subjects = collectors.flatMap((collector) => collector.subjects());
  // Connected ones first: their values are random, where those of the others are often 0.
  const connected = subjects.filter(({ isConnected }) => isConnected);
  const others = subjects.filter(({ isConnected }) => !isConnected);
  return rung.kind === "kprobe" ? [...connected, ...others] : connected; // nothing is received without a peer
}

/**
 * Leaves one byte to be read at every end, and closes one direction of every second connection, for its states.
 *
 * @param connected both ends of each connection, the client first
 */
function settle(connected: readonly TcpSocket[]): void {
  const byte = new Uint8Array(1);
  for (let index = 0; index < connected.length; index += 2) {
    const [client, server] = connected.slice(index);
    if (client === undefined || server === undefined) continue;
    client.send(byte);
    if (index % 4 === 0) client.shutdown();
    client.hastenAcknowledgements();
    server.send(byte); // and acknowledges the client's
  }
}

/** Waits until nothing is in flight and two readings of TCP_INFO agree: then no timer changes the timing later. */
function restingInfo(socket: TcpSocket, stability: Stability): TcpInfo | null {
  for (let waited = 0; waited < LONGEST_DELAY; waited += DELAY_STEP) {
    if (socket.info().unacknowledged === 0) return stableInfo(socket, stability);
    sleep(DELAY_STEP);
  }
  return null;
}

/** Remembers the sockets of connections, instead of watching what they do. */
class Collector implements Spectator {
  readonly #ends = new Map<TcpSocket, ConnectionEnd>();

  constructor(
    readonly network: Network,
    readonly stability: Stability,
  ) {}

  moving(act: () => void): void {
    act();
  }

  resting(socket: TcpSocket, end: ConnectionEnd): void {
    this.#ends.set(socket, end);
  }

  /** Both ends of each connection, as they come to rest: the client first. */
  get connected(): TcpSocket[] {
    return [...this.#ends].flatMap(([socket, { peer }]) => (peer === undefined ? [] : [socket]));
  }

  /** The sockets that stand still, and what is known of them now. */
  subjects(): (Subject & { readonly isConnected: boolean })[] {
    return [...this.#ends].flatMap(([socket, end]) => {
      if (!socket.isOpen) return []; // the connection that it was for was refused
      const info = restingInfo(socket, this.stability);
      if (info === null) return [];
      const isConnected = end.peer !== undefined;
      const facts = new Map(sockFacts(end, info.state, isConnected ? info : undefined));
      const { inode } = this.network;
      if (inode !== null) facts.set(inoField.constant, host(4, inode));
      return [{ socket, facts, isConnected }];
    });
  }
}
