import { expect, test } from "bun:test";
import { Graph, largestOf } from "../../../src/kernel/crawl/graph.ts";
import type { Landing, Walk } from "../../../src/kernel/crawl/reader.ts";
import { derived } from "../../../src/kernel/members/derived.ts";
import { text } from "../../../src/kernel/members/file.ts";
import { known, leads, struct, type Thing, value } from "../../../src/kernel/members/row.ts";
import { pointer, u32, u64 } from "../../../src/kernel/synthetic/ctype.ts";
import { addressings } from "../../../src/offsets/pointers.ts";
import { host } from "../../../src/offsets/values.ts";

const START = 0xffff888000000000n;
const SIZE = 256;

/** Memory of structs of 256 bytes, with words that we put there. */
class Memory {
  readonly #bytes = new Uint8Array(64 * SIZE);
  address = (index: number, at = 0): bigint => START + BigInt(index * SIZE + at);

  word(index: number, at: number, word: bigint): void {
    new DataView(this.#bytes.buffer).setBigUint64(index * SIZE + at, word, true);
  }

  byte(index: number, at: number, byte: number): void {
    this.#bytes[index * SIZE + at] = byte;
  }

  number(index: number, at: number, number: number): void {
    new DataView(this.#bytes.buffer).setUint32(index * SIZE + at, number, true);
  }

  follow = (walks: readonly Walk[]): (Landing | null)[] =>
    walks.map(({ root = 0n, displacement = 0, size }) => {
      const at = Number(root - START) + displacement;
      if (at < 0 || at >= this.#bytes.length) return null;
      const bytes = this.#bytes.slice(at, at + size);
      return {
        address: START + BigInt(at),
        pointer: root,
        bytes,
        readable: [{ start: 0, end: bytes.length }],
      };
    });
}

interface OwnerFacts {
  readonly id: number;
  readonly thing: Thing;
  readonly other: Thing;
}
const leaf = struct<{ readonly low: number; readonly high: number }>("leaf", 128, ["low", "high"], {
  low: value(u32, ({ low }) => known(low, (it) => host(4, it))),
  high: value(u64, ({ high }) => known(high, (it) => host(8, it))),
});
const owner = struct<OwnerFacts>("owner", SIZE, ["id"], {
  id: value(u32, ({ id }) => known(id, (it) => host(4, it))),
  thing: leads(pointer("leaf"), ({ thing }) => thing),
  other: leads(pointer("leaf"), ({ other }) => other),
});

/** Two owners at 0 and 1, each with a leaf of its own at 8 and 9. */
function scene() {
  const memory = new Memory();
  const leaves = [0x1234567, 0x7654321].map((low, index) => {
    memory.number(8 + index, 16, low);
    memory.word(8 + index, 40, BigInt(low * 3));
    return leaf.of({ low, high: low * 3 });
  });
  const owners = [0x2222222, 0x3333333].map((id, index) => {
    memory.number(index, 12, id);
    memory.word(index, 64, memory.address(8 + index));
    return owner.of({ id, ...(leaves[index] && { thing: leaves[index] }) });
  });
  const solve = () => {
    const graph = new Graph(memory.follow, addressings.x64);
    graph.explore(owners.map((each, index) => [each, memory.address(index)] as const));
    return Object.fromEntries(graph.solutions());
  };
  return { memory, owners, leaves, solve };
}

test("a pointer is right when what it leads to is right", () => {
  const { memory, solve } = scene();
  // Others that lead elsewhere, and numbers that look like pointers.
  for (const index of [0, 1]) {
    memory.word(index, 32, memory.address(20 + index));
    memory.word(index, 80, 0xffff888012345678n);
  }
  expect(solve()).toMatchObject({
    "owner.id": { is: "solved", offset: 12 },
    "owner.thing": { is: "solved", offset: 64 },
    "leaf.low": { is: "solved", offset: 16 },
    "leaf.high": { is: "solved", offset: 40 },
  });
});

test("a pointer into its own struct leads nowhere, though all is found behind it", () => {
  const { memory, solve } = scene();
  for (const index of [0, 1]) {
    // A list head of the owner itself, behind which the leaf's values stand by chance.
    memory.word(index, 128, memory.address(index, 128));
    memory.number(index, 144, index === 0 ? 0x1234567 : 0x7654321);
    memory.word(index, 168, BigInt((index === 0 ? 0x1234567 : 0x7654321) * 3));
  }
  expect(solve()["owner.thing"]).toEqual({ is: "solved", offset: 64 });
});

test("where two pointers lead to what could be meant, each elsewhere, neither is believed, nor what they lead to", () => {
  const { memory, solve } = scene();
  for (const index of [0, 1]) memory.word(index, 96, memory.address(8 + index, 8)); // into the midst
  const found = solve();
  expect(found["owner.id"]).toEqual({ is: "solved", offset: 12 });
  expect(found["owner.thing"]).toEqual({
    is: "open",
    reason: "64, 96 lead to what could be meant, each elsewhere",
  });
  expect(found["leaf.low"]).toBeUndefined();
});

test("of two pointers to the same struct neither is told, what they lead to is", () => {
  const { memory, solve } = scene();
  for (const index of [0, 1]) memory.word(index, 96, memory.address(8 + index));
  expect(solve()).toMatchObject({
    "owner.thing": { is: "ambiguous", offsets: [64, 96] },
    "leaf.low": { is: "solved", offset: 16 },
  });
});

test("no struct is larger than the way from one to the next of its kind", () => {
  const at = (...addresses: bigint[]) => addresses.map((address) => ({ landing: { address } }));
  expect(largestOf(at(0xffff888000004000n, 0xffff888000001000n, 0xffff888000002400n))).toBe(0x1400);
  expect(largestOf(at(0xffff888000004000n, 0xffff888000004000n))).toBe(Number.MAX_SAFE_INTEGER);
  expect(largestOf([])).toBe(Number.MAX_SAFE_INTEGER);
});

test("what moved while it was looked at tells nothing, and what it held before is not looked for", () => {
  const { memory, owners } = scene();
  let turn = 0;
  const moving = [0, 1].map((index) => {
    memory.number(2 + index, 12, 0x4444444 + index); // where the true place is, of later
    memory.number(2 + index, 100, 0x5555555 + index); // where the value of before stands by chance
    return owner.of({ id: 0x5555555 + index }, { again: () => ({ id: 0x4444444 + index + turn++ }) });
  });
  const graph = new Graph(memory.follow, addressings.x64);
  graph.explore([...owners, ...moving].map((each, index) => [each, memory.address(index)] as const));
  expect(graph.solutions().get("owner.id")).toEqual({ is: "solved", offset: 12 });
});

test("what begins with another struct is found with it, and has members of its own", () => {
  const { memory, owners } = scene();
  const larger = struct<{ readonly more: number }>("larger", SIZE, [], {
    more: value(u32, ({ more }) => known(more, (it) => host(4, it))),
  });
  const beginning = [0x6666666, 0x7777777].map((more, index) => {
    memory.number(2 + index, 12, 0x4444444 + index);
    memory.number(2 + index, 200, more);
    return owner.of({ id: 0x4444444 + index }, { parts: [larger.of({ more })] });
  });
  const graph = new Graph(memory.follow, addressings.x64);
  graph.explore([...owners, ...beginning].map((each, index) => [each, memory.address(index)] as const));
  expect(graph.solutions().get("larger.more")).toEqual({ is: "solved", offset: 200 });
});

test("what a struct lies in is told by pointers from one such whole to two others, and by nothing less", () => {
  const whole = struct<{ readonly number: number; readonly up: Thing }>("whole", 128, ["number"], {
    number: value(u32, ({ number }) => known(number, (it) => host(4, it))),
    up: leads(pointer("whole"), ({ up }) => up),
  });
  const solve = (ways: readonly (readonly [from: number, up: number])[]) => {
    const memory = new Memory();
    const wholes = [0, 1, 2, 3].map((index) => {
      const facts: { number: number; up?: Thing } = { number: 0x1111111 * (index + 1) };
      memory.number(8 + index, 24, facts.number);
      memory.number(8 + index, 48, 0x22222 + index); // the part begins 32 bytes behind it
      return { facts, thing: whole.of(facts) };
    });
    for (const [from, up] of ways) {
      memory.word(8 + from, 8, memory.address(8 + up));
      const [one, other] = [wholes[from], wholes[up]];
      if (one !== undefined && other !== undefined) one.facts.up = other.thing;
    }
    const parts = wholes.map(({ thing }, index) => owner.of({ id: 0x22222 + index }, { whole: thing }));
    const graph = new Graph(memory.follow, addressings.x64);
    graph.explore(parts.map((each, index) => [each, memory.address(8 + index, 32)] as const));
    return graph.solutions();
  };
  const found = solve([
    [1, 0],
    [2, 1],
    [3, 1],
  ]);
  expect(found.get("whole.number")).toEqual({ is: "solved", offset: 24 });
  expect(found.get("whole.up")).toEqual({ is: "solved", offset: 8 });
  expect(solve([[1, 0]]).get("whole.number")).toBeUndefined();
});

test("what lies around a thing is looked through, before it and behind it", () => {
  const around = struct<{ readonly first: Thing; readonly last: Thing }>(
    "around",
    64,
    ["first"],
    {
      first: leads(pointer("leaf"), ({ first }) => first),
      last: leads(pointer("leaf"), ({ last }) => last),
    },
    { before: 64 },
  );
  const { memory, leaves } = scene();
  const [first, last] = leaves;
  if (first === undefined || last === undefined) throw new Error("no leaves");
  const things = [0, 1].map((index) => {
    memory.word(2 + index, 40, memory.address(8 + index)); // 56 bytes before what is led to
    memory.word(2 + index, 104, memory.address(9 - index));
    return around.of(index === 0 ? { first, last } : { first: last, last: first });
  });
  const graph = new Graph(memory.follow, addressings.x64);
  graph.explore(things.map((each, index) => [each, memory.address(2 + index, 96)] as const));
  expect(Object.fromEntries(graph.solutions())).toMatchObject({
    "around.first": { is: "solved", offset: 8 },
    "around.last": { is: "solved", offset: 72 },
    "leaf.low": { is: "solved", offset: 16 },
  });
});

test("a text may lie anywhere, and be that of two", () => {
  const named = struct<{ readonly name: string }>("named", SIZE, ["name"], {
    name: leads(pointer("char"), ({ name }) =>
      known(name, (it) => text.of({ text: new TextEncoder().encode(`${it}\0`) })),
    ),
  });
  const memory = new Memory();
  const things = ["some", "some", "other"].map((name, index) => {
    const bytes = new TextEncoder().encode(`\0${name}\0`);
    for (const [at, byte] of bytes.entries()) memory.byte(8 + bytes.length, 2 + at, byte);
    memory.word(index, 48, memory.address(8 + bytes.length, 3));
    return named.of({ name });
  });
  const graph = new Graph(memory.follow, addressings.x64);
  graph.explore(things.map((each, index) => [each, memory.address(index)] as const));
  expect(graph.solutions().get("named.name")).toEqual({ is: "solved", offset: 48 });
});

test("once it has explored nothing is read any more", () => {
  const { memory, owners } = scene();
  let isOver = false;
  const graph = new Graph((walks) => {
    expect(isOver).toBe(false);
    return memory.follow(walks);
  }, addressings.x64);
  graph.explore(owners.map((each, index) => [each, memory.address(index)] as const));
  isOver = true;
  expect(graph.solutions().get("owner.thing")).toEqual({ is: "solved", offset: 64 });
});

test("of two places of a member, the one that another stands behind as it must is told; where both have two, none is", () => {
  const row = derived.find(({ member }) => member === "pid.numbers");
  const told = (first: readonly number[], second: readonly number[]) =>
    row?.from((member) => (member === "pid.numbers[0].nr" ? first : second));
  expect(told([128], [152])).toBe(128);
  expect(told([16, 128], [152])).toBe(128);
  expect(told([16, 112], [152])).toBe(null);
  expect(told([16, 128], [152, 160])).toBe(null);
  expect(told([], [152])).toBe(null);
});
