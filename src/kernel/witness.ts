import type { TcpSocket } from "../net/tcp.ts";
import { type Observation, occurs } from "../offsets/observation.ts";
import type { Hit, Recorder } from "./recorder.ts";
import {
  type End,
  factsOf,
  type Stability,
  stableInfo,
  type Timing,
  type Transition,
  type Witness,
} from "./stimulus.ts";

/** A witness that turns what a rung copies into observations. */
export interface ObservingWitness extends Witness {
  readonly observations: Observation[];
  /** Makes the rung pass over an unconnected socket of ours, which changes nothing that lasts. */
  nudge(socket: TcpSocket): void;
}

/** A struct is ours only if the random addresses that we chose are in it, wherever; others are none of our business. */
const isOurs = (hit: Hit, { own, peer }: End): boolean =>
  occurs(hit, own.address) && (peer === undefined || occurs(hit, peer.address));

const observation = (hit: Hit, end: End, state: number, timing?: Timing): Observation => ({
  bytes: hit.bytes,
  readable: hit.readable,
  expected: factsOf(end, state, timing),
});

/** For kprobe:tcp_getsockopt: asking a socket at rest for TCP_INFO copies it, and tells its state and timing as well. */
export class GetsockoptWitness implements ObservingWitness {
  readonly observations: Observation[] = [];

  constructor(
    private readonly recorder: Recorder,
    readonly stability: Stability,
  ) {}

  moving(act: () => void): void {
    act();
  }

  resting(socket: TcpSocket, end: End): void {
    const before = stableInfo(socket, this.stability);
    let asked = before;
    const hits = this.recorder.during(() => {
      asked = socket.info();
    });
    if (before === null || asked === null || asked.state !== before.state) return;
    const still = asked.rtt === before.rtt && asked.rttvar === before.rttvar;
    const timed = end.peer !== undefined && still ? asked : undefined;
    for (const hit of hits)
      if (isOurs(hit, end)) this.observations.push(observation(hit, end, asked.state, timed));
  }

  nudge(socket: TcpSocket): void {
    socket.info();
  }
}

/** For raw_tp:inet_sock_set_state: each change of state copies the socket as it was just before. */
export class StateChangeWitness implements ObservingWitness {
  readonly observations: Observation[] = [];

  constructor(
    private readonly recorder: Recorder,
    readonly stability: Stability,
  ) {}

  moving(act: () => void, transitions: readonly Transition[]): void {
    for (const hit of this.recorder.during(act)) {
      const known = transitions.find(
        ({ from, to, end }) => from === hit.from && to === hit.to && isOurs(hit, end),
      );
      // trace_inet_sock_set_state runs before the new state is stored, so `from` still stands in the struct.
      if (known !== undefined) this.observations.push(observation(hit, known.end, known.from, known.timing));
    }
  }

  resting(): void {}

  nudge(socket: TcpSocket): void {
    socket.listen();
    socket.unlisten();
  }
}
