import { expect, test } from "bun:test";
import { awaiting, during, follow, now, readWhereabouts, share } from "../../../src/self/whereabouts.ts";

const busy = (milliseconds: number): void => {
  for (const start = performance.now(); performance.now() - start < milliseconds; );
};

test("what is being done is told, and goes on when what is inside of it is over", () => {
  const memory = follow();
  const at = () => readWhereabouts(memory)?.current.what;
  {
    using _ = during("a path");
    {
      using _ = during(`a process ${"é".repeat(5000)}`);
      expect(at()).toStartWith("a process é");
    }
    expect(at()).toBe("a path");
  }
  expect(at()).toBe("the start");
});

test("what took longest is told after it is over", () => {
  const memory = follow();
  {
    using _ = during("long");
    busy(50);
  }
  const told = readWhereabouts(memory);
  expect(told?.longest.what).toBe("long");
  expect(told?.longest.milliseconds).toBeGreaterThanOrEqual(50);
});

test("of what goes on side by side that which is waited for longest is told, and what this thread does goes before", async () => {
  const memory = follow();
  const at = () => readWhereabouts(memory)?.current.what;
  const [first, second] = [Promise.withResolvers<number>(), Promise.withResolvers<void>()];
  using _ = during("the search");
  const waited = awaiting("the first child", first.promise);
  const other = awaiting("the second child", second.promise);
  expect(at()).toBe("the first child");
  {
    using _ = during("a path");
    expect(at()).toBe("a path");
  }
  expect(at()).toBe("the first child");
  await Bun.sleep(30);
  first.resolve(7);
  expect(await waited).toBe(7);
  expect(at()).toBe("the second child");
  second.reject(new Error("gone"));
  expect(other).rejects.toThrow("gone");
  await other.catch(() => {});
  expect(at()).toBe("the search");
  expect(readWhereabouts(memory)?.longest.what).toMatch(/child$/);
});

test("stages that are not over in the order of their beginnings leave what is left", () => {
  const memory = follow();
  const [one, other] = [during("one"), during("other")];
  one[Symbol.dispose]();
  expect(readWhereabouts(memory)?.current.what).toBe("other");
  other[Symbol.dispose]();
  expect(readWhereabouts(memory)?.current.what).toBe("the start");
});

test("a wait may take a share of what is left, and however many take all of theirs something is left", () => {
  let at = 0;
  const left = 60_000;
  for (let waits = 0; waits < 13; waits += 1) {
    follow(now() + left - at);
    at += share();
  }
  expect(at).toBeLessThan(left - 1000);
  follow(now() + 800);
  expect(share()).toBe(1000);
  follow();
  expect(share()).toBe(5000);
});
