import { describe, expect, test } from "bun:test";
import { sideBySide } from "../../../src/tls/lanes.ts";

describe("side by side", () => {
  test("what comes of each stands in their order, whichever is done first, and no more go on than there are lanes", async () => {
    const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const begun: number[] = [];
    let [going, most] = [0, 0];
    const results = sideBySide(gates, 2, async ({ promise }, index) => {
      begun.push(index);
      going += 1;
      most = Math.max(most, going);
      await promise;
      going -= 1;
      return index * 10;
    });
    expect(begun).toEqual([0, 1]);
    for (const index of [1, 2, 3, 4, 0]) {
      gates[index]?.resolve();
      await Bun.sleep(1);
    }
    expect(await results).toEqual([0, 10, 20, 30, 40]);
    expect(begun).toEqual([0, 1, 2, 3, 4]);
    expect(most).toBe(2);
  });

  test("one lane does one after the other", async () => {
    const order: string[] = [];
    await sideBySide(["a", "b"], 1, async (one) => {
      order.push(`${one} begins`);
      await Bun.sleep(1);
      order.push(`${one} ends`);
    });
    expect(order).toEqual(["a begins", "a ends", "b begins", "b ends"]);
  });

  test("a failure ends it when what was begun is done, and nothing more is begun", async () => {
    const gate = Promise.withResolvers<void>();
    const done: number[] = [];
    const all = sideBySide([0, 1, 2, 3], 2, async (one) => {
      if (one === 0) throw new Error("the first");
      await gate.promise;
      done.push(one);
    });
    gate.resolve();
    expect(all).rejects.toThrow("the first");
    await all.catch(() => {});
    expect(done).toEqual([1]);
  });

  test("with nothing to do it ends at once", async () => {
    expect(await sideBySide([], 4, async () => 1)).toEqual([]);
  });
});
