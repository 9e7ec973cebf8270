import { expect, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { open } from "../../../ffi/descriptors.ts";
import { PrivateNetwork } from "../../../src/kernel/stimulus/private-network.ts";
import { inside, THREAD_NAMESPACE } from "../../../src/net/namespace.ts";

const here = () => readlinkSync(THREAD_NAMESPACE);

test("this thread is brought home, also where what it did there failed", () => {
  const home = here();
  using network = new PrivateNetwork();
  expect(network.inside(here)).toBe(`net:[${network.inode}]`);
  expect(here()).toBe(home);
  const failing = () => {
    throw new Error(here());
  };
  expect(() => network.inside(failing)).toThrow(`net:[${network.inode}]`);
  expect(here()).toBe(home);
});

test("what is no namespace is not entered, and nothing is done", () => {
  const home = here();
  using own = open(THREAD_NAMESPACE);
  using file = open("/proc/self/status");
  let isDone = false;
  expect(() => inside(file, own, () => (isDone = true))).toThrow("EINVAL");
  expect(isDone).toBe(false);
  expect(here()).toBe(home);
});
