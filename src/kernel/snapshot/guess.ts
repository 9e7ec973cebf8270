import { SystemError } from "../../../ffi/error.ts";
import type { Libbpf } from "../../../ffi/libbpf.ts";
import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import { isWithoutNamespaces, NO_NAMESPACES } from "../../net/namespace.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { recheck } from "../../offsets/recheck.ts";
import type { Solution } from "../../offsets/solver.ts";
import { fieldsOf, type KernelConstant, type KernelField, kernelFields } from "../fields/fields.ts";
import { type Offers, structs, type WatchedStruct } from "../fields/ladder.ts";
import type { Families, GuessOptions } from "../fields/options.ts";
import { openConnections, type Refusals } from "../stimulus/connection.ts";
import {
  CurrentNetwork,
  type Network,
  PrivateNetwork,
  whyNoNamespaces,
  whyNoTcp,
} from "../stimulus/private-network.ts";
import { chaseFile, chaseHead, chaseNamespace, chaseSocket } from "./chase.ts";
import { showPacketSocket } from "./family.ts";
import { Recorder } from "./recorder.ts";
import { type GuessScene, Missed, sightings, solveStruct } from "./sites.ts";
import { solveTracking, whyNoCtnetlink } from "./tracking.ts";
import { Witness } from "./witness.ts";

/** What the snapshot strategy found, and how. */
export interface Guess {
  readonly evidence: Evidence[];
  /** `kind:target` of every rung in use. */
  readonly attached: string[];
  /** How many structs were copied out of the kernel. */
  readonly events: number;
  /** Why the guess knows less here than it could, in words for a person. */
  readonly limits: string[];
  /** How many attempts it took; the answer is of the last one alone. */
  readonly attempts: number;
}

/** How often the stimulus of one attempt is run at most while fields are ambiguous. */
const ROUNDS = 3;

/**
 * Learns the offsets of the kernel's socket structs from sockets that it makes for the purpose.
 *
 * @throws SystemError when the kernel refuses the programs
 * @throws Unwatchable when no rung of struct sock holds here; all else starts from sockets
 */
export function guess(libbpf: Libbpf, bytecode: Uint8Array, offers: Offers, options: GuessOptions): Guess {
  // Without conntrack its functions are not there to be attached to, and attaching in vain costs most of a guess.
  const offersHere: Offers = (rung) => offers(rung) ?? (rung.struct === "nf_conn" ? whyNoCtnetlink() : null);
  using recorder = new Recorder(libbpf, bytecode, offersHere);
  if (recorder.rung("sock") === undefined) throw new Unwatchable(recorder.refusal("sock"));
  for (let attempts = 1; ; attempts++) {
    const { evidence, limits, failed } = attempt(recorder, options);
    if (failed && attempts <= options.retries) continue;
    return { evidence, limits, attached: recorder.attached, events: recorder.events, attempts };
  }
}

/** One whole guess with namespaces, sockets and observations of its own: nothing of it reaches the next one. */
function attempt(
  recorder: Recorder,
  { families, stability }: GuessOptions,
): Pick<Guess, "evidence" | "limits"> & { failed: boolean } {
  using owned = new DisposableStack();
  const { networks, limits } = openNetworks(owned);
  const sites = networks.map((network) => ({ network, witness: new Witness(recorder, stability) }));
  const refusals: Refusals = new Map();
  const hopeless = hopelessIn(recorder, networks, families, refusals);
  const scene: GuessScene = { recorder, families, sites, refusals };
  const solutions = solveScene(scene, hopeless);
  let failed = false;
  const evidence = kernelFields.map((field) => {
    const found = solutions.get(field.constant) ?? { is: "open", reason: "not observed" };
    // What is reached by pointers alone was observed where they led to.
    const observations = field.struct === "net" ? [] : sightings(scene, field.struct);
    const solution = recheck(field.constant, found, observations);
    const reason = solution.is === "solved" ? null : hopeless(field);
    failed ||= solution.is !== "solved" && reason === null;
    return evidenceOf(field.constant, reason === null ? solution : { is: "open", reason });
  });
  return { evidence, limits, failed };
}

/** Why no attempt can find a field on this host, whatever it does; null where there is no such reason. */
function hopelessIn(
  recorder: Recorder,
  networks: readonly Network[],
  families: Families,
  refusals: Refusals,
): (field: KernelField) => string | null {
  const oneNamespace = whyNoNamespaces(networks);
  return ({ constant, struct }) => {
    const [without4, without6] = ([AF_INET, AF_INET6] as const).map((family) =>
      whyNoTcp(family, networks, families, refusals),
    );
    const isOf6 = constant.endsWith("_ipv6") || struct === "flowi6";
    const isOf4 = constant === "offset_saddr" || constant === "offset_daddr" || struct === "flowi4";
    const without = isOf6 ? without6 : isOf4 ? without4 : null;
    if (without != null) return without;
    const oneFamily = without6 ?? without4;
    if (oneFamily != null && constant === "offset_family") return `one family proves nothing: ${oneFamily}`;
    // Structs socket and net are reached by pointers, without a rung of their own.
    const isWatched = structs.some((each) => each === struct && recorder.rung(each) !== undefined);
    const refusal = isWatched || struct === "net" || struct === "socket" ? null : recorder.refusal(struct);
    const isOfNamespace = struct === "net" || struct === "nf_conn" || constant === "offset_netns";
    const reasons = [refusal, isOfNamespace ? oneNamespace : null].filter((reason) => reason !== null);
    return reasons.length === 0 ? null : reasons.join("; ");
  };
}

/** A rung that was attached and yet never ran. */
function neverHit(recorder: Recorder): string {
  const rung = recorder.rung("sock");
  const cause =
    rung?.kind === "kprobe" ? ": kprobes may be turned off (/sys/kernel/debug/kprobes/enabled)" : "";
  return `${rung?.kind}:${rung?.target} is attached, but never ran for a socket of ours${cause}`;
}

/** No rung of struct sock holds on this host. */
export class Unwatchable extends Error {
  override readonly name = "Unwatchable";
}

/** Two private namespaces, or the current one where no other may be made. */
export function openNetworks(owned: DisposableStack): { networks: Network[]; limits: string[] } {
  try {
    return { networks: [owned.use(new PrivateNetwork()), owned.use(new PrivateNetwork())], limits: [] };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const why = isWithoutNamespaces() ? NO_NAMESPACES : error.message;
    const limit = `the stimulus runs in the current network namespace, on 127.0.0.0/8 alone: ${why}`;
    // Two all the same: what one socket holds is told apart by another's.
    return { networks: [new CurrentNetwork(why), new CurrentNetwork(why)], limits: [limit] };
  }
}

/** What connections show by themselves. */
const stimulated = ["sock", "flowi4", "flowi6"] as const satisfies readonly WatchedStruct[];

/** Runs the stimulus and solves every struct, those that are reached by pointers last. */
function solveScene(
  scene: GuessScene,
  hopeless: (field: KernelField) => string | null,
): Map<string, Solution> {
  const solutions = new Map<string, Solution>();
  const take = (found: Iterable<readonly [string, Solution]>) => {
    for (const [constant, solution] of found) solutions.set(constant, solution);
  };
  /** What the system refuses to one stimulus, or does not show, is the reason of its constants, not the end of the guess. */
  const takeOf = (constants: readonly string[], find: () => Iterable<readonly [string, Solution]>) => {
    try {
      take(find());
    } catch (error) {
      if (!(error instanceof SystemError || error instanceof Missed)) throw error;
      const { message } = error;
      const unsolved = constants.filter((constant) => solutions.get(constant)?.is !== "solved");
      take(unsolved.map((constant) => [constant, { is: "open", reason: message }]));
    }
  };
  const constantsOf = (struct: WatchedStruct) => fieldsOf(struct).map(({ constant }) => constant);
  const offset = (constant: KernelConstant): number | null => {
    const solution = solutions.get(constant);
    return solution?.is === "solved" ? solution.offset : null;
  };
  for (let round = 0; round < ROUNDS; round++) {
    stimulate(scene, round);
    if (sightings(scene, "sock").length === 0) throw new Unwatchable(neverHit(scene.recorder));
    for (const struct of stimulated) take(solveStruct(scene, struct));
    const isUnclear = ({ constant, shape }: KernelField): boolean => {
      const is = solutions.get(constant)?.is;
      // Where few ports are free, flows may have had the same ports: another round chooses others.
      // Pointers (8 bytes) are found later, by what they lead to.
      return is === "ambiguous" || (is === "open" && shape.width !== 8);
    };
    if (!stimulated.flatMap(fieldsOf).some((field) => isUnclear(field) && hopeless(field) === null)) break;
  }
  takeOf(["offset_netns", "offset_ino"], () => chaseNamespace(scene, offset("offset_sport")));
  const ino = solutions.get("offset_ino");
  if (ino !== undefined) take([["offset_ct_ino", ino]]); // both are net.ns.inum

  takeOf(["offset_sk_socket"], () => chaseSocket(scene, offset("offset_sport")));
  if (offset("offset_sk_socket") === null && scene.recorder.attachLate("socket")) {
    stimulate(scene, 0);
    // What is solved is not solved again: offset_netns is proven by what it leads to, which values in struct sock do not tell.
    const isKnown = (constant: string) => solutions.get(constant)?.is === "solved";
    take([...solveStruct(scene, "sock")].filter(([constant]) => !isKnown(constant)));
  }
  take(solveStruct(scene, "socket"));
  const [sk, skSocket] = [offset("offset_socket_sk"), offset("offset_sk_socket")];
  if (sk !== null && skSocket !== null) takeOf(["offset_socket_file"], () => chaseFile(scene, sk, skSocket));

  take(solveStruct(scene, "sk_buff"));
  takeOf(constantsOf("sk_buff"), () => {
    const head = chaseHead(scene, offset("offset_sk_buff_sock"));
    return [...solveStruct(scene, "sk_buff"), ...head];
  });
  const skOfPacket = offset("offset_sk_buff_sock");
  if (offset("offset_family") === null && skOfPacket !== null) {
    showPacketSocket(scene, skOfPacket);
    take([...solveStruct(scene, "sock")].filter(([constant]) => constant === "offset_family"));
  }
  takeOf(constantsOf("nf_conn"), () => solveTracking(scene, offset("offset_netns")));
  return solutions;
}

/** Takes fresh connections of both families through their lives, all of them primed at once. */
function stimulate({ sites, families, refusals }: GuessScene, turn: number): void {
  using owned = new DisposableStack();
  const places = sites.map(({ network, witness }) => ({ network, spectator: witness }));
  const connections = openConnections(owned, places, families, refusals, turn);
  for (const connection of connections) connection.show("client");
  for (const connection of connections) connection.closeClient();
  const isOurs = sites.every(({ network }) => network.shared === null);
  if (isOurs) for (const connection of connections) connection.closeServer();
}

/** What a solution says of a constant, as evidence of the guess. Bytes from the start of the type. */
export function evidenceOf(constant: string, solution: Solution): Evidence {
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
