import { expect, test } from "bun:test";
import fc from "fast-check";
import { Cache } from "../../../src/gateway/cache.ts";

function make(capacity: number) {
  const clock = { now: 0 };
  const released: string[] = [];
  const cache = new Cache<string>(
    capacity,
    () => clock.now,
    (value) => released.push(value),
  );
  return { cache, clock, released };
}

test("when it is full, the entry that was not asked for the longest goes", () => {
  const { cache, released } = make(2);
  cache.set("a", "A", 10);
  cache.set("b", "B", 10);
  expect(cache.get("a")).toBe("A");
  cache.set("c", "C", 10);
  expect(cache.get("b")).toBeUndefined();
  expect([cache.get("a"), cache.get("c")]).toEqual(["A", "C"]);
  expect(released).toEqual(["B"]);
  expect(cache.statistics).toEqual({ hits: 3, misses: 1, evicted: 1, expired: 0, size: 2 });
});

test("an entry is good until its time has passed, for good with Infinity", () => {
  const { cache, clock, released } = make(2);
  cache.set("minute", "M", 60_000);
  cache.set("ever", "E", Number.POSITIVE_INFINITY);
  clock.now = 59_999;
  expect(cache.get("minute")).toBe("M");
  clock.now = 60_000;
  expect(cache.get("minute")).toBeUndefined();
  clock.now = 1e12;
  expect(cache.get("ever")).toBe("E");
  expect(released).toEqual(["M"]);
  expect(cache.statistics).toEqual({ hits: 2, misses: 1, evicted: 0, expired: 1, size: 1 });
});

test("setting again releases the old value and needs no room", () => {
  const { cache, released } = make(1);
  cache.set("a", "A", 1);
  cache.set("a", "B", 1);
  expect(cache.get("a")).toBe("B");
  expect(released).toEqual(["A"]);
  cache.clear();
  expect(released).toEqual(["A", "B"]);
  expect(cache.statistics).toMatchObject({ evicted: 0, size: 0 });
});

test("it holds what a plain list of the same size would, whatever is asked", () => {
  const step = fc.record({
    key: fc.integer({ min: 0, max: 9 }).map(String),
    isSet: fc.boolean(),
    wait: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 5 }), (steps, capacity) => {
      const { cache, clock } = make(capacity);
      const list: { key: string; until: number }[] = []; // the oldest first
      for (const { key, isSet, wait } of steps) {
        clock.now += wait;
        const at = list.findIndex((entry) => entry.key === key);
        const [entry] = at < 0 ? [] : list.splice(at, 1);
        if (isSet) {
          if (list.length === capacity) list.shift();
          list.push({ key, until: clock.now + 10 });
          cache.set(key, key, 10);
        } else {
          const isGood = entry !== undefined && entry.until > clock.now;
          if (isGood) list.push(entry);
          expect(cache.get(key)).toBe(isGood ? key : undefined);
        }
        expect(cache.statistics.size).toBe(list.length);
      }
    }),
  );
});
