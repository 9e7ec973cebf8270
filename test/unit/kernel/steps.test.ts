import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Question,
  type Reply,
  type Search,
  searchBehind,
  searchField,
  withoutContradictions,
} from "../../../src/kernel/stepwise/steps.ts";
import { type Facts, isReadable } from "../../../src/offsets/observation.ts";
import type { Solution } from "../../../src/offsets/solver.ts";
import { host, network, raw, shifted } from "../../../src/offsets/values.ts";
import { address6, integer, Memory } from "../offsets/memory.ts";

const SIZE = 512;
const THRESHOLD = 400;

/** Sockets in synthetic memory; pointers are indices into `targets`. */
class Sockets {
  readonly questions: Question[] = [];

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

  #reply({ subject, width, offset, behind }: Question): Reply {
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

const at = (offset: number): Solution => ({ is: "solved", offset });

describe("a field", () => {
  test("is found at its offset, with an event a candidate and one for each other socket", () => {
    const sockets = new Sockets(
      addresses.map((address, seed) => socketMemory(seed).member("daddr", 84, address)),
    );
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(84));
    expect(sockets.questions.length).toBe(84 / 4 + 1 + 2);
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
    expect(beyond.run(searchField(integer("daddr", 4), beyond.facts, 400))).toEqual({
      is: "open",
      reason: "no offset below the threshold of 400 bytes",
    });
    expect(beyond.questions.length).toBe(100);
  });

  test("the same value in all sockets proves nothing, and costs no event", () => {
    const sockets = new Sockets([1, 2, 3].map((seed) => socketMemory(seed).member("family", 16, host(2, 2))));
    expect(sockets.run(searchField(integer("family", 2), sockets.facts, THRESHOLD))).toMatchObject({
      is: "open",
    });
    const strangers = new Sockets([1, 2, 3].map((seed) => socketMemory(seed)));
    expect(strangers.run(searchField(integer("family", 2), strangers.facts, THRESHOLD))).toEqual({
      is: "open",
      reason: "never observed",
    });
    expect([...sockets.questions, ...strangers.questions]).toEqual([]);
  });

  test("a value that differs in bits that are not compared proves nothing", () => {
    const memories = [0, 1, 2].map((low, seed) =>
      socketMemory(seed).member("rtt", 84, { ...shifted(4, 9, 3), value: host(4, (9 << 3) | low).value }),
    );
    const sockets = new Sockets(memories);
    expect(sockets.run(searchField(integer("rtt", 4), sockets.facts, THRESHOLD))).toEqual({
      is: "open",
      reason: "all sockets have the same value, which proves nothing",
    });
  });

  test("memory that is not there is no candidate", () => {
    const memories = addresses.map((address, seed) =>
      socketMemory(seed).member("daddr", 84, address).hole(0, 64),
    );
    const sockets = new Sockets(memories);
    expect(sockets.run(searchField(integer("daddr", 4), sockets.facts, THRESHOLD))).toEqual(at(84));
    const gone = new Sockets(memories.map((memory) => memory.hole(80, 96)));
    expect(gone.run(searchField(integer("daddr", 4), gone.facts, THRESHOLD))).toMatchObject({ is: "open" });
  });

  test("in random memory with random copies it is the true offset, an earlier full copy, or open", () => {
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
          if (found.is !== "solved") throw new Error("the true offset was dropped");
          const { offset } = found;
          for (const [index, value] of values.entries())
            expect(memories[index]?.bytes.slice(offset, offset + 16)).toEqual(Uint8Array.from(value));
          expect(offset).toBeLessThanOrEqual(truth);
        },
      ),
    );
  });
});

describe("a pointer and the field behind it", () => {
  const INODES = [4_026_531_840, 4_026_532_999] as const;
  const NETNS = 48;
  const INO = 136;
  const namespaces = INODES.map((inode, seed) => socketMemory(50 + seed).member("ino", INO, host(4, inode)));

  /** Two sockets in the first namespace and one in the second, with other pointers before the right one. */
  function world(others: (index: number, own: Memory) => [number, Memory][] = () => []) {
    const sockets = [0, 0, 1].map((index) => {
      const namespace = namespaces[index];
      const inode = INODES[index];
      if (namespace === undefined || inode === undefined) throw new Error("unreachable");
      return { memory: socketMemory(index).member("ino", SIZE - 4, host(4, inode)), namespace, index };
    });
    return new Sockets(
      sockets.map(({ memory }) => memory),
      new Map(
        sockets.map(({ memory, namespace, index }) => [
          memory,
          new Map([[NETNS, namespace], ...others(index, namespace)]),
        ]),
      ),
    );
  }

  test("are found", () => {
    const sockets = world();
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD))).toEqual({
      pointer: at(NETNS),
      member: at(INO),
    });
    // What is no pointer costs one event.
    expect(sockets.questions.length).toBe(NETNS / 8 + INO / 4 + 1 + 2);
  });

  test("a pointer to something that holds one namespace's number in both is passed over", () => {
    const impostor = socketMemory(9).plant(16, host(4, INODES[0]));
    const sockets = world(() => [[24, impostor]]);
    expect(sockets.run(searchBehind(integer("ino", 4), sockets.facts, THRESHOLD))).toEqual({
      pointer: at(NETNS),
      member: at(INO),
    });
  });

  test("both are open when nothing leads there, or when there is one namespace alone", () => {
    const lost = new Sockets(
      [0, 1].map((seed) => socketMemory(seed).member("ino", SIZE - 4, host(4, INODES[seed] ?? 0))),
    );
    const reason = "no offset below the threshold of 400 bytes";
    expect(lost.run(searchBehind(integer("ino", 4), lost.facts, THRESHOLD))).toEqual({
      pointer: { is: "open", reason },
      member: { is: "open", reason },
    });
    const one = new Sockets([1, 2].map((seed) => socketMemory(seed).member("ino", 0, host(4, INODES[0]))));
    expect(one.run(searchBehind(integer("ino", 4), one.facts, THRESHOLD)).member).toMatchObject({
      is: "open",
    });
  });
});

describe("contradictions", () => {
  const unknowns = [integer("daddr", 4), integer("saddr", 4), integer("sport", 2)];
  const adjacent = { kind: "adjacent", first: "daddr", second: "saddr", because: "skc_addrpair" } as const;
  const before = {
    kind: "before",
    first: "saddr",
    second: "sport",
    because: "sock_common is first",
  } as const;
  const check = (daddr: number, saddr: number, sport: number) =>
    withoutContradictions(
      unknowns,
      new Map([
        ["daddr", at(daddr)],
        ["saddr", at(saddr)],
        ["sport", at(sport)],
      ]),
      [adjacent, before],
    );

  test("leave alone what fits", () => {
    expect([...check(0, 4, 780).values()]).toEqual([at(0), at(4), at(780)]);
  });

  test("open both fields, and name the declaration", () => {
    const apart = check(0, 84, 780);
    expect(apart.get("daddr")).toEqual({
      is: "open",
      reason: "daddr at 0 is not right before saddr at 84 (skc_addrpair)",
    });
    expect(apart.get("saddr")).toEqual(apart.get("daddr") ?? at(-1));
    expect(apart.get("sport")).toEqual(at(780));
  });

  test("members that overlap are both open", () => {
    const overlapping = check(0, 4, 6);
    expect(overlapping.get("daddr")).toEqual(at(0));
    expect(overlapping.get("saddr")).toEqual({ is: "open", reason: "saddr and sport overlap at 6" });
    expect(overlapping.get("sport")).toMatchObject({ is: "open" });
  });
});
