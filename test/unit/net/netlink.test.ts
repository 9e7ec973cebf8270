import { expect, test } from "bun:test";
import fc from "fast-check";
import { SystemError } from "../../../ffi/error.ts";
import { attribute, attributesOf, messagesOf, NetlinkError } from "../../../src/net/netlink.ts";
import { countNextHops, parseLink, RouteNetlink, RouteReader } from "../../../src/net/route.ts";

const reader = new RouteReader();
const parseRoute = (body: Uint8Array) => reader.read(body);

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

// struct rtmsg of IPv4, struct ifinfomsg of interface 1, and their attributes RTA_OIF (4) and IFLA_IFNAME (3).
const route = (through: Uint8Array) =>
  Buffer.concat([Uint8Array.of(2), new Uint8Array(11), attribute(4, through)]);
const link = (name: string) =>
  Buffer.concat([
    new Uint8Array(4),
    Uint8Array.of(1),
    new Uint8Array(11),
    attribute(3, Buffer.from(name, "latin1")),
  ]);

test("a number has four bytes, and what is cut short is no answer", () => {
  expect(parseRoute(route(Uint8Array.of(1, 2, 0, 0))).through).toBe(513);
  for (const size of [0, 1, 3, 5, 8, 200])
    expect(() => parseRoute(route(new Uint8Array(size).fill(1)))).toThrow(`${size} bytes where a number`);
  for (const size of [0, 4, 7, 11]) expect(() => parseLink(new Uint8Array(size))).toThrow(NetlinkError);
});

test("equal routes are one object, and none stands for another, of however many", () => {
  const [one, other] = [new RouteReader(), new RouteReader()];
  const [inet, inet6] = [2, 10];
  const ip = (length: number) => fc.uint8Array({ minLength: length, maxLength: length, max: 2 });
  const routes = fc.record({
    type: fc.integer({ min: 1, max: 2 }),
    through: fc.integer({ min: 1, max: 3 }),
    gateway: fc.option(fc.oneof(ip(4), ip(16))),
    source: fc.option(ip(4)),
  });
  fc.assert(
    fc.property(fc.array(routes, { minLength: 1, maxLength: 60 }), (list) => {
      for (const { type, through, gateway, source } of list) {
        const body = Buffer.concat([
          Uint8Array.of(inet, 0, 0, 0, 0, 0, 0, type, 0, 0, 0, 0),
          attribute(4, Uint8Array.of(through, 0, 0, 0)),
          // RTA_GATEWAY, or RTA_VIA with the family before an address of the other one.
          ...(gateway?.length === 4 ? [attribute(5, gateway)] : []),
          ...(gateway?.length === 16
            ? [attribute(18, Buffer.concat([Uint8Array.of(inet6, 0), gateway]))]
            : []),
          ...(source === null ? [] : [attribute(7, source)]),
        ]);
        const amid = Buffer.concat([new Uint8Array(7), body, new Uint8Array(9)]);
        const read = () => one.read(amid, 7, 7 + body.length);
        // The second time makes sure of it: what is new may have pushed out one of the two addresses.
        const [, route] = [one.read(body), read()];
        expect(read()).toBe(route);
        expect(other.read(body)).toEqual(route);
        expect([route.type, route.through]).toEqual([type, through]);
        expect(route.gateway && [...route.gateway.address]).toEqual(gateway && [...gateway]);
        expect(route.source && [...route.source.address]).toEqual(source && [...source]);
      }
    }),
  );
});

test("an interface's name ends at its zero byte, may be of any bytes, and is none that leads elsewhere", () => {
  expect(parseLink(link("eth0\0more")).name).toBe("eth0");
  expect(parseLink(link("a\xff\0")).name).toBe("a\udcff");
  for (const name of ["", "..", "../all", "\0eth0"])
    expect(() => parseLink(link(name))).toThrow(NetlinkError);
});

test.each([0, 3])("an attribute whose length is %d does not end the program", (length) => {
  expect(() => attributesOf(Uint8Array.of(length, 0, 1, 0, 0, 0, 0, 0), 0)).toThrow(
    `an attribute of ${length} bytes`,
  );
});

test("an interface is found by its index and by its name; one that is not there is ENODEV", () => {
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
