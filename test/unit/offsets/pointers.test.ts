import { expect, test } from "bun:test";
import { pointersToGroup } from "../../../src/offsets/pointers.ts";

test("where nothing was observed, no pointer tells groups apart", () => {
  expect(pointersToGroup([])).toEqual([]);
  expect(pointersToGroup([[], []])).toEqual([]);
});
