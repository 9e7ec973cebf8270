import { expect, test } from "bun:test";
import fc from "fast-check";
import { SystemError } from "../../../ffi/error.ts";
import { attribute, attributesOf, messagesOf } from "../../../src/net/netlink.ts";
import { countNextHops, parseLink, parseRoute, RouteNetlink } from "../../../src/net/route.ts";

test("attributes are read as they were written", () => {
  const attributes = fc.uniqueArray(
    fc.tuple(fc.integer({ min: 1, max: 100 }), fc.uint8Array({ maxLength: 40 })),
    {
      selector: ([type]) => type,
    },
  );
  fc.assert(
    fc.property(attributes, fc.nat({ max: 20 }), (list, start) => {
      const body = Buffer.concat([
        new Uint8Array(start),
        ...list.map(([type, bytes]) => attribute(type, bytes)),
      ]);
      const read = [...attributesOf(body, start)].map(([type, bytes]) => [type, Array.from(bytes)]);
      expect(read).toEqual(list.map(([type, bytes]) => [type, Array.from(bytes)]));
    }),
  );
});

test("bytes that no kernel sends are an error or an answer, never a hang or a read beyond", () => {
  const readers = [
    (bytes: Uint8Array) => [...messagesOf(bytes)],
    (bytes: Uint8Array) => attributesOf(bytes, 0),
    parseRoute,
    parseLink,
    countNextHops,
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...readers), (bytes, reader) => {
      try {
        reader(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns: 2000 },
  );
});

test.each([0, 3])("an attribute whose length is %d does not end the program", (length) => {
  expect(() => attributesOf(Uint8Array.of(length, 0, 1, 0, 0, 0, 0, 0), 0)).toThrow(
    `an attribute of ${length} bytes`,
  );
});

test("the loopback interface by index and by name; one that is not there is ENODEV", () => {
  using netlink = new RouteNetlink();
  const lo = { index: 1, name: "lo", isLoopback: true, hardwareAddress: "00:00:00:00:00:00" };
  expect(netlink.link(1)).toEqual(lo);
  expect(netlink.link("lo")).toEqual(lo);
  for (const which of [2 ** 31 - 1, "offsetof-none"]) {
    const ask = () => netlink.link(which);
    expect(ask).toThrow(SystemError);
    expect(ask).toThrow("ENODEV");
  }
});
