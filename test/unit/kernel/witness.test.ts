import { expect, test } from "bun:test";
import { AF_INET } from "../../../ffi/socket-calls.ts";
import { isOurs, steadyTiming } from "../../../src/kernel/snapshot/witness.ts";
import { raw } from "../../../src/offsets/values.ts";
import { Memory } from "../offsets/memory.ts";

const own = { family: AF_INET, address: Uint8Array.of(127, 1, 2, 3), port: 4711 } as const;
const peer = { family: AF_INET, address: Uint8Array.of(127, 9, 8, 7), port: 815 } as const;

test("a struct is ours where both addresses that we chose are in it, and could be read", () => {
  const memory = () => new Memory(256, () => 0).plant(84, raw(own.address));
  expect(isOurs(memory().observe(), { own })).toBe(true);
  expect(isOurs(memory().observe(), { own, peer })).toBe(false);
  expect(isOurs(memory().plant(32, raw(peer.address)).observe(), { own, peer })).toBe(true);
  expect(isOurs(new Memory(256, () => 0).observe(), { own })).toBe(false);
  expect(isOurs(new Memory(256, () => 0).plant(32, raw(peer.address)).observe(), { own, peer })).toBe(false);
  const { bytes } = memory().observe();
  expect(isOurs({ bytes, readable: [{ start: 0, end: 86 }] }, { own })).toBe(false);
});

test("timing is believed where it stood still, and where there is a peer to have one with", () => {
  const timing = { rtt: 120, rttvar: 60 };
  expect(steadyTiming({ own, peer }, timing, { ...timing })).toEqual(timing);
  expect(steadyTiming({ own, peer }, timing, { ...timing, rtt: 121 })).toBeUndefined();
  expect(steadyTiming({ own, peer }, timing, { ...timing, rttvar: 61 })).toBeUndefined();
  expect(steadyTiming({ own }, timing, timing)).toBeUndefined();
});
