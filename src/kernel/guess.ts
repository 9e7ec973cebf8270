import { SystemError } from "../../ffi/error.ts";
import type { Libbpf } from "../../ffi/libbpf.ts";
import type { Evidence } from "../offsets/evidence.ts";
import type { Solution } from "../offsets/solver.ts";
import { chaseFile, chaseHead, chaseNamespace, chaseSocket } from "./chase.ts";
import { Connection } from "./connection.ts";
import { fieldsOf, type KernelConstant, kernelFields } from "./fields.ts";
import { type Offers, type Struct, structs } from "./ladder.ts";
import { CurrentNetwork, type Network, PrivateNetwork } from "./namespace.ts";
import { Recorder } from "./recorder.ts";
import { familiesOf, type Scene, type Site, solveStruct } from "./scene.ts";
import { solveTracking } from "./tracking.ts";
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

/** How often the stimulus is run at most while fields are ambiguous. */
const ROUNDS = 3;

/**
 * Learns the offsets of the kernel's socket structs from sockets that it makes for the purpose.
 *
 * @param mmapable whether the kernel has BPF_F_MMAPABLE (5.5 and newer)
 * @throws SystemError when no rung of struct sock can be used here; all else starts from sockets
 */
export function guess(
  libbpf: Libbpf,
  bytecode: Uint8Array,
  offers: Offers,
  { mmapable }: { mmapable: boolean },
): Guess {
  using owned = new DisposableStack();
  const recorder = owned.use(new Recorder(libbpf, bytecode, offers, mmapable));
  if (recorder.rung("sock") === undefined) throw new Unwatchable(recorder.refusal("sock"));
  const { networks, limits } = openNetworks(owned);
  const scene: Scene = {
    recorder,
    sites: networks.map((network) => ({ network, witness: new Witness(recorder) })),
  };
  const solutions = solveScene(scene);
  const withoutIpv6 =
    networks.map((network) => network.withoutIpv6).find((reason) => reason !== null) ?? null;
  return {
    evidence: kernelFields.map(({ constant, struct }) => {
      const solution = solutions.get(constant) ?? { is: "open", reason: "not observed" };
      return evidenceOf(constant, explain(solution, constant, struct, recorder, withoutIpv6));
    }),
    attached: recorder.attached,
    events: recorder.events,
    limits,
    attempts: 1,
  };
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
    const limit = `the stimulus runs in the current network namespace, on 127.0.0.0/8 alone: ${error.message}`;
    return { networks: [owned.use(new CurrentNetwork())], limits: [limit] };
  }
}

/** Runs the stimulus and solves every struct, those that are reached by pointers last. */
function solveScene(scene: Scene): Map<string, Solution> {
  const solutions = new Map<string, Solution>();
  const take = (found: Iterable<readonly [string, Solution]>) => {
    for (const [constant, solution] of found) solutions.set(constant, solution);
  };
  /** What the system refuses to one struct's stimulus is that struct's reason, not the end of the guess. */
  const takeOf = (struct: Struct, find: () => Iterable<readonly [string, Solution]>) => {
    try {
      take(find());
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      const { message } = error;
      take(fieldsOf(struct).map(({ constant }) => [constant, { is: "open", reason: message }]));
    }
  };
  const offset = (constant: KernelConstant): number | null => {
    const solution = solutions.get(constant);
    return solution?.is === "solved" ? solution.offset : null;
  };
  for (let round = 0; round < ROUNDS; round++) {
    stimulate(scene.sites);
    take(solveStruct(scene, "sock"));
    if (![...solutions.values()].some(({ is }) => is === "ambiguous")) break;
  }
  take(solveStruct(scene, "flowi4"));
  take(solveStruct(scene, "flowi6"));
  take(chaseNamespace(scene));
  const ino = solutions.get("offset_ino");
  if (ino !== undefined) take([["offset_ct_ino", ino]]); // both are net.ns.inum

  const isShown = scene.recorder.rung("socket") !== undefined;
  if (!isShown) take(chaseSocket(scene));
  take(solveStruct(scene, "socket"));
  const [sk, skSocket] = [offset("offset_socket_sk"), offset("offset_sk_socket")];
  if (sk !== null && skSocket !== null) take(chaseFile(scene, sk, isShown ? [] : [skSocket]));

  take(solveStruct(scene, "sk_buff"));
  takeOf("sk_buff", () => {
    const head = chaseHead(scene, offset("offset_sk_buff_sock"));
    return [...solveStruct(scene, "sk_buff"), ...head];
  });
  takeOf("nf_conn", () => solveTracking(scene, offset("offset_netns")));
  return solutions;
}

/** Takes fresh connections of both families through their lives, all of them primed at once. */
function stimulate(sites: readonly Site[]): void {
  using owned = new DisposableStack();
  const connections = sites.flatMap((site) =>
    familiesOf(site).map((family) => {
      const { network, witness } = site;
      const [from, to] = [network.address(family), network.address(family)];
      return owned.use(network.inside(() => new Connection(family, from, to, witness)));
    }),
  );
  Connection.prime(connections);
  for (const connection of connections) connection.rest();
  for (const connection of connections) connection.finish();
}

/** Puts the host's own reason in the place of a solution that had to stay open. */
function explain(
  solution: Solution,
  constant: KernelConstant,
  struct: Struct | "net",
  recorder: Recorder,
  withoutIpv6: string | null,
): Solution {
  if (solution.is !== "open") return solution;
  if (withoutIpv6 !== null && (constant.endsWith("_ipv6") || struct === "flowi6")) {
    return { is: "open", reason: withoutIpv6 };
  }
  const needsRung = structs.some((each) => each === struct) && struct !== "socket";
  if (needsRung && struct !== "net" && recorder.rung(struct) === undefined) {
    return { is: "open", reason: recorder.refusal(struct) };
  }
  return solution;
}

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
