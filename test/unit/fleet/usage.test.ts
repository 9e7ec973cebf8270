import { expect, test } from "bun:test";
import { Usage } from "../../../src/fleet/usage.ts";

const seen = (processes: Readonly<Record<number, readonly string[]>>) =>
  new Map(Object.entries(processes).map(([pid, keys]) => [Number(pid), new Set(keys)]));

test("what is begun and ended is told once, whoever else uses it", () => {
  const usage = new Usage();
  expect(usage.update(seen({ 1: ["a"], 2: ["a", "b"] }))).toEqual({ begun: ["a", "b"], ended: [] });
  expect(usage.update(seen({ 3: ["a"] }))).toEqual({ begun: [], ended: [] });
  expect(usage.usersOf(["a", "b"])).toEqual([1, 2, 3]);
  expect(usage.update(seen({ 2: [] }))).toEqual({ begun: [], ended: ["b"] });
  expect(usage.processes).toEqual([1, 3]);
  // Nothing is said of those that were not looked at.
  expect(usage.update(seen({ 4: ["c"] }))).toEqual({ begun: ["c"], ended: [] });
  expect(usage.update(seen({ 1: [], 3: ["c"], 4: [] }))).toEqual({ begun: ["c"], ended: ["a"] });
});

test("a name that none of those before still use may be of another file", () => {
  const usage = new Usage();
  usage.update(seen({ 1: ["a"] }));
  expect(usage.update(seen({ 1: [], 2: ["a"] }))).toEqual({ begun: ["a"], ended: [] });
  expect(usage.update(seen({ 2: ["a"], 3: ["a"] }))).toEqual({ begun: [], ended: [] });
});

test("nothing is kept of what has ended", () => {
  const usage = new Usage();
  for (let pid = 1; pid <= 10_000; pid++) usage.update(seen({ [pid]: [`file ${pid}`], [pid - 1]: [] }));
  expect(usage.processes).toEqual([10_000]);
});
