import { isIPv6 } from "node:net"; // loaded by who reads addresses alone: it takes 2 ms
import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import type { IpAddress } from "./address.ts";

/**
 * Reads an address without a scope: dotted decimal, or RFC 4291 text. An IPv4-mapped one (::ffff:10.0.0.1) is the IPv4
 * address that it stands for. Null where the text is no address.
 */
export function parseIp(text: string): IpAddress | null {
  const dotted = parseDotted(text);
  if (dotted !== null) return { family: AF_INET, address: dotted };
  if (!isIPv6(text) || text.includes("%")) return null;
  const [head = [], tail = []] = text.split("::").map(wordsOf);
  const words = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  const address = Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
  const isMapped = words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff;
  return isMapped ? { family: AF_INET, address: address.slice(12) } : { family: AF_INET6, address };
}

const [DOT, ZERO] = [0x2e, 0x30];

/** The bytes of four decimal numbers without leading zeros; null where the text is anything else. */
function parseDotted(text: string): Uint8Array | null {
  const address = new Uint8Array(4);
  let [part, digits, value] = [0, 0, 0];
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : DOT;
    if (code === DOT) {
      if (digits === 0 || part === 4) return null;
      address[part++] = value;
      digits = value = 0;
      continue;
    }
    const isZeroLed = digits > 0 && value === 0;
    value = 10 * value + code - ZERO;
    digits++;
    if (code < ZERO || code > ZERO + 9 || isZeroLed || value > 255) return null;
  }
  return part === 4 ? address : null;
}

/** The 16-bit words of one side of an IPv6 address; a dotted quad at the end is two. */
const wordsOf = (side: string): number[] =>
  side === ""
    ? []
    : side.split(":").flatMap((part) => {
        const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
        return part.includes(".") ? [(a << 8) | b, (c << 8) | d] : [Number.parseInt(part, 16)];
      });

/** The address as text: dotted decimal, or IPv6 in the form of RFC 5952. */
export function formatIp({ family, address }: IpAddress): string {
  if (family === AF_INET) return `${address[0]}.${address[1]}.${address[2]}.${address[3]}`;
  const words = Array.from({ length: 8 }, (_, at) =>
    (((address[2 * at] ?? 0) << 8) | (address[2 * at + 1] ?? 0)).toString(16),
  ).join(":");
  const zeros = [...words.matchAll(/\b0(?::0)+\b/g)];
  const longest = zeros.reduce((best, run) => (run[0].length > best.length ? run[0] : best), "");
  if (longest === "") return words;
  const at = zeros.find(([run]) => run === longest)?.index ?? 0;
  return `${words.slice(0, at) || ":"}${words.slice(at + longest.length) || ":"}`;
}

/** The network of an address, as `10.0.0.0/24`. */
export const formatNetwork = ({ family, address }: IpAddress, prefix: number): string => {
  const network = address.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * at))));
  return `${formatIp({ family, address: network })}/${prefix}`;
};
