import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type FoundPlaces,
  type ReadQuestion,
  type Reply,
  type Search,
  searchBehind,
  searchField,
  settleFound,
} from "../../../src/kernel/stepwise/steps.ts";
import { type Facts, isReadable } from "../../../src/offsets/observation.ts";
import type { Solution } from "../../../src/offsets/solver.ts";
import { host, network, pointer, raw, shifted } from "../../../src/offsets/values.ts";
import { address6, integer, Memory } from "../offsets/memory.ts";

const SIZE = 512;
const THRESHOLD = 400;

/** Sockets in synthetic memory; pointers are indices into `targets`. */
class Sockets {
  readonly questions: ReadQuestion[] = [];

  constructor(
    private readonly sockets: readonly Memory[],
    private readonly targets: ReadonlyMap<Memory, ReadonlyMap<number, Memory>> = new Map(),
  ) {}

  get facts(): Facts[] {
    return this.sockets.map((socket) => socket.observe().expected);
  }

  /** Answers the questions of a search as the eBPF program does. */
  run<Result>(search: Search<Result>): Result {
    for (let next = search.next(); ; ) {
      if (next.done) return next.value;
      this.questions.push(next.value);
      next = search.next(this.#reply(next.value));
    }
  }

  #reply({ subject, width, offset, behind }: ReadQuestion): Reply {
    const socket = this.sockets[subject];
    if (socket === undefined) throw new Error(`no socket ${subject}`);
    const memory = behind === undefined ? socket : this.targets.get(socket)?.get(offset);
    const at = behind ?? offset;
    if (memory === undefined || !isReadable(memory.observe(), at, width)) return null;
    return memory.bytes.slice(at, at + width);
  }
}

/** Memory whose filling differs from socket to socket, and never is an expected value by itself. */
const socketMemory = (seed: number): Memory =>
  new Memory(SIZE, (at) => 0x80 | ((at * 37 + seed * 11) & 0x7f));

const addresses = [
  [127, 1, 2, 3],
  [127, 9, 8, 7],
  [127, 5, 5, 6],
].map((bytes) => raw(Uint8Array.from(bytes)));

const at = (...offsets: number[]): FoundPlaces => ({ offsets });
const nowhere = (reason: string): FoundPlaces => ({ offsets: [], reason });

describe("a field", () => {
  test("is found at its offset, with an event a candidate and one for each other socket that is asked", () => {
    const sockets = new Sockets(
      addresses.map((address, seed) => socketMemory(seed).member("daddr", 84, address)),
    );
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(84));
    expect(sockets.questions.length).toBe(THRESHOLD / 4 + 2);
  });

  test("a copy before it is found as well: the first place that holds is no answer", () => {
    const sockets = new Sockets(
      addresses.map((address, seed) =>
        socketMemory(seed).member("daddr", 84, address).plant(40, address).plant(396, address),
      ),
    );
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(40, 84, 396));
  });

  test("a place that holds the first socket's value alone is passed over", () => {
    const [first, ...others] = addresses.map((address, seed) =>
      socketMemory(seed).member("daddr", 84, address),
    );
    const [value] = addresses;
    if (first === undefined || value === undefined) throw new Error("unreachable");
    const sockets = new Sockets([first.plant(40, value), ...others]);
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(84));
  });

  test("an unaligned copy before it is never looked at", () => {
    const ports = [4711, 815, 33_000];
    const memories = ports.map((port, seed) =>
      socketMemory(seed).member("dport", 12, network(2, port)).plant(7, network(2, port)),
    );
    const sockets = new Sockets(memories);
    expect(sockets.run(searchField(integer("dport", 2), sockets.facts, THRESHOLD))).toEqual(at(12));
    expect(sockets.questions.every(({ offset }) => offset % 2 === 0)).toBe(true);
  });

  test("an address that holds the port's bytes in one socket does not mislead", () => {
    const ports = [0x1234, 0x5678, 0x9abc].map((port) => network(2, port));
    const memories = ports.map((port, seed) => socketMemory(seed).member("sport", 300, port));
    memories[0]?.plant(4, network(2, 0x1234));
    const sockets = new Sockets(memories);
    expect(sockets.run(searchField(integer("sport", 2), sockets.facts, THRESHOLD))).toEqual(at(300));
  });

  test("rtt_var is found before rtt as well as behind it", () => {
    for (const [rtt, variance] of [
      [200, 204],
      [204, 100],
    ] as const) {
      const memories = [1201, 1777, 950].map((time, seed) =>
        socketMemory(seed)
          .member("rtt", rtt, shifted(4, time, 3))
          .member("rtt_var", variance, shifted(4, time >> 1, 2)),
      );
      const sockets = new Sockets(memories);
      expect(sockets.run(searchField(integer("rtt", 4), sockets.facts, THRESHOLD))).toEqual(at(rtt));
      expect(sockets.run(searchField(integer("rtt_var", 4), sockets.facts, THRESHOLD))).toEqual(at(variance));
    }
  });

  test("the last offset below the threshold is found, the next one is not", () => {
    const placed = (offset: number) =>
      new Sockets(addresses.map((address, seed) => socketMemory(seed).member("daddr", offset, address)));
    const found = placed(396);
    expect(found.run(searchField(integer("daddr", 4), found.facts, 400))).toEqual(at(396));
    const beyond = placed(400);
    const reason = "no offset below the threshold of 400 bytes";
    expect(beyond.run(searchField(integer("daddr", 4), beyond.facts, 400))).toEqual(nowhere(reason));
    expect(beyond.questions.length).toBe(100);
  });

  test("the same value in all sockets proves nothing, and costs no event", () => {
    const sockets = new Sockets([1, 2, 3].map((seed) => socketMemory(seed).member("family", 16, host(2, 2))));
    expect(sockets.run(searchField(integer("family", 2), sockets.facts, THRESHOLD)).offsets).toEqual([]);
    const strangers = new Sockets([1, 2, 3].map((seed) => socketMemory(seed)));
    expect(strangers.run(searchField(integer("family", 2), strangers.facts, THRESHOLD))).toEqual(
      nowhere("never observed"),
    );
    expect([...sockets.questions, ...strangers.questions]).toEqual([]);
  });

  test("a value that differs in bits that are not compared proves nothing", () => {
    const memories = [0, 1, 2].map((low, seed) =>
      socketMemory(seed).member("rtt", 84, { ...shifted(4, 9, 3), value: host(4, (9 << 3) | low).value }),
    );
    const sockets = new Sockets(memories);
    const reason = "all sockets have the same value, which proves nothing";
    expect(sockets.run(searchField(integer("rtt", 4), sockets.facts, THRESHOLD))).toEqual(nowhere(reason));
  });

  test("memory that is not there is no candidate", () => {
    const memories = addresses.map((address, seed) =>
      socketMemory(seed).member("daddr", 84, address).hole(0, 64),
    );
    const sockets = new Sockets(memories);
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(84));
    const gone = new Sockets(memories.map((memory) => memory.hole(80, 96)));
    expect(gone.run(searchField(integer("daddr", 4), gone.facts, THRESHOLD)).offsets).toEqual([]);
  });

  test("in random memory with random copies the true offset is among them, and each holds in every socket", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 99 }).map((slot) => slot * 4),
        fc.array(fc.record({ at: fc.integer({ min: 0, max: 490 }), socket: fc.nat(2) }), { maxLength: 20 }),
        fc.array(fc.uint8Array({ minLength: 16, maxLength: 16 }), { minLength: 3, maxLength: 3 }),
        (truth, copies, values) => {
          fc.pre(new Set(values.map((value) => value.join())).size > 1 && truth <= 384);
          const memories = values.map((value, seed) =>
            socketMemory(seed).member("daddr6", truth, raw(value)),
          );
          for (const { at, socket } of copies) {
            const value = values[socket];
            // Copies of one socket's value, anywhere but over the member.
            if (value !== undefined && (at + 16 <= truth || at >= truth + 16))
              memories[socket]?.plant(at, raw(value));
          }
          const sockets = new Sockets(memories);
          const found = sockets.run(searchField(address6("daddr6"), sockets.facts, THRESHOLD));
          expect(found.offsets).toContain(truth);
          for (const offset of found.offsets)
            for (const [index, value] of values.entries())
              expect(memories[index]?.bytes.slice(offset, offset + 16)).toEqual(Uint8Array.from(value));
        },
      ),
    );
  });
});

describe("a pointer and the field behind it", () => {
  const INODES = [4_026_531_840, 4_026_532_999] as const;
  const NETNS = 48;
  const INO = 136;
  /** Two sockets in the first namespace and one in the second, with other pointers before the right one. */
  function world(others: (index: number, own: Memory) => [number, Memory][] = () => [], ino = INO) {
    const namespaces = INODES.map((inode, seed) =>
      socketMemory(50 + seed).member("ino", ino, host(4, inode)),
    );
    const known: Memory[] = [];
    const addressOf = (target: Memory) => {
      if (!known.includes(target)) known.push(target);
      return 0xffff_8880_0000_0000n + BigInt(known.indexOf(target)) * 0x1000n;
    };
    const sockets = [0, 0, 1].map((index) => {
      const namespace = namespaces[index];
      const inode = INODES[index];
      if (namespace === undefined || inode === undefined) throw new Error("unreachable");
      const memory = socketMemory(index).member("ino", SIZE - 4, host(4, inode));
      const targets = new Map([[NETNS, namespace], ...others(index, namespace)]);
      for (const [offset, target] of targets) memory.plant(offset, pointer(addressOf(target)));
      return [memory, targets] as const;
    });
    return new Sockets(
      sockets.map(([memory]) => memory),
      new Map(sockets),
    );
  }

  test("are found", () => {
    const sockets = world();
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD, SIZE))).toEqual({
      pointer: at(NETNS),
      member: at(INO),
    });
    // What is no pointer costs one event; one that is shared is read in every socket and looked behind.
    expect(sockets.questions.length).toBe(THRESHOLD / 8 + 3 * 2 + THRESHOLD / 4 + 2);
  });

  test("are found where the struct is longer than the threshold, and only there is it searched further", () => {
    const beyond = world(() => [], THRESHOLD + 52);
    expect(beyond.run(searchBehind(integer("ino", 4), beyond.facts, THRESHOLD, SIZE))).toEqual({
      pointer: at(NETNS),
      member: at(THRESHOLD + 52),
    });
    expect(beyond.run(searchBehind(integer("ino", 4), beyond.facts, THRESHOLD, THRESHOLD + 52))).toEqual({
      pointer: nowhere("no offset below the threshold of 452 bytes"),
      member: nowhere("no offset below the threshold of 452 bytes"),
    });
  });

  test("a pointer to something that holds one namespace's number in both is passed over", () => {
    const impostor = socketMemory(9).plant(16, host(4, INODES[0]));
    const sockets = world(() => [[24, impostor]]);
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD, SIZE))).toEqual({
      pointer: at(NETNS),
      member: at(INO),
    });
  });

  test("of two that lead there neither is believed, and what is behind both is told", () => {
    const sockets = world((_, own) => [[96, own]]);
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD, SIZE))).toEqual({
      pointer: at(NETNS, 96),
      member: at(INO),
    });
  });

  test("a pointer of the socket's own is none to its namespace, whatever is behind it", () => {
    const own = [0, 0, 1].map((index, seed) =>
      socketMemory(70 + seed).plant(16, host(4, INODES[index] ?? 0)),
    );
    let made = 0;
    const sockets = world(() => [[24, own[made++] ?? socketMemory(0)]]);
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD, SIZE))).toEqual({
      pointer: at(NETNS),
      member: at(INO),
    });
  });

  test("both are open when nothing leads there, or when there is one namespace alone", () => {
    const lost = new Sockets(
      [0, 1].map((seed) => socketMemory(seed).member("ino", SIZE - 4, host(4, INODES[seed] ?? 0))),
    );
    const reason = "no offset below the threshold of 400 bytes";
    expect(lost.run(searchBehind(integer("ino", 4), lost.facts, THRESHOLD, SIZE))).toEqual({
      pointer: nowhere(reason),
      member: nowhere(reason),
    });
    const one = new Sockets([1, 2].map((seed) => socketMemory(seed).member("ino", 0, host(4, INODES[0]))));
    expect(one.run(searchBehind(integer("ino", 4), one.facts, THRESHOLD, SIZE)).member.offsets).toEqual([]);
  });
});

describe("what was found", () => {
  const unknowns = [integer("daddr", 4), integer("saddr", 4), integer("sport", 2)];
  const adjacent = { kind: "adjacent", first: "daddr", second: "saddr", because: "skc_addrpair" } as const;
  const before = {
    kind: "before",
    first: "saddr",
    second: "sport",
    because: "sock_common is first",
  } as const;
  const settled = (daddr: number[], saddr: number[], sport: number[]) =>
    settleFound(
      unknowns,
      new Map([
        ["daddr", at(...daddr)],
        ["saddr", at(...saddr)],
        ["sport", at(...sport)],
      ]),
      [adjacent, before],
    );
  const solved = (offset: number): Solution => ({ is: "solved", offset });

  test("is told apart by what C says", () => {
    expect([...settled([0, 68], [4, 84], [780]).values()]).toEqual([solved(0), solved(4), solved(780)]);
  });

  test("stays ambiguous where C says nothing", () => {
    expect(settled([0], [4], [780, 800]).get("sport")).toEqual({ is: "ambiguous", offsets: [780, 800] });
  });

  test("is open where it contradicts, and names the declaration", () => {
    const apart = settled([0], [84], [780]);
    const reason = "no place fits that daddr is right before saddr (skc_addrpair)";
    expect(apart.get("daddr")).toEqual({ is: "open", reason });
    expect(apart.get("saddr")).toEqual({ is: "open", reason });
    expect(apart.get("sport")).toEqual(solved(780));
  });

  test("members that overlap are both open", () => {
    const overlapping = settled([0], [4], [6]);
    expect(overlapping.get("daddr")).toEqual(solved(0));
    for (const name of ["saddr", "sport"])
      expect(overlapping.get(name)).toMatchObject({ is: "open", reason: expect.stringContaining("overlap") });
  });

  test("what was not found has its reason, what was not looked for nothing", () => {
    const found = new Map([["daddr", nowhere("never observed")]]);
    expect([...settleFound(unknowns, found, [adjacent])]).toEqual([
      ["daddr", { is: "open", reason: "never observed" }],
    ]);
  });
});
