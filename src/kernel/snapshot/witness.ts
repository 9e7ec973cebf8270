import { AF_INET } from "../../../ffi/socket-calls.ts";
import type { SocketAddress } from "../../net/address.ts";
import { TCP_CLOSE, TCP_LISTEN, type TcpSocket } from "../../net/tcp.ts";
import { type Facts, occurs } from "../../offsets/observation.ts";
import type { Sighted } from "../../offsets/pointers.ts";
import { network, pointer } from "../../offsets/values.ts";
import type { WatchedStruct } from "../fields/ladder.ts";
import type { Stability } from "../fields/options.ts";
import { type Spectator, stableInfo, type Transition } from "../stimulus/connection.ts";
import { type ConnectionEnd, facts, flowFacts, sockFacts, type Timing } from "../stimulus/facts.ts";
import { type Hit, INTERRUPTIONS, type Quota, type Recorder } from "./recorder.ts";

/**
 * How often a stimulus is repeated that no program saw: one does not run where it interrupts another one (bpf_prog_active), which is
 * rare.
 */
const MOST_MISSES = 3;

/** An observation, and the instance it is of. */
export interface Sighting extends Sighted {
  /**
   * The end of a connection whose socket this is, where that is known. An address alone does not tell: the next socket may get a closed
   * one's memory.
   */
  readonly end?: ConnectionEnd;
}

/** fib_table_lookup is asked for the source address first (__ip_dev_find), then for the route itself. */
const ROUTE_LOOKUPS = 2;

/**
 * Observes our connections through the rungs that hold on this host.
 *
 * With kprobe:tcp_getsockopt a socket is copied whenever it is asked for TCP_INFO, which tells its state and timing
 * as well. With raw_tp:inet_sock_set_state each change of state copies the socket as it was just before.
 */
export class Witness implements Spectator {
  readonly #recorder: Recorder;
  readonly #seen = new Map<WatchedStruct, Sighting[]>();
  readonly #instances = new Map<ConnectionEnd, bigint>();
  readonly #packets: { hit: Hit; sender: ConnectionEnd }[] = [];

  constructor(
    recorder: Recorder,
    readonly stability: Stability,
  ) {
    this.#recorder = recorder;
  }

  /** What was seen of a struct so far. */
  seen(struct: WatchedStruct): readonly Sighting[] {
    return struct === "sk_buff" ? this.#packetSightings() : (this.#seen.get(struct) ?? []);
  }

  /** Notes an observation from elsewhere. */
  note(
    struct: WatchedStruct,
    hit: Pick<Hit, "bytes" | "readable" | "instance">,
    expected: Facts,
    end?: ConnectionEnd,
  ): void {
    const { bytes, readable, instance } = hit;
    const sighting: Sighting = { bytes, readable, instance, expected, ...(end && { end }) };
    this.#seen.set(struct, [...(this.#seen.get(struct) ?? []), sighting]);
  }

  moving(act: () => void, transitions: readonly Transition[], sender?: ConnectionEnd): void {
    const quota: Quota = { ...this.#stateQuota(transitions), ...(sender && this.#senderQuota(sender)) };
    for (const hit of this.#recorder.during(act, quota)) {
      if (hit.struct === "sock") this.#noteTransition(hit, transitions);
      else if (sender === undefined) continue;
      else if (hit.struct === "sk_buff") this.#packets.push({ hit, sender });
      else if (sender.peer !== undefined) this.#noteFlow(hit, sender.own, sender.peer);
    }
  }

  resting(socket: TcpSocket, end: ConnectionEnd): void {
    if (this.#recorder.rung("sock")?.kind !== "kprobe") return;
    const before = stableInfo(socket, this.stability);
    let asked = before;
    // An end's struct socket is the same all its life: once seen is enough.
    const quota: Quota =
      end.peer === undefined || this.#instances.has(end) ? { sock: 1 } : { sock: 1, socket: 1 };
    const hits = this.#recorder.during(() => {
      asked = socket.info();
    }, quota);
    const sock = hits.find(({ struct }) => struct === "sock");
    if (before === null || asked === null || asked.state !== before.state) return;
    if (sock === undefined || !isOurs(sock, end)) return;
    this.#noteSock(sock, end, asked.state, steadyTiming(end, before, asked));
    const owner = hits.find(({ struct }) => struct === "socket");
    if (owner === undefined) return;
    // sock_common_getsockopt(sock) calls tcp_getsockopt(sock->sk), and sock_graft made the pointer back.
    this.note("socket", owner, facts([["offset_socket_sk", pointer(sock.instance)]]), end);
    this.note("sock", sock, facts([["offset_sk_socket", pointer(owner.instance)]]), end);
  }

  /**
   * Makes the rung of struct sock pass over an unconnected socket of ours once, which changes nothing that lasts. The
   * socket has no address to know it by; but what interrupts this thread makes no other socket listen.
   */
  nudge(socket: TcpSocket, path: readonly number[] = [], skip = 0): Hit | undefined {
    const viaStates = this.#recorder.rung("sock")?.kind === "raw_tp";
    for (let miss = 0; miss < MOST_MISSES; miss++) {
      const hit = this.#recorder
        .during(
          () => (viaStates ? socket.listen() : socket.info()),
          { sock: viaStates ? 1 + INTERRUPTIONS : 1 },
          path,
          skip,
        )
        .find(({ from, to }) => !viaStates || (from === TCP_CLOSE && to === TCP_LISTEN));
      if (viaStates) socket.unlisten();
      if (hit !== undefined) return hit;
    }
    return undefined;
  }

  #stateQuota(transitions: readonly Transition[]): Quota {
    if (this.#recorder.rung("sock")?.kind !== "raw_tp") return {};
    return { sock: transitions.length };
  }

  /** The first packet of a system call is its own, and so are the first routes; those of the answers follow. */
  #senderQuota({ own }: ConnectionEnd): Quota {
    const flow = own.family === AF_INET ? "flowi4" : "flowi6";
    return { [flow]: this.#recorder.rung(flow)?.kind === "raw_tp" ? ROUTE_LOOKUPS : 1, sk_buff: 1 };
  }

  #noteTransition(hit: Hit, transitions: readonly Transition[]): void {
    const known = transitions.find(
      ({ from, to, end }) => from === hit.from && to === hit.to && isOurs(hit, end),
    );
    // trace_inet_sock_set_state runs before the new state is stored, so `from` still stands in the struct.
    if (known !== undefined) this.#noteSock(hit, known.end, known.from, known.timing);
  }

  #noteSock(hit: Hit, end: ConnectionEnd, state: number, timing?: Timing): void {
    this.#instances.set(end, hit.instance);
    this.note("sock", hit, sockFacts(end, state, timing), end);
  }

  #noteFlow(hit: Hit, own: SocketAddress, peer: SocketAddress): void {
    if (isFlowOf(hit, own, peer)) this.note(hit.struct, hit, flowFacts(own, peer));
  }

  /** A packet's socket is known once that socket was seen, which may be later than the packet. */
  #packetSightings(): Sighting[] {
    const later = this.#packets.flatMap(({ hit, sender }) => {
      const owner = this.#instances.get(sender);
      const { bytes, readable, instance } = hit;
      // A packet without the pointer is another's, sent while this thread was interrupted.
      if (owner === undefined || !occurs(hit, pointer(owner).value)) return [];
      return [{ bytes, readable, instance, expected: facts([["offset_sk_buff_sock", pointer(owner)]]) }];
    });
    return [...later, ...(this.#seen.get("sk_buff") ?? [])];
  }
}

/** The timing of a connected end that two readings agree on; undefined where it moved meanwhile. */
export const steadyTiming = ({ peer }: ConnectionEnd, before: Timing, after: Timing): Timing | undefined => {
  const stoodStill = after.rtt === before.rtt && after.rttvar === before.rttvar;
  return peer !== undefined && stoodStill ? after : undefined;
};

/** A struct is ours only if the random addresses that we chose are in it, wherever; any other is of somebody else. */
export const isOurs = (hit: Pick<Hit, "bytes" | "readable">, { own, peer }: ConnectionEnd): boolean =>
  occurs(hit, own.address) && (peer === undefined || occurs(hit, peer.address));

/**
 * A route is looked up again, without ports, where the packet arrives, and from there back: only the flow that holds
 * all of the sender's values, in the order of struct flowi4 or flowi6, is the sender's.
 */
function isFlowOf(hit: Hit, own: SocketAddress, peer: SocketAddress): boolean {
  const ports = [...network(2, peer.port).value, ...network(2, own.port).value];
  return own.family === AF_INET
    ? occurs(hit, Uint8Array.of(...own.address, ...peer.address, ...ports))
    : occurs(hit, Uint8Array.of(...peer.address, ...own.address)) && occurs(hit, Uint8Array.from(ports));
}
