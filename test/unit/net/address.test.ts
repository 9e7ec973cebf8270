import { expect, test } from "bun:test";
import { isIP } from "node:net";
import fc from "fast-check";
import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import { type IpAddress, sharePrefix } from "../../../src/net/address.ts";
import { formatIp, formatNetwork, parseIp } from "../../../src/net/ip-text.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
// Zeros are common in real addresses, and what the short form is about.
const ipv6 = fc
  .tuple(bytes(16), fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }))
  .map(([address, zeros]) => ({
    family: AF_INET6 as typeof AF_INET6,
    address: address.map((byte, at) => (zeros[at >> 1] ? 0 : byte)),
  }))
  .filter(({ address }) => !address.slice(0, 10).every((byte) => byte === 0)); // not IPv4-mapped
const ipv4 = bytes(4).map((address) => ({ family: AF_INET as typeof AF_INET, address }));

/** The short form as the URL standard has it (WHATWG's IPv6 serializer, which is RFC 5952's). */
const byUrl = (text: string): string => new URL(`http://[${text}]`).hostname.slice(1, -1);

test("an IPv6 address is written as the URL standard writes it, and read back", () => {
  fc.assert(
    fc.property(ipv6, (ip: IpAddress) => {
      const full = Buffer.from(ip.address).toString("hex").match(/.{4}/g)?.join(":") ?? "";
      expect(formatIp(ip)).toBe(byUrl(full));
      expect(parseIp(full)).toEqual(ip);
      expect(parseIp(formatIp(ip))).toEqual(ip);
    }),
  );
});

test("an IPv4 address is written and read back, IPv4-mapped too", () => {
  fc.assert(
    fc.property(ipv4, (ip: IpAddress) => {
      expect(parseIp(formatIp(ip))).toEqual(ip);
      expect(parseIp(`::ffff:${formatIp(ip)}`)).toEqual(ip);
      expect(
        parseIp(`0:0::FFFF:${Buffer.from(ip.address).toString("hex").match(/.{4}/g)?.join(":")}`),
      ).toEqual(ip);
    }),
  );
});

test.each(["::", "::1", "1::", "2001:db8::", "1:0:0:2::3", "fe80::1", "64:ff9b::10.0.0.1"])("%s", (text) => {
  const ip = parseIp(text);
  expect(ip === null ? null : formatIp(ip)).toBe(byUrl(text));
});

test.each([
  "",
  "1",
  "1.2.3",
  "1.2.3.4.5",
  "256.1.1.1",
  "01.2.3.4",
  "0x7f.1",
  " 1.2.3.4",
  "1.2.3.4\0",
  ":::",
  "1::2::3",
])("%p is no address", (text) => {
  expect(parseIp(text)).toBeNull();
});

test("what is an address is one to node:net too, and means what the URL standard reads", () => {
  const word = fc.stringMatching(/^[0-9a-fA-F]{0,5}$/);
  const quad = fc
    .array(fc.integer({ min: 0, max: 300 }), { minLength: 3, maxLength: 5 })
    .map((each) => each.join("."));
  const separator = fc.constantFrom(":", ":", ":", "::", ":::", ".", "%");
  const part = fc.oneof({ weight: 5, arbitrary: word }, { weight: 1, arbitrary: quad });
  const text = fc
    .tuple(fc.constantFrom("", "", ":", "::"), fc.array(fc.tuple(part, separator), { maxLength: 9 }), part)
    .map(([start, parts, end]) => `${start}${parts.flat().join("")}${end}`);
  const full = fc
    .array(fc.tuple(fc.stringMatching(/^[0-9a-fA-F]{1,4}$/), fc.constantFrom(":", ":", ":", "::")), {
      minLength: 5,
      maxLength: 8,
    })
    .map((parts) => parts.flat().join("").replace(/:$/, ""));
  fc.assert(
    fc.property(fc.oneof(text, full), (written) => {
      const ip = parseIp(written);
      expect([written, ip !== null]).toEqual([written, isIP(written) !== 0 && !written.includes("%")]);
      // The runtime's own URL refuses some that end in dotted decimal.
      const inWords = written.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
        [256 * a + +b, 256 * c + +d].map((each) => each.toString(16)).join(":"),
      );
      if (ip?.family === AF_INET6) expect([written, formatIp(ip)]).toEqual([written, byUrl(inWords)]);
    }),
    { numRuns: 20_000 },
  );
});

test("a scope is no part of an address", () => {
  expect(parseIp("fe80::1%eth0")).toBeNull();
});

test("two addresses share a prefix where their networks are the same", () => {
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6), fc.nat(), fc.nat(), (one: IpAddress, bit, length) => {
      const bits = 8 * one.address.length;
      const flipped = one.address.slice();
      const at = bit % bits;
      flipped[at >> 3] = (flipped[at >> 3] ?? 0) ^ (0x80 >> (at & 7));
      const prefix = length % (bits + 1);
      const other = { ...one, address: flipped };
      expect(sharePrefix(one, other, prefix)).toBe(at >= prefix);
      expect(formatNetwork(one, prefix) === formatNetwork(other, prefix)).toBe(at >= prefix);
    }),
  );
});

test("addresses of two families share nothing", () => {
  expect(
    sharePrefix(
      { family: AF_INET, address: new Uint8Array(4) },
      { family: AF_INET6, address: new Uint8Array(16) },
      0,
    ),
  ).toBe(false);
});
