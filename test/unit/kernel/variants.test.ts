import { expect, test } from "bun:test";
import { SystemError } from "../../../ffi/error.ts";
import { isUnknownToKernel, objectsOf } from "../../../src/kernel/running/variants.ts";

const EPERM = 1;
const EINVAL = 22;

test.each<[version: [number, number, number], objects: string[]]>([
  [
    [7, 2, 0],
    ["p", "p_old"],
  ],
  [
    [5, 5, 0],
    ["p", "p_old"],
  ],
  [[5, 4, 302], ["p_old"]],
  [[4, 18, 0], ["p_old"]], // RHEL 8's has all of 5.5 and more, and takes the old object all the same
  [[3, 10, 0], ["p_old"]],
])("on %j the objects are %j", (version, objects) => {
  expect(objectsOf("p", "auto", version)).toEqual(objects);
});

test("what is asked for is taken whatever the kernel", () => {
  for (const version of [[3, 10, 0] as const, [7, 2, 0] as const]) {
    expect(objectsOf("p", "current", version)).toEqual(["p"]);
    expect(objectsOf("p", "old", version)).toEqual(["p_old"]);
  }
});

test("only what the kernel does not understand makes another object worth a try", () => {
  const [unknown, forbidden] = [EINVAL, EPERM].map((errno) => new SystemError("load", errno));
  expect(isUnknownToKernel(unknown)).toBe(true);
  expect(isUnknownToKernel(new Error("no rung", { cause: unknown }))).toBe(true);
  expect(isUnknownToKernel(forbidden)).toBe(false);
  expect(isUnknownToKernel(new Error("no rung", { cause: forbidden }))).toBe(false);
  expect(isUnknownToKernel(new Error("EINVAL"))).toBe(false);
});
