import { expect, test } from "bun:test";
import { during, follow, readWhereabouts } from "../../src/whereabouts.ts";

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
