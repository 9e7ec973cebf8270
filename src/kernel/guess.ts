import { SystemError } from "../../ffi/error.ts";
import type { Libbpf } from "../../ffi/libbpf.ts";
import { AF_INET, AF_INET6 } from "../../ffi/libc.ts";
import type { Family } from "../net/address.ts";
import { TcpSocket } from "../net/tcp.ts";
import type { Evidence } from "../offsets/evidence.ts";
import type { Observation } from "../offsets/observation.ts";
import { pointersToGroup } from "../offsets/pointers.ts";
import { type Solution, solve } from "../offsets/solver.ts";
import { host } from "../offsets/values.ts";
import { inoField, kernelFields, sockFields, sockRelations } from "./fields.ts";
import { CurrentNetwork, type Network, PrivateNetwork } from "./namespace.ts";
import { Recorder, type Rung } from "./recorder.ts";
import { Connection, type Stability } from "./stimulus.ts";
import { GetsockoptWitness, type ObservingWitness, StateChangeWitness } from "./witness.ts";

/** What the snapshot strategy found, and how. */
export interface Guess {
  readonly evidence: Evidence[];
  /** `kind:target` of every rung in use. */
  readonly attached: string[];
  /** How many structs were copied out of the kernel. */
  readonly events: number;
  /** Why the guess knows less here than it could, in words for a person. */
  readonly limits: string[];
}

/** Of which kinds sockets are made. */
export interface Families {
  readonly tcpv4: boolean;
  readonly tcpv6: boolean;
  readonly udpv4: boolean;
  readonly udpv6: boolean;
}

/** What the stimulus may do. */
export interface Stimulation {
  readonly families: Families;
  readonly stability: Stability;
}

/** Connections per address family in the first and in the second network namespace. */
const CONNECTIONS = [2, 1] as const;
/** How often the stimulus is run at most while fields are ambiguous. */
const ROUNDS = 3;
/** More pointers than this would mean that the namespaces are not told apart at all. */
const MOST_POINTERS = 8;

/** A network namespace of the stimulus, and what was seen of the sockets in it. */
interface Site {
  readonly network: Network;
  readonly witness: ObservingWitness;
  readonly connections: number;
}

/**
 * Learns the offsets of struct sock from sockets that it makes for the purpose, on one rung.
 *
 * @param mmapable whether the kernel has BPF_F_MMAPABLE (5.5 and newer)
 * @throws SystemError when the rung cannot be used here
 */
export function guess(
  libbpf: Libbpf,
  bytecode: Uint8Array,
  rung: Rung,
  mmapable: boolean,
  { families, stability }: Stimulation,
): Guess {
  using owned = new DisposableStack();
  const recorder = owned.use(new Recorder(libbpf, bytecode, rung, mmapable));
  const { networks, limits } = openNetworks(owned);
  const sites = networks.map((network, index) => ({
    network,
    witness: witnessOf(rung, recorder, stability),
    connections: CONNECTIONS[index] ?? 1,
  }));

  let solutions = new Map<string, Solution>();
  for (let round = 0; round < ROUNDS; round++) {
    stimulate(sites, families);
    solutions = solve(
      sockFields,
      sockRelations,
      sites.flatMap(({ witness }) => witness.observations),
    );
    if (![...solutions.values()].some(({ is }) => is === "ambiguous")) break;
  }
  for (const [constant, solution] of solveNamespace(sites, recorder)) solutions.set(constant, solution);

  const [withoutIpv6] = families.tcpv6
    ? networks.flatMap(({ withoutIpv6 }) => withoutIpv6 ?? [])
    : ["TCP over IPv6 is left out (collect_tcpv6)"];
  return {
    evidence: kernelFields.map(({ constant }) => {
      const solution = solutions.get(constant) ?? { is: "open", reason: "not part of the stimulus" };
      const hopeless = constant.endsWith("_ipv6") ? withoutIpv6 : undefined;
      return evidenceOf(constant, hopeless === undefined ? solution : { is: "open", reason: hopeless });
    }),
    attached: [recorder.attached],
    events: recorder.events,
    limits,
  };
}

/** Two private namespaces, or the current one where no other may be made. */
function openNetworks(owned: DisposableStack): { networks: Network[]; limits: string[] } {
  try {
    return { networks: [owned.use(new PrivateNetwork()), owned.use(new PrivateNetwork())], limits: [] };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const limit = `the stimulus runs in the current network namespace, on 127.0.0.0/8 alone: ${error.message}`;
    return { networks: [owned.use(new CurrentNetwork())], limits: [limit] };
  }
}

function witnessOf(rung: Rung, recorder: Recorder, stability: Stability): ObservingWitness {
  switch (rung.kind) {
    case "kprobe":
      return new GetsockoptWitness(recorder, stability);
    case "raw_tp":
      return new StateChangeWitness(recorder, stability);
  }
}

/** Takes fresh connections of the families asked for through their lives, all of them primed at once. */
function stimulate(sites: readonly Site[], { tcpv4, tcpv6 }: Families): void {
  using owned = new DisposableStack();
  const connections: Connection[] = [];
  for (const { network, witness, connections: count } of sites) {
    const families: Family[] = [];
    if (tcpv4) families.push(AF_INET);
    if (tcpv6 && network.withoutIpv6 === null) families.push(AF_INET6);
    for (const family of families) {
      for (let made = 0; made < count; made++) {
        const [from, to] = [network.address(family), network.address(family)];
        connections.push(owned.use(network.inside(() => new Connection(family, from, to, witness))));
      }
    }
  }
  Connection.prime(connections);
  for (const connection of connections) connection.rest();
  for (const connection of connections) connection.finish();
}

/**
 * Finds the pointer to struct net, and the inode number in it: of the pointers that tell the namespaces apart, the
 * one that leads to each namespace's own inode number, at the same place in both.
 */
function solveNamespace(sites: readonly Site[], recorder: Recorder): [string, Solution][] {
  const both = (solution: Solution): [string, Solution][] => [
    ["offset_netns", solution],
    ["offset_ino", solution],
  ];
  if (sites.length < 2)
    return both({ is: "open", reason: "needs a second network namespace to tell pointers apart" });
  const pointers = pointersToGroup(sites.map(({ witness }) => witness.observations));
  if (pointers.length > MOST_POINTERS) {
    return both({ is: "open", reason: `${pointers.length} pointers tell the two network namespaces apart` });
  }
  const leading = pointers.flatMap((pointer) => {
    const namespaces = sites.flatMap((site) => chase(site, recorder, pointer));
    const ino = solve([inoField], [], namespaces).get(inoField.constant);
    return ino?.is === "solved" || ino?.is === "ambiguous" ? [{ pointer, ino }] : [];
  });
  const [only] = leading;
  if (only === undefined)
    return both({ is: "open", reason: "no pointer led to the inode numbers of the namespaces" });
  if (leading.length > 1) {
    return [
      ["offset_netns", { is: "ambiguous", offsets: leading.map(({ pointer }) => pointer) }],
      ["offset_ino", { is: "open", reason: "the pointer to struct net is ambiguous" }],
    ];
  }
  return [
    ["offset_netns", { is: "solved", offset: only.pointer }],
    ["offset_ino", only.ino],
  ];
}

/** Copies what the pointer leads to, from an idle socket of the site: struct net, if it is the right one. */
function chase({ network, witness }: Site, recorder: Recorder, pointer: number): Observation[] {
  using socket = network.inside(() => TcpSocket.open(AF_INET));
  const expected = new Map([[inoField.constant, host(4, network.inode)]]);
  return recorder
    .during(() => witness.nudge(socket), pointer)
    .map(({ bytes, readable }) => ({ bytes, readable, expected }));
}

function evidenceOf(constant: string, solution: Solution): Evidence {
  const base = { source: "guess", constant } as const;
  switch (solution.is) {
    case "solved":
      return { ...base, candidates: [solution.offset] };
    case "ambiguous":
      return {
        ...base,
        candidates: solution.offsets,
        reason: `${solution.offsets.join(", ")} could not be told apart`,
      };
    case "open":
      return { ...base, candidates: [], reason: solution.reason };
  }
}
