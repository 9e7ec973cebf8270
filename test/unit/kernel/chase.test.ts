import { describe, expect, test } from "bun:test";
import { areSockets, isForeign, upToUnmapped } from "../../../src/kernel/snapshot/chase.ts";
import { host, pointer } from "../../../src/offsets/values.ts";
import { Memory } from "../offsets/memory.ts";

const INSTANCES = [0xffff_8880_1234_5000n, 0xffff_8880_1234_6000n] as const;
const INODES = [0x1122_3344, 0x1122_3355] as const;

/** Two structs socket_alloc: `sk` at 24, and behind the socket the inode with its number. */
const targets = (plant: (memory: Memory, index: number) => Memory) =>
  INSTANCES.map((instance, index) => {
    const memory = new Memory(4096, (at) => (at * 31 + index * 97) & 0x7f);
    const { bytes, readable } = plant(memory, index).observe();
    return { target: { bytes, readable }, hit: { instance }, inode: INODES[index] ?? 0 };
  });

describe("what a pointer of a socket leads to", () => {
  const sk = (memory: Memory, index: number, at = 24) => memory.plant(at, pointer(INSTANCES[index] ?? 0n));
  const inode = (memory: Memory, index: number, at = 200) => memory.plant(at, host(8, INODES[index] ?? 0));

  test("is its struct socket where it points back and holds its inode number", () => {
    expect(areSockets(targets((memory, index) => inode(sk(memory, index), index)))).toBe(true);
  });

  test("is one with lockdep too, in which the inode number lies 1392 bytes behind", () => {
    expect(areSockets(targets((memory, index) => inode(sk(memory, index), index, 1392)))).toBe(true);
    expect(areSockets(targets((memory, index) => inode(sk(memory, index), index, 2048)))).toBe(false);
  });

  test("points back twice: it may be the socket all the same", () => {
    const twice = targets((memory, index) => inode(sk(sk(memory, index), index, 96), index));
    expect(areSockets(twice)).toBe(true);
  });

  test("points back, and is of no inode: another struct of the socket's own", () => {
    expect(areSockets(targets((memory, index) => sk(memory, index)))).toBe(false);
    // One of them, or another's number.
    expect(areSockets(targets((memory, index) => inode(sk(memory, index), 0)))).toBe(false);
  });

  test("has the inode number, and points elsewhere", () => {
    expect(areSockets(targets((memory, index) => inode(sk(memory, 0), index)))).toBe(false);
    expect(areSockets([])).toBe(false);
  });

  test("one socket alone proves nothing", () => {
    const [first] = targets((memory, index) => inode(sk(memory, index), index));
    expect(first === undefined || areSockets([first])).toBe(false);
  });
});

test("a pointer leads into its own struct as far as that is known to reach, and elsewhere beyond", () => {
  const at = 200; // of sk_buff.head in a struct of 216 bytes
  const leads = (distance: number) => {
    const bytes = new Memory(256, () => 0)
      .plant(at, pointer(INSTANCES[0] + BigInt(distance)))
      .observe().bytes;
    return isForeign([{ bytes, instance: INSTANCES[0] }], at);
  };
  expect([-64, 0, 8, at].map(leads)).toEqual([true, false, false, false]);
  // The next object of a SLOB page begins right behind.
  expect([at + 8, 232, 4096].map(leads)).toEqual([true, true, true]);
});

describe("a struct that is alive is mapped as a whole", () => {
  const address = 0xffff_8880_1234_5040n; // 0xfc0 bytes before the end of its page
  const seen = (...holes: readonly (readonly [number, number])[]) => {
    const memory = new Memory(16384, () => 1);
    for (const hole of holes) memory.hole(...hole);
    return upToUnmapped(memory.observe(), address);
  };

  test("what was read up to the end may all be of it", () => {
    expect(seen().bytes.length).toBe(16384);
    expect(seen().readable).toEqual([{ start: 0, end: 16384 }]);
  });

  test("it ends with the last page before one that is not there; a chunk that reaches into that one hides the rest", () => {
    const { bytes, readable } = seen([0xf00, 0x2000]); // in chunks of 256 bytes
    expect(bytes.length).toBe(0xfc0);
    expect(readable).toEqual([{ start: 0, end: 0xf00 }]);
    // What is mapped behind is something else.
    expect(seen([0x1fc0, 0x2fc0])).toMatchObject({ readable: [{ start: 0, end: 0x1fc0 }] });
    expect(seen([0x1fc0, 0x2fc0]).bytes.length).toBe(0x1fc0);
  });

  test("nothing is known of one whose first page is not there", () => {
    expect(seen([0, 0xfc0]).readable).toEqual([]);
    expect(seen([0, 16384]).readable).toEqual([]);
  });
});
