import { expect, test } from "bun:test";
import { diffOf, uncompared } from "../../../src/fleet/differences.ts";
import { library, machine } from "./sample.ts";

const changesOf = (from: readonly [number | null, string], to: readonly [number | null, string]) =>
  diffOf(machine("1", { a: from }), machine("2", { a: to })).kernel?.constants.a?.change;

test.each([
  [[8, "confirmed"], [8, "confirmed"], undefined],
  [[8, "confirmed"], [16, "confirmed"], "moved"],
  [[8, "confirmed"], [0, "confirmed"], "moved"],
  [[null, "unresolved"], [0, "single"], "appeared"],
  [[0, "single"], [null, "conflict"], "lost"],
  [[8, "confirmed"], [null, "absent"], "lost"],
  [[8, "confirmed"], [8, "single"], "less_sure"],
  [[8, "assumed"], [8, "single"], "surer"],
  [[null, "unresolved"], [null, "absent"], "surer"],
  [[null, "unresolved"], [null, "conflict"], undefined],
] as const)("from %p to %p: %p", (from, to, change) => {
  expect(changesOf(from, to)).toBe(change);
});

test("why there is no number any more is told", () => {
  const { kernel } = diffOf(
    machine("1", { a: [8, "single"] }),
    machine("2", { a: [null, "conflict", "why"] }),
  );
  expect(kernel?.constants.a).toEqual({
    change: "lost",
    from: 8,
    to: null,
    from_status: "single",
    to_status: "conflict",
    reason: "why",
  });
});

test("another release with the same constants is the same; another object is not", () => {
  const [one, two] = [machine("1", { a: [8, "single"] }), machine("2", { a: [8, "single"] })];
  expect(diffOf(one, two).same).toBe(true);
  const other = {
    ...two,
    kernel: { constants: {}, fields: {}, ...two.kernel, bytecode: "socket_guess_old" },
  };
  expect(diffOf(one, other).same).toBe(false);
});

test("a part that one document has alone is not compared", () => {
  const [one, two] = [machine("1", { a: [8, "single"] }, []), machine("2", null, [])];
  expect(uncompared(one, two)).toEqual(["kernel"]);
  expect(diffOf(one, two)).toEqual({ same: true, tls: [] });
});

const pairs = (from: readonly object[], to: readonly object[]) =>
  diffOf(machine("1", null, from), machine("2", null, to)).tls?.map(({ from, to }) => [
    from && `${from.root ?? ""}${from.path} ${from.build_id}`,
    to && `${to.root ?? ""}${to.path} ${to.build_id}`,
  ]);

test("a library that was replaced at its path is the same one, whose constants may have moved", () => {
  expect(pairs([library("/a.so", "1", {})], [library("/a.so", "2", {})])).toEqual([["/a.so 1", "/a.so 2"]]);
});

test("a file is the same one in containers whose processes have other numbers, and at another path", () => {
  const from = [library("/a.so", "1", {}, { root: "/proc/8/root" }), library("/b.so", "2", {})];
  const to = [library("/c.so", "2", {}), library("/a.so", "1", {}, { root: "/proc/9/root" })];
  expect(pairs(from, to)).toEqual([
    ["/proc/8/root/a.so 1", "/proc/9/root/a.so 1"],
    ["/b.so 2", "/c.so 2"],
  ]);
});

test("after an upgrade the deleted file that processes still use is not mistaken for the new one", () => {
  const from = [library("/a.so", "1", {})];
  const to = [library("/a.so", "1", {}, { deleted: true }), library("/a.so", "2", {})];
  expect(pairs(from, to)).toEqual([
    ["/a.so 1", "/a.so 2"],
    [null, "/a.so 1"],
  ]);
});

test("what only one side has is new or gone, with all its constants", () => {
  const { tls } = diffOf(
    machine("1", null, [library("/a.so", "1", { S: [8, "single"] })]),
    machine("2", null, []),
  );
  expect(tls?.[0]).toMatchObject({ to: null, constants: { S: { change: "lost", from: 8, to: null } } });
});
