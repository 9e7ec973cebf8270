import { expect, test } from "bun:test";
import fc from "fast-check";
import { differ, holds } from "../../../src/offsets/observation.ts";
import { between, host } from "../../../src/offsets/values.ts";

const long = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

test("every number between two is held by what is known of it", () => {
  fc.assert(
    fc.property(long, long, long, (one, other, third) => {
      const [least = 0n, inside = 0n, most = 0n] = [one, other, third].sort((a, b) => (a < b ? -1 : 1));
      expect(holds(host(8, inside).value, 0, between(least, most))).toBe(true);
    }),
  );
  const second = between(1_000_000_000n, 1_010_000_000n);
  expect(holds(host(8, 3_000_000_000n).value, 0, second)).toBe(false);
  expect(differ([second, between(1_001_000_000n, 1_011_000_000n)])).toBe(false);
  expect(differ([second, between(3_000_000_000n, 3_010_000_000n)])).toBe(true);
});
