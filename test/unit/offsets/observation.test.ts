import { expect, test } from "bun:test";
import fc from "fast-check";
import { isReadable, joined } from "../../../src/offsets/observation.ts";
import { Memory } from "./memory.ts";

test("windows that follow one another are one: the same bytes, read where they were, over their borders too", () => {
  const window = fc.record({
    size: fc.constantFrom(8, 16, 64),
    hole: fc.option(fc.tuple(fc.nat(63), fc.nat(63))),
  });
  fc.assert(
    fc.property(
      fc.array(window, { maxLength: 4 }),
      fc.nat(256),
      fc.integer({ min: 1, max: 24 }),
      (parts, at, width) => {
        const windows = parts.map(({ size, hole }, index) => {
          const memory = new Memory(size, (each) => (each * 7 + index) & 0xff);
          return hole === null
            ? memory.observe()
            : memory.hole(Math.min(...hole), Math.max(...hole)).observe();
        });
        const whole = { ...joined(windows), expected: new Map() };
        expect([...whole.bytes]).toEqual(windows.flatMap(({ bytes }) => [...bytes]));

        const wasRead = windows.flatMap((each) =>
          [...each.bytes.keys()].map((byte) => isReadable(each, byte, 1)),
        );
        const expected = at + width <= wasRead.length && wasRead.slice(at, at + width).every((read) => read);
        expect(isReadable(whole, at, width)).toBe(expected);
      },
    ),
  );
});
