import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import { TcpSocket } from "../../net/tcp.ts";
import { crop, joined, type Observation } from "../../offsets/observation.ts";
import { type Solution, solve } from "../../offsets/solver.ts";
import { fieldsOf, relations } from "../fields/fields.ts";
import type { WatchedStruct } from "../fields/ladder.ts";
import type { Families } from "../fields/options.ts";
import type { Refusals } from "../stimulus/connection.ts";
import type { Network } from "../stimulus/private-network.ts";
import { type Hit, type Recorder, WINDOW_SIZE } from "./recorder.ts";
import type { Sighting, Witness } from "./witness.ts";

/** A network namespace of the stimulus, and what was seen of the sockets in it. */
export interface Site {
  readonly network: Network;
  readonly witness: Witness;
}

/** Everything a part of the guess works with. */
export interface GuessScene {
  readonly recorder: Recorder;
  readonly families: Families;
  readonly sites: readonly Site[];
  /** Families of which no connections can be made here. */
  readonly refusals: Refusals;
}

/** What was seen of a struct in all sites. */
export const sightings = ({ sites }: GuessScene, struct: WatchedStruct): Sighting[] =>
  sites.flatMap(({ witness }) => witness.seen(struct));

/** Solves the fields of a struct by all that was seen of it. */
export const solveStruct = (scene: GuessScene, struct: WatchedStruct): Map<string, Solution> =>
  solve(fieldsOf(struct), relations[struct], sightings(scene, struct));

/** Sightings by the instance they are of. */
export function byInstance(all: readonly Sighting[]): Sighting[][] {
  const groups = new Map<unknown, Sighting[]>();
  for (const sighting of all) {
    const key = sighting.end ?? sighting.instance;
    groups.set(key, [...(groups.get(key) ?? []), sighting]);
  }
  return [...groups.values()];
}

/** What a path of pointers from an idle socket leads to. */
export interface Chased {
  readonly site: Site;
  readonly hit: Hit;
  readonly target: Pick<Observation, "bytes" | "readable">;
  /** The inode number of the socket in sockfs. */
  readonly inode: number;
}

/**
 * Follows a path from an idle socket in every site. Sites where it leads nowhere are left out.
 *
 * @param size how many bytes of what it leads to are copied, by an event for each window
 * @throws Missed where a socket was not seen: that tells nothing of the path
 */
export function chase(
  { sites, refusals }: GuessScene,
  path: readonly number[],
  size: number = WINDOW_SIZE,
): Chased[] {
  const family = refusals.has(AF_INET) ? AF_INET6 : AF_INET;
  // All sockets are open at the same time: a closed one's memory would serve the next one, at the same address.
  using owned = new DisposableStack();
  const idle = sites.map((site) => ({
    site,
    socket: owned.use(site.network.inside(() => TcpSocket.open(family))),
  }));
  return idle.flatMap(({ site, socket }) => {
    const hits: Hit[] = [];
    for (let skip = 0; skip < size; skip += WINDOW_SIZE) {
      const hit = site.witness.nudge(socket, path, skip);
      if (hit === undefined || hits.some(({ instance }) => instance !== hit.instance))
        throw new Missed("a socket of ours was not seen, so that its pointers are not known");
      hits.push(hit);
      if (hit.target === undefined) break;
    }
    const [hit] = hits;
    const windows = hits.flatMap(({ target }) => target ?? []);
    if (hit === undefined || windows.length < hits.length) return [];
    return [{ site, hit, target: crop(joined(windows), size), inode: socket.inode }];
  });
}

/** A stimulus was not seen, which happens rarely. It says nothing of what was looked for. */
export class Missed extends Error {
  override readonly name = "Missed";
}

/** The candidate of several that alone has a value; else why there is none. */
export function onlyOne<Found>(found: readonly (readonly [at: number, found: Found])[]): {
  solution: Solution;
  found?: Found;
} {
  const [first] = found;
  if (first === undefined)
    return { solution: { is: "open", reason: "no pointer led to what was looked for" } };
  if (found.length > 1) return { solution: { is: "ambiguous", offsets: found.map(([at]) => at) } };
  return { solution: { is: "solved", offset: first[0] }, found: first[1] };
}

/** More pointers than this are not chased: the struct would not be told apart by them in any useful time. */
export const MOST_POINTERS = 12;
