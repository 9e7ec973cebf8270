import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Observation } from "../../../src/offsets/observation.ts";
import { type Relation, type Solution, solve } from "../../../src/offsets/solver.ts";
import { host, masked, network, raw, shifted } from "../../../src/offsets/values.ts";
import { address6, integer, Memory } from "./memory.ts";

const WINDOW = 512;

/** Every offset that the solution leaves possible; null when it left the field open. */
function possible(solution: Solution | undefined): readonly number[] | null {
  if (solution?.is === "solved") return [solution.offset];
  return solution?.is === "ambiguous" ? solution.offsets : null;
}

const widths = fc.constantFrom<1 | 2 | 4 | 8>(1, 2, 4, 8);
const byte = fc.integer({ min: 0, max: 255 });

/** A field somewhere in a window, observed a few times, with copies that follow it some of the times. */
const scene = fc
  .record({
    width: widths,
    seed: fc.array(byte, { minLength: 64, maxLength: 64 }),
    count: fc.integer({ min: 1, max: 6 }),
  })
  .chain(({ width, seed, count }) =>
    fc.record({
      width: fc.constant(width),
      seed: fc.constant(seed),
      truth: fc.integer({ min: 0, max: WINDOW / width - 1 }).map((slot) => slot * width),
      values: fc.array(fc.bigInt({ min: 0n, max: (1n << BigInt(8 * width)) - 1n }), {
        minLength: count,
        maxLength: count,
      }),
      copies: fc.array(
        fc.record({
          at: fc.integer({ min: 0, max: WINDOW - width }),
          follows: fc.array(fc.boolean(), { minLength: count, maxLength: count }),
        }),
        { maxLength: 4 },
      ),
      holes: fc.array(fc.tuple(fc.integer({ min: 0, max: WINDOW }), fc.integer({ min: 0, max: 64 })), {
        maxLength: 2,
      }),
    }),
  );

type Scene = typeof scene extends fc.Arbitrary<infer S> ? S : never;

function observe({ width, seed, truth, values, copies, holes }: Scene): Observation[] {
  return values.map((value, index) => {
    const expectation = host(width, value);
    const memory = new Memory(WINDOW, (at) => seed[(at * 7 + index * 13) % seed.length] ?? 0);
    // The copies first: where one overlaps the member, the member's own bytes win, as in real memory.
    for (const copy of copies) if (copy.follows[index]) memory.plant(copy.at, expectation);
    memory.member("field", truth, expectation);
    for (const [start, length] of holes) memory.hole(start, start + length);
    return memory.observe();
  });
}

describe("solve, whatever the memory", () => {
  test("the true offset is never dropped, and a solved field is the true one", () => {
    fc.assert(
      fc.property(scene, (drawn) => {
        const solution = solve([integer("field", drawn.width)], [], observe(drawn)).get("field");
        const left = possible(solution);
        if (left !== null) expect(left).toContain(drawn.truth);
        if (solution?.is === "open") expect(solution.reason).not.toContain("no place held");
      }),
      { numRuns: 2000 },
    );
  });

  test("a copy that follows the field every time is never told apart by chance", () => {
    fc.assert(
      fc.property(scene, fc.integer({ min: 0, max: WINDOW / 8 - 1 }), (drawn, slot) => {
        const copy = { at: slot * 8, follows: drawn.values.map(() => true) };
        fc.pre(Math.abs(copy.at - drawn.truth) >= drawn.width);
        const observations = observe({ ...drawn, copies: [...drawn.copies, copy] });
        const overwritten = observations.some((_, index) =>
          drawn.copies.some((other) => other.follows[index] && Math.abs(other.at - copy.at) < drawn.width),
        );
        fc.pre(!overwritten);
        expect(solve([integer("field", drawn.width)], [], observations).get("field")?.is).not.toBe("solved");
      }),
      { numRuns: 2000 },
    );
  });

  test("one value alone never solves, however often it was seen", () => {
    fc.assert(
      fc.property(scene, (drawn) => {
        const [value = 0n] = drawn.values;
        const constant = { ...drawn, values: drawn.values.map(() => value) };
        expect(solve([integer("field", drawn.width)], [], observe(constant)).get("field")?.is).not.toBe(
          "solved",
        );
      }),
      { numRuns: 500 },
    );
  });

  test("more observations never bring a candidate back", () => {
    fc.assert(
      fc.property(scene, (drawn) => {
        const observations = observe(drawn);
        const all = possible(solve([integer("field", drawn.width)], [], observations).get("field"));
        const fewer = possible(
          solve([integer("field", drawn.width)], [], observations.slice(0, -1)).get("field"),
        );
        if (all !== null && fewer !== null) for (const offset of all) expect(fewer).toContain(offset);
      }),
      { numRuns: 500 },
    );
  });
});

/** Two observations of a u32, told apart by everything but what the test plants. */
function twice(plant: (memory: Memory, value: number) => void): Observation[] {
  return [0x11223344, 0x55667788].map((value, index) => {
    const memory = new Memory(WINDOW, (at) => (at * 31 + index * 97) & 0xff);
    plant(memory, value);
    return memory.observe();
  });
}

const offsetOf = (observations: Observation[], relations: readonly Relation[] = []): Solution | undefined =>
  solve([integer("field", 4)], relations, observations).get("field");

describe("where a field may lie", () => {
  test("in the last bytes of the window", () => {
    const observations = twice((memory, value) => memory.member("field", WINDOW - 4, host(4, value)));
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: WINDOW - 4 });
  });

  test("not one byte past the end of the window: a value cut off is no match", () => {
    const observations = twice((memory, value) => memory.member("field", WINDOW - 2, host(4, value)));
    expect(offsetOf(observations)?.is).toBe("open");
  });

  test("never unaligned, even where only the unaligned place matches", () => {
    const observations = twice((memory, value) => {
      memory.plant(101, host(4, value)).member("field", 200, host(4, value));
    });
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 200 });
  });

  test("byte order decides: the same number in host order is another value", () => {
    const observations = twice((memory, value) => {
      memory.plant(100, host(4, value)).member("field", 200, network(4, value));
    });
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 200 });
  });

  test("bits under a shift may hold anything, those above it may not", () => {
    const observations = twice((memory, value) => {
      const known = value >>> 3;
      memory.member("field", 200, shifted(4, known, 3)).plant(100, host(4, known));
    });
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 200 });
  });

  test("bytes that could not be read once cost nothing where they were read often enough", () => {
    const observations = twice((memory, value) => memory.member("field", 200, host(4, value)));
    const third = new Memory(WINDOW, () => 0).member("field", 200, host(4, 9)).hole(128, 256);
    expect(offsetOf([...observations, third.observe()])).toEqual({ is: "solved", offset: 200 });
  });

  test("bytes that could never be read may hide the field, so a lone match elsewhere solves nothing", () => {
    const observations = twice((memory, value) => {
      memory.member("field", 300, host(4, value)).plant(100, host(4, value)).hole(256, 320);
    });
    expect(offsetOf(observations)?.is).toBe("ambiguous");
  });
});

describe("relations between members", () => {
  const daddr = integer("daddr", 4);
  const saddr = integer("saddr", 4);
  const pair: Relation = { kind: "adjacent", first: "daddr", second: "saddr", because: "skc_addrpair" };

  /** An IPv4 socket: daddr 0 and saddr 4, v4-mapped copies of both at 68 and 84, as sk_rcv_saddr_set leaves them. */
  const sockets = (spoil?: (memory: Memory) => void): Observation[] =>
    [3, 4, 5].map((n) => {
      const [to, from] = [network(4, 0x7f000000 + n * 0x010203), network(4, 0x7f000000 + n * 0x030507)];
      const memory = new Memory(WINDOW, (at) => (at * 29 + n * 83) & 0xff);
      memory.member("daddr", 0, to).member("saddr", 4, from).plant(68, to).plant(84, from);
      spoil?.(memory);
      return memory.observe();
    });

  test("without them copies stay candidates; with them only the adjacent pair is left", () => {
    expect(solve([daddr, saddr], [], sockets()).get("saddr")).toEqual({ is: "ambiguous", offsets: [4, 84] });
    const solved = solve([daddr, saddr], [pair], sockets());
    expect(solved.get("daddr")).toEqual({ is: "solved", offset: 0 });
    expect(solved.get("saddr")).toEqual({ is: "solved", offset: 4 });
  });

  test("two pairs that fit alike stay ambiguous", () => {
    const copied = sockets((memory) => memory.bytes.copyWithin(128, 0, 8));
    const solved = solve([daddr, saddr], [pair], copied);
    expect(solved.get("daddr")).toEqual({ is: "ambiguous", offsets: [0, 128] });
    expect(solved.get("saddr")).toEqual({ is: "ambiguous", offsets: [4, 132] });
  });

  test("a contradiction leaves both members open: a false expectation must not become a number", () => {
    const [first, second, third] = sockets();
    if (first === undefined || second === undefined || third === undefined) throw new Error("three sockets");
    // As if the true saddr were not yet set in one of them: only the copy at 84 survives.
    third.bytes.fill(0, 4, 8);
    const solved = solve([daddr, saddr], [pair], [first, second, third]);
    expect(solved.get("saddr")?.is).toBe("open");
    expect(solved.get("daddr")?.is).toBe("open");
  });

  test("`before` holds in both directions", () => {
    const order: Relation = {
      kind: "before",
      first: "num",
      second: "sport",
      because: "sock_common begins inet_sock",
    };
    const observations = [0x1234, 0x5678].map((port, index) => {
      const memory = new Memory(WINDOW, (at) => (at * 31 + index * 97) & 0xff);
      memory.member("num", 14, host(2, port)).plant(400, host(2, port));
      return memory.member("sport", 300, network(2, port)).plant(6, network(2, port)).observe();
    });
    const solved = solve([integer("num", 2), integer("sport", 2)], [order], observations);
    expect(solved.get("num")).toEqual({ is: "solved", offset: 14 });
    expect(solved.get("sport")).toEqual({ is: "solved", offset: 300 });
  });

  test("a place inside a member that is already solved is no place for another", () => {
    const observations = [1, 2, 3].map((n) => {
      const address = Uint8Array.from({ length: 16 }, (_, at) => at * n + 3);
      const memory = new Memory(WINDOW, (at) => (at * 29 + n * 83) & 0xff);
      memory.member("address", 72, raw(address));
      return memory.member("field", 200, raw(address.slice(12))).observe();
    });
    expect(offsetOf(observations)).toEqual({ is: "ambiguous", offsets: [84, 200] });
    const solved = solve([integer("field", 4), address6("address")], [], observations);
    expect(solved.get("field")).toEqual({ is: "solved", offset: 200 });
  });
});

describe("what proves nothing", () => {
  const noise = (index: number) => (at: number) => 0x80 | ((at * 31 + index * 97) & 0x7f);

  test("a place that one value alone speaks for drives no other field out of its true place", () => {
    // `lost` lies beyond the window. Once it was known, and what it held stood at 0 too.
    const observations = [0x11223344, 0x55667788].map((value, index) => {
      const memory = new Memory(64, noise(index)).member("field", 0, host(4, value)).plant(8, host(4, value));
      const lost = raw(memory.bytes.slice(0, 8));
      return index === 0 ? memory.member("lost", 0, lost).observe() : memory.observe();
    });
    const solved = solve([integer("field", 4), integer("lost", 8)], [], observations);
    expect(solved.get("field")).toEqual({ is: "ambiguous", offsets: [0, 8] });
    expect(solved.get("lost")).toEqual({
      is: "open",
      reason: "only one value was ever seen at 0, which proves nothing",
    });
  });

  test("nor by a relation", () => {
    const observations = [0x11223344, 0x55667788].map((value, index) =>
      new Memory(64, noise(index))
        .member("field", 40, host(4, value))
        .plant(8, host(4, value))
        .member("lost", 20, host(4, 7))
        .observe(),
    );
    const order: Relation = { kind: "before", first: "field", second: "lost", because: "it lies beyond" };
    const solved = solve([integer("field", 4), integer("lost", 4)], [order], observations);
    expect(solved.get("field")).toEqual({ is: "ambiguous", offsets: [8, 40] });
    expect(solved.get("lost")).toEqual({
      is: "open",
      reason: "only one value was ever seen at 20, which proves nothing",
    });
  });

  test("values that differ only in bits that are not compared", () => {
    const observations = [0x10, 0x17].map((value, index) =>
      new Memory(64, noise(index))
        .member("field", 40, { ...shifted(4, 0, 3), value: host(4, value).value })
        .observe(),
    );
    expect(offsetOf(observations)).toEqual({
      is: "open",
      reason: "only one value was ever seen at 40, which proves nothing",
    });
  });

  test("values of which different bits are compared: memory that never changes holds both", () => {
    const observations = [0xffff0000, 0x0000ffff].map((mask, index) =>
      new Memory(64, noise(index))
        .plant(40, host(4, 0x11223344))
        .member("field", 40, masked(4, 0x11223344 & mask, mask))
        .observe(),
    );
    expect(offsetOf(observations)?.is).toBe("open");
  });

  test("a value that is longer than what was read of it", () => {
    // 4 bytes are surely the field's, 8 are compared; where the last 4 were not read, no value was.
    const observations = [1, 2].map((seed) =>
      new Memory(64, noise(seed))
        .member("field", 40, raw(new Uint8Array(8).fill(seed)))
        .hole(44, 46)
        .observe(),
    );
    expect(offsetOf(observations)).toEqual({
      is: "open",
      reason: expect.stringMatching(/^only one value was ever seen at \d+ places, which proves nothing$/),
    });
  });

  test("an array reaches as far as what it is to hold: at the end of the window there is no place for it", () => {
    const observations = [1, 2].map((seed) =>
      new Memory(64, noise(seed)).member("field", 40, raw(new Uint8Array(8).fill(seed))).observe(),
    );
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 40 });
  });

  test("a value that reaches into what was not read is no match and no contradiction", () => {
    const observations = [1, 2, 3].map((seed) => {
      const memory = new Memory(64, noise(seed)).member("field", 40, raw(new Uint8Array(8).fill(seed)));
      return (seed === 3 ? memory.hole(44, 64) : memory).observe();
    });
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 40 });
  });

  test("several places, where one value alone was seen", () => {
    const observations = [1, 2].map((seed) =>
      new Memory(64, noise(seed)).member("field", 40, host(4, 0)).plant(8, host(4, 0)).observe(),
    );
    expect(offsetOf(observations)).toEqual({
      is: "open",
      reason: "only one value was ever seen at 2 places, which proves nothing",
    });
  });

  test("a field that contradicts another: neither drives a third one out", () => {
    const pair: Relation = { kind: "adjacent", first: "one", second: "other", because: "they say so" };
    const observations = [1, 2].map((seed) =>
      new Memory(64, noise(seed))
        .member("one", 8, raw(Uint8Array.of(seed, 5, 6, 7)))
        .member("other", 40, raw(Uint8Array.of(8, seed + 8, 9, 9)))
        .member("field", 8, host(1, seed))
        .plant(24, host(1, seed))
        .observe(),
    );
    const fields = [integer("one", 4), integer("other", 4), integer("field", 1)];
    const solved = solve(fields, [pair], observations);
    expect(["one", "other"].map((name) => solved.get(name)?.is)).toEqual(["open", "open"]);
    expect(solved.get("field")).toEqual({ is: "ambiguous", offsets: [8, 24] });
  });
});

describe("what other guessers got wrong", () => {
  test("an address that ends in the value of the byte beside it is not found one byte off", () => {
    // 127.0.0.2 with a neighbouring 2: bytes 7f 00 00 02 02.
    const observations = [2, 3].map((last) => {
      const memory = new Memory(64, () => last);
      return memory.member("field", 20, network(4, 0x7f000000 + last)).observe();
    });
    expect(offsetOf(observations)).toEqual({ is: "solved", offset: 20 });
  });

  test("an IPv6 link-local address that holds the port's bytes is not taken for the port", () => {
    const observations = [0x1f90, 0x2f91].map((port, index) => {
      const address = new Uint8Array(16).fill(index + 1);
      address.set([0xfe, 0x80], 0);
      address.set(network(2, port).value, 6);
      const memory = new Memory(64, (at) => at + index);
      return memory.member("daddr6", 16, raw(address)).member("dport", 40, network(2, port)).observe();
    });
    const solved = solve([integer("dport", 2), address6("daddr6")], [], observations);
    expect(solved.get("daddr6")).toEqual({ is: "solved", offset: 16 });
    expect(solved.get("dport")).toEqual({ is: "solved", offset: 40 });
  });

  test("without IPv6 sockets the IPv6 fields are open, and the others are solved all the same", () => {
    const observations = twice((memory, value) => memory.member("field", 200, host(4, value)));
    const solved = solve([integer("field", 4), address6("daddr6")], [], observations);
    expect(solved.get("field")).toEqual({ is: "solved", offset: 200 });
    expect(solved.get("daddr6")).toEqual({ is: "open", reason: "never observed" });
  });

  test("rtt_var is found before rtt as well as behind it", () => {
    for (const [rtt, variance] of [
      [200, 120],
      [120, 200],
    ] as const) {
      const observations = [1680, 2711].map((value, index) =>
        new Memory(WINDOW, (at) => (at * 31 + index * 97) & 0xff)
          .member("rtt", rtt, shifted(4, value, 3))
          .member("rtt_var", variance, shifted(4, value - 92, 2))
          .observe(),
      );
      const solved = solve([integer("rtt", 4), integer("rtt_var", 4)], [], observations);
      expect(solved.get("rtt")).toEqual({ is: "solved", offset: rtt });
      expect(solved.get("rtt_var")).toEqual({ is: "solved", offset: variance });
    }
  });

  test("a second call knows nothing of the first: there is no state to go stale", () => {
    const at200 = twice((memory, value) => memory.member("field", 200, host(4, value)));
    const at300 = twice((memory, value) => memory.member("field", 300, host(4, value)));
    expect(offsetOf(at200)).toEqual({ is: "solved", offset: 200 });
    expect(offsetOf(at300)).toEqual({ is: "solved", offset: 300 });
    expect(offsetOf(at200)).toEqual({ is: "solved", offset: 200 });
  });
});
