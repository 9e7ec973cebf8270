import type { Libbpf } from "../../../ffi/libbpf.ts";
import type { Evidence } from "../../offsets/evidence.ts";
import { placesOf, type Solution } from "../../offsets/solver.ts";
import { whyAbsent, wideMembers } from "../members/all.ts";
import { derived } from "../members/derived.ts";
import { addressing } from "../running/addressing.ts";
import { openScene } from "../scene/scene.ts";
import { evidenceOf } from "../snapshot/guess.ts";
import { Graph } from "./graph.ts";
import { Crawler, type RungOffers } from "./reader.ts";

/** What a crawl found, and how. */
export interface Crawl {
  /** The evidence on every member that a crawl can tell, under its `type.member`. */
  readonly evidence: readonly Evidence[];
  /** `kind:target` of the rung in use. */
  readonly attached: string;
  /** How often the program ran. */
  readonly events: number;
  /** Why less is known here than could be, in words for a person. */
  readonly limits: readonly string[];
}

/**
 * Learns where members of the kernel's structs are from tasks, files and namespaces that it makes for the purpose.
 *
 * @param name of the eBPF object @param version of the kernel @param offers why the host has no places of a kind to attach to
 * @throws SystemError when the kernel refuses the program, Unmet where it does not run
 */
export function crawl(
  libbpf: Libbpf,
  bytecode: Uint8Array,
  name: string,
  version: readonly [number, number, number],
  offers: RungOffers,
): Crawl {
  using owned = new DisposableStack();
  const crawler = owned.use(new Crawler(libbpf, bytecode, name, offers));
  const { roots, limits, leave } = openScene(crawler, owned);
  const absent = new Map(wideMembers.map((row) => [row.member, whyAbsent(row, version)]));
  const graph = new Graph(
    (walks) => crawler.follow(walks),
    addressing,
    (member) => absent.get(member) == null,
  );
  graph.explore(roots);
  leave();
  const solutions = graph.solutions();
  const evidence = wideMembers.map(({ member }): Evidence => {
    const reason = absent.get(member) ?? null;
    const solution = solutions.get(member) ?? derivedOf(member, solutions);
    return evidenceOf(member, reason === null ? solution : { is: "open", reason });
  });
  return { evidence, attached: crawler.attached, events: crawler.events, limits };
}

/** Where a member is that follows from others. */
function derivedOf(member: string, solutions: ReadonlyMap<string, Solution>): Solution {
  const row = derived.find((each) => each.member === member);
  if (row === undefined) return { is: "open", reason: "nothing of the scene leads to its struct" };
  const placesIn = (other: string) => placesOf(solutions.get(other));
  const offset = row.from(placesIn);
  if (offset !== null && offset >= 0) return { is: "solved", offset };
  const unknown = row.by.filter((other) => placesIn(other).length !== 1);
  return {
    is: "open",
    reason:
      unknown.length > 0
        ? `${unknown.join(" and ")}, which it follows from, is not known`
        : `${row.by.join(" and ")} are not where they should be in it`,
  };
}
