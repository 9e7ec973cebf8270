import { crop, type Expectation, type Facts, holds, isReadable } from "../../offsets/observation.ts";
import { type Addressing, pointerAt, pointersInAll, untagged } from "../../offsets/pointers.ts";
import { recheck } from "../../offsets/recheck.ts";
import {
  placesOf,
  type Relation,
  type Solution,
  scanAll,
  settle,
  solve,
  type Unknown,
} from "../../offsets/solver.ts";
import { host, pointer } from "../../offsets/values.ts";
import type { Struct, Thing } from "../members/row.ts";
import { alignOf, sizeOf } from "../synthetic/ctype.ts";
import type { Landing, Walk } from "./reader.ts";

/** How many pointers are followed from where a pointer leads, to tell whether it leads to what is meant. */
const DEPTH = 4;
/**
 * So many solved members that stand in the order of their declaration show that the kernel does not shuffle this struct (RANDSTRUCT): by
 * chance that happens once in 5,040.
 */
const ORDERED = 7;
/** More pointers than this are not followed: what they lead to could not be told apart in any useful time. */
const MOST_POINTERS = 1024;

/** Bytes. A struct that lies within another one begins at most so far behind that one's beginning. */
const BEFORE = 256;

const POINTER = 8;

/** A thing, and the bytes of the struct that it may be. */
interface Sight {
  readonly thing: Thing;
  readonly landing: Landing;
}

/** A place where a pointer may be, and what of the scene it leads to from there. */
interface Candidate {
  readonly at: number;
  readonly seen: readonly Sight[];
}

/**
 * Finds the structs of a scene in the kernel's memory, and the members of each: from things whose addresses are known on, by
 * pointers. A pointer is right when what it leads to is right; where two lead to what could be meant, neither is believed.
 */
export class Graph {
  readonly #seen = new Map<Thing, Landing>();
  /** The things that were seen, by the names of their structs. */
  readonly #sights = new Map<string, Sight[]>();
  /** What was read of each thing at the end, and what is still known of it then. */
  readonly #again = new Map<Thing, { readonly landing: Landing | null; readonly held: Facts }>();
  readonly #why = new Map<string, string>();
  /** Where pointers were found, by `struct.member`. */
  readonly #places = new Map<string, readonly number[]>();
  readonly #reads = new Map<string, Landing | null>();

  constructor(
    private readonly follow: (walks: readonly Walk[]) => (Landing | null)[],
    private readonly addressing: Addressing,
    /** Whether this kernel has a member, `struct.member`. */
    private readonly has: (member: string) => boolean = () => true,
  ) {}

  /** Where a thing is; null where it was not found. */
  find(thing: Thing): Landing | null {
    return this.#seen.get(thing) ?? null;
  }

  /**
   * Takes in things whose addresses are known, and all that is found from there. At last all of it is read anew: what is
   * told holds at the end, too. From then on nothing is read.
   */
  explore(roots: readonly (readonly [Thing, bigint])[]): void {
    for (const sight of this.#look(roots).flat()) this.#see([sight]);
    // What is found later may be what tells pointers of earlier structs apart: these are tried again where nothing else is left.
    for (let isAgain = false, isOver = false; !isOver; ) {
      const before = this.#seen.size;
      for (const name of [...this.#sights.keys()]) this.#exploreStruct(name, isAgain);
      this.#exploreWholes();
      const hasGrown = this.#seen.size > before;
      isOver = isAgain && !hasGrown;
      isAgain = !hasGrown;
    }
    const all = [...this.#seen].map(([thing, { address }]) => [thing, address] as const);
    const again = this.#look(all, (walks) => this.follow(walks));
    for (const [index, [thing]] of all.entries())
      this.#again.set(thing, { landing: again[index]?.[0]?.landing ?? null, held: unmoved(thing) });
  }

  /** What is known of every member, by `struct.member`. */
  solutions(): Map<string, Solution> {
    const found = new Map<string, Solution>();
    for (const name of this.#sights.keys()) {
      for (const [member, solution] of this.#solve(name)) found.set(`${name}.${member}`, solution);
    }
    return found;
  }

  /** Takes in what was found, and what begins there too. */
  #see(found: readonly Sight[]): void {
    for (const { thing, landing } of found) this.#take(thing, landing);
    const parts = found.flatMap(({ thing, landing: { address } }) =>
      thing.parts.map((part) => [part, address] as const),
    );
    for (const { thing, landing } of this.#look(parts).flat()) this.#take(thing, landing);
  }

  /** Reads what lies at these addresses, each as the thing that it should be; nothing of an address that cannot be read. */
  #look(
    all: readonly (readonly [Thing, bigint])[],
    read = (walks: readonly Walk[]) => this.#read(walks),
  ): (readonly [] | readonly [Sight])[] {
    // A walk begins at a multiple of 8, as objects do. A text may begin anywhere, so what lies before it is cut off.
    const skips = all.map(([, address]) => Number(address % BigInt(POINTER)));
    const walks = all.map(([{ struct }, address], index): Walk => {
      const [before, skip] = [struct.before ?? 0, skips[index] ?? 0];
      return {
        root: address - BigInt(skip),
        displacement: -before,
        size: before + struct.limit + Math.ceil(skip / POINTER) * POINTER,
      };
    });
    return read(walks).map((landing, index) => {
      const [thing, skip] = [all[index]?.[0], skips[index] ?? 0];
      if (landing === null || thing === undefined) return [];
      const bytes = landing.bytes.subarray(skip);
      const readable = bytes.length === 0 ? [] : [{ start: 0, end: bytes.length }];
      const address = landing.address + BigInt((thing.struct.before ?? 0) + skip);
      return [{ thing, landing: { ...landing, address, bytes, readable } }];
    });
  }

  #take(thing: Thing, landing: Landing): void {
    if (this.#seen.has(thing)) return;
    this.#seen.set(thing, landing);
    const { name } = thing.struct;
    const sights = this.#sights.get(name) ?? [];
    sights.push({ thing, landing });
    this.#sights.set(name, sights);
  }

  #read(walks: readonly Walk[]): (Landing | null)[] {
    const key = ({ root = 0n, displacement = 0, size }: Walk) => `${root} ${displacement} ${size}`;
    const missing = [...new Map(walks.map((walk) => [key(walk), walk])).values()].filter(
      (walk) => !this.#reads.has(key(walk)),
    );
    for (const [index, landing] of this.follow(missing).entries()) {
      const walk = missing[index];
      if (walk !== undefined) this.#reads.set(key(walk), landing);
    }
    return walks.map((walk) => this.#reads.get(key(walk)) ?? null);
  }

  /** @param isAgain whether pointers that led nowhere are tried again */
  #exploreStruct(name: string, isAgain: boolean): void {
    const sights = [...(this.#sights.get(name) ?? [])];
    for (const member of pointersOf(sights)) {
      const key = `${name}.${member}`;
      if (!this.has(key) || (this.#why.has(key) && !isAgain)) continue;
      const isOpen = sights.some(({ thing }) => {
        const to = thing.leads().get(member);
        return to != null && !this.#seen.has(to);
      });
      if (!isOpen) continue;
      // More instances leave fewer of the places that were right, and make none right.
      const before = this.#places.get(key);
      const again = before === undefined ? [] : this.#candidates(sights, member, DEPTH, before);
      const candidates = again.length > 0 ? again : this.#candidates(sights, member, DEPTH);
      const [first] = candidates;
      const ways = new Set(candidates.map(({ seen }) => addressesOf(seen)));
      if (first === undefined) this.#why.set(key, "no pointer led to what was looked for");
      else if (ways.size > 1)
        this.#why.set(
          key,
          `${candidates.map(({ at }) => at).join(", ")} lead to what could be meant, each elsewhere`,
        );
      else {
        this.#why.delete(key);
        this.#places.set(
          key,
          candidates.map(({ at }) => at),
        );
        this.#see(first.seen);
      }
    }
  }

  /**
   * Finds what structs that are known lie in. How far before them it begins is the same in all, and pointers from one
   * such whole to another tell it: to two others at least.
   */
  #exploreWholes(): void {
    const parts = [...this.#seen].flatMap(([{ whole }, landing]) =>
      whole === undefined ? [] : [{ whole, address: landing.address }],
    );
    if (parts.every(({ whole }) => this.#seen.has(whole))) return;
    const addresses = new Map(parts.map(({ whole, address }) => [whole, address]));
    const landings = this.#read(
      parts.map(({ whole, address }) => ({
        root: address,
        displacement: -BEFORE,
        size: BEFORE + whole.struct.limit,
      })),
    );
    const pairs = parts.flatMap(({ whole }, index) =>
      [...whole.leads().values()].flatMap((to) => {
        const [landing, address] = [landings[index], to && addresses.get(to)];
        return landing == null || address == null ? [] : [{ landing, address }];
      }),
    );
    if (new Set(pairs.map(({ address }) => address)).size < 2) return;
    const end = Math.min(...pairs.map(({ landing }) => landing.bytes.length));
    const distances = new Set<bigint>();
    for (let at = 0; at + POINTER <= end; at += POINTER) {
      const found = new Set(
        pairs.map(({ landing, address }) => {
          const word = this.#pointer(landing, at);
          return word === null ? -1n : address - untagged(word, this.addressing);
        }),
      );
      const [distance = -1n] = found;
      if (found.size === 1 && distance >= 0n && distance <= BigInt(BEFORE)) distances.add(distance);
    }
    const [distance] = distances;
    if (distance === undefined || distances.size > 1) return;
    const wholes = parts.map(({ whole, address }) => [whole, address - distance] as const);
    for (const sight of this.#look(wholes).flat()) this.#see([sight]);
  }

  /** The places where a pointer may be. @param among these alone */
  #candidates(
    sights: readonly Sight[],
    member: string,
    depth: number,
    among?: readonly number[],
  ): Candidate[] {
    const pairs = sights.flatMap((sight) => {
      const to = sight.thing.leads().get(member);
      return to === undefined ? [] : [{ ...sight, to }];
    });
    const leading = pairs.flatMap((pair) => (pair.to === null ? [] : [{ ...pair, to: pair.to }]));
    if (leading.length === 0 || depth === 0) return [];
    const fixed = leading[0]?.thing.struct.members.get(member)?.fixed;
    const most = largestOf(pairs);
    const sighted = leading.map(({ thing, landing }) => ({
      ...landing,
      bytes: landing.bytes.subarray(0, (thing.struct.before ?? 0) + Math.min(most, thing.struct.limit)),
      instance: landing.address,
      expected: new Map<string, Expectation>(),
    }));
    const isText = leading.every(({ to }) => isAnywhere(to));
    const pointers = () => pointersInAll(sighted, this.addressing, Infinity, isText ? 1 : POINTER);
    const places = fixed === undefined ? (among ?? pointers()) : [fixed];
    const fitting = places.filter(
      (at) =>
        pairs.every(
          ({ to, landing }) =>
            to !== null || !isReadable(landing, at, POINTER) || holds(landing.bytes, at, host(8, 0)),
        ) &&
        this.#fits(leading, at) &&
        (isText || leading.every(({ thing, landing }) => this.#isForeign(thing, landing, at))),
    );
    if (fitting.length > MOST_POINTERS) return [];
    // Most places are refuted by the first instance, so that the others are read only for the rest.
    const readAll = (pick: readonly (typeof leading)[number][], offsets: readonly number[]) => {
      const led = offsets.flatMap((at) =>
        pick.map(({ landing, to }) => {
          const word = this.#pointer(landing, at, to) ?? 0n;
          return [to, untagged(word, this.addressing)] as const;
        }),
      );
      const sights = this.#look(led);
      const { length } = pick;
      return new Map(
        offsets.map((at, index) => [at, sights.slice(index * length, (index + 1) * length).flat()]),
      );
    };
    const probe = leading.slice(0, 1);
    // A place that is the same in every kernel needs no proof of its own: that this is the struct is proven already.
    if (fixed !== undefined)
      return [...readAll(leading, fitting)].flatMap(([at, seen]) =>
        seen.length === leading.length ? [{ at, seen }] : [],
      );
    const near = [...readAll(probe, fitting)].flatMap(([at, seen]) =>
      seen.length === probe.length && seen.every((sight) => isPossible(sight)) ? [at] : [],
    );
    return [...readAll(leading, near)].flatMap(([at, seen]): Candidate[] =>
      seen.length === leading.length && this.#isRight(seen, depth) ? [{ at, seen }] : [],
    );
  }

  /** Whether pointers are the same where they lead to the same thing, others elsewhere, and lead to what is known already. */
  #fits(leading: readonly (Sight & { readonly to: Thing })[], at: number): boolean {
    const byThing = new Map<Thing, bigint>();
    const byAddress = new Map<number, Thing>();
    return leading.every(({ landing, to }) => {
      const word = this.#pointer(landing, at, to);
      if (word === null) return false;
      // Things of one name may share the text of it, so that their pointers may be equal.
      if (isAnywhere(to)) return true;
      const address = untagged(word, this.addressing);
      const before = byThing.get(to) ?? this.#seen.get(to)?.address ?? address;
      const other = byAddress.get(keyOf(address)) ?? to;
      byThing.set(to, address);
      byAddress.set(keyOf(address), to);
      return before === address && other === to;
    });
  }

  #pointer({ bytes, address }: Landing, at: number, to?: Thing): bigint | null {
    if (at + POINTER > bytes.length) return null;
    const align = to !== undefined && isAnywhere(to) ? 1 : POINTER;
    return pointerAt({ bytes, instance: address }, at, this.addressing, align);
  }

  /** Whether a pointer leads elsewhere than into its own struct, of which no more is known than that it reaches up to it. */
  #isForeign({ struct: { before = 0 } }: Thing, landing: Landing, at: number): boolean {
    const distance = untagged(this.#pointer(landing, at) ?? 0n, this.addressing) - landing.address;
    return distance < 0n || distance >= BigInt(at - before + POINTER);
  }

  /** Whether these bytes are the things that they may be. */
  #isRight(seen: readonly Sight[], depth: number): boolean {
    const distinct = [...new Map(seen.map((sight) => [sight.thing, sight])).values()];
    const [first] = distinct;
    if (first === undefined || !distinct.every((sight) => isPossible(sight))) return false;
    const { struct } = first.thing;
    if ([...struct.members.values()].some(({ fixed }) => fixed !== undefined))
      return distinct.every((sight) => this.#isFixed(sight));
    const isKnown = distinct.every(
      ({ thing, landing }) => this.#seen.get(thing)?.address === landing.address,
    );
    if (isKnown) return true;
    const things = new Set(distinct.map(({ thing }) => thing));
    const isPointer = (member: string) => struct.members.get(member)?.isPointer === true;
    const [pointers, values] = [struct.keys.filter(isPointer), struct.keys.filter((key) => !isPointer(key))];
    const led = pointers
      .filter((member) => distinct.some(({ thing }) => thing.leads().get(member) != null))
      .map((member) => this.#candidates(distinct, member, depth - 1).length > 0);
    const known = (this.#sights.get(struct.name) ?? []).filter(({ thing }) => !things.has(thing));
    const all = [...distinct, ...known].map(observationOf);
    const asked = values.filter((member) => distinct.some(({ thing }) => thing.expected().has(member)));
    const solutions = solve(
      asked.map((member) => unknownOf(struct, member)),
      struct.relations,
      all,
    );
    const held = [...solutions.values()];
    // A value that is the same in all of them is no proof, but neither a value nor a pointer may be missing.
    const isProven = held.some((one) => placesOf(one).length > 0) || led.includes(true);
    return isProven && !led.includes(false) && !held.some(isRefuted);
  }

  /** Whether pointers of fixed places are the same where they lead to the same thing, others elsewhere, and null where they should be. */
  #isFixed({ thing, landing }: Sight): boolean {
    const [byThing, byWord] = [new Map<Thing, bigint>(), new Map<number, Thing>()];
    return [...thing.leads()].every(([member, to]) => {
      const at = thing.struct.members.get(member)?.fixed ?? 0;
      if (to === null) return holds(landing.bytes, at, host(8, 0));
      const word = this.#pointer(landing, at);
      if (word === null) return false;
      const isSame = (byThing.get(to) ?? word) === word && (byWord.get(keyOf(word)) ?? to) === to;
      byThing.set(to, word);
      byWord.set(keyOf(word), to);
      return isSame;
    });
  }

  #solve(name: string): Map<string, Solution> {
    const sights = this.#sights.get(name) ?? [];
    const structs = sights.map(({ thing }) => thing.struct);
    const members = new Map(structs.flatMap(({ members }) => [...members]));
    const [struct] = structs;
    if (struct === undefined) return new Map();
    const most = largestOf(sights);
    const observations = sights.flatMap(({ thing, landing }) => {
      const again = this.#again.get(thing);
      const expected = new Map([...(again?.held ?? []), ...this.#expectedPointers(thing)]);
      return [landing, again?.landing].flatMap((one) =>
        one == null ? [] : [{ ...crop(one, (struct.before ?? 0) + most), expected }],
      );
    });
    const unknowns = [...members].flatMap(([member, { fixed }]) =>
      fixed === undefined &&
      this.has(`${name}.${member}`) &&
      observations.some(({ expected }) => expected.has(member))
        ? [unknownOf(struct, member)]
        : [],
    );
    const scanned = scanAll(unknowns, observations);
    const first = settle(scanned, struct.relations);
    const order = orderOf(struct, first);
    const solutions = order.length === 0 ? first : settle(scanned, [...struct.relations, ...order]);
    return new Map(
      [...members]
        .filter(([, { fixed }]) => fixed === undefined)
        .map(([member]) => {
          const solution = recheck(
            member,
            solutions.get(member) ?? {
              is: "open",
              reason: this.#why.get(`${name}.${member}`) ?? "never observed",
            },
            observations,
          );
          return [member, solution];
        }),
    );
  }

  #expectedPointers(thing: Thing): [string, Expectation][] {
    return [...thing.leads()].flatMap(([member, to]): [string, Expectation][] => {
      if (to === null) return [[member, pointer(0n)]];
      const landing = this.#seen.get(to);
      if (landing === undefined) return [];
      const { tagBits } = this.addressing;
      const mask = host(8, (1n << BigInt(64 - tagBits)) - 1n).value;
      return [[member, { ...pointer(landing.address), ...(tagBits > 0 && { mask }) }]];
    });
  }
}

/**
 * The key of an address in maps and sets, which take a hundred times as long with bigints. The bits that are cut off are a tag, or the same
 * in all addresses. Were they not, two addresses would have one key and a place would be refused, never a wrong one told.
 */
const keyOf = (address: bigint): number => Number(BigInt.asUintN(53, address));

/** Whether a thing lies anywhere: a text is not aligned. */
const isAnywhere = ({ struct }: Thing): boolean => struct.members.get("text")?.fixed === 0;

const pointersOf = (sights: readonly Sight[]): Set<string> =>
  new Set(sights.flatMap(({ thing }) => [...thing.leads().keys()]));

/** The expectations of a thing that held before it was read and still hold now: what moved meanwhile is left out. */
function unmoved(thing: Thing): Facts {
  const [before, now] = [thing.expected(), thing.expectedNow()];
  if (now === before) return before;
  const isSame = ({ value }: Expectation, other: Expectation | undefined) =>
    other !== undefined && Buffer.compare(value, other.value) === 0;
  return new Map([...before].filter(([member, one]) => isSame(one, now.get(member))));
}

/** Bytes that a struct can have at most: no more than lie between two instances of it, since the next one begins there. */
export function largestOf(sights: readonly { readonly landing: Pick<Landing, "address"> }[]): number {
  const addresses = [...new Set(sights.map(({ landing }) => landing.address))].sort((a, b) =>
    a < b ? -1 : 1,
  );
  const ways = addresses.slice(1).map((address, index) => Number(address - (addresses[index] ?? 0n)));
  return Math.min(Number.MAX_SAFE_INTEGER, ...ways);
}

const addressesOf = (seen: readonly Sight[]): string => seen.map(({ landing }) => landing.address).join();

const observationOf = ({ thing, landing }: Sight) => ({ ...landing, expected: thing.expected() });

/** Whether a value was found nowhere; one that was always the same, or stands at several places, is not refuted. */
const isRefuted = (solution: Solution): boolean =>
  solution.is === "open" && !/proves nothing$|could not be told apart$/.test(solution.reason);

const unknownOf = ({ members }: Struct, member: string): Unknown => {
  const type = members.get(member)?.type;
  if (type === undefined) throw new RangeError(`no row of ${member}`);
  const align = members.get(member)?.align ?? alignOf(type);
  if (align !== 1 && align !== 2 && align !== 4 && align !== 8)
    throw new RangeError(`${member} is aligned by ${align}`);
  return { constant: member, shape: { width: sizeOf(type), align } };
};

/** Whether these bytes may be this thing, looked at alone: each value that it has to hold stands somewhere in them. */
function isPossible({ thing, landing }: Sight): boolean {
  const { struct } = thing;
  return [...thing.expected()].every(([member, expectation]) => {
    const fixed = struct.members.get(member)?.fixed;
    const end = landing.bytes.length - expectation.value.length;
    if (fixed !== undefined) return fixed <= end && holds(landing.bytes, fixed, expectation);
    if (!struct.keys.includes(member)) return true;
    return occursAligned(landing.bytes, expectation, unknownOf(struct, member).shape.align);
  });
}

function occursAligned(bytes: Uint8Array, expectation: Expectation, align: number): boolean {
  const end = bytes.length - expectation.value.length;
  if (expectation.mask !== undefined) {
    for (let at = 0; at <= end; at += align) if (holds(bytes, at, expectation)) return true;
    return false;
  }
  // The runtime's own search is many times faster than a loop here.
  const memory = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = memory.indexOf(expectation.value); at >= 0; at = memory.indexOf(expectation.value, at + 1))
    if (at % align === 0) return true;
  return false;
}

/** What the order of declaration says of the members, where those that are solved show that this kernel keeps it. */
function orderOf(
  { name, order: all, together }: Struct,
  solutions: ReadonlyMap<string, Solution>,
): Relation[] {
  const order = all.filter((member) => solutions.has(member));
  const solved = order.flatMap((member) => {
    const solution = solutions.get(member);
    return solution?.is === "solved" ? [solution.offset] : [];
  });
  const isOrdered = solved.every((at, index) => at > (solved[index - 1] ?? -1));
  if (!isOrdered || solved.length < ORDERED) return [];
  const because = `the members of ${name} stand in the order of their declaration`;
  const pairs = (kind: Relation["kind"], members: readonly string[]) =>
    members.slice(1).map((second, index) => ({ kind, first: members[index] ?? second, second, because }));
  return [...pairs("before", order), ...pairs("adjacent", together)];
}
