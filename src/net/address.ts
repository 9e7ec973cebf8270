import { isIPv6 } from "node:net";
import { SystemError } from "../../ffi/error.ts";
import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import { randomInt } from "../self/random.ts";

export type Family = typeof AF_INET | typeof AF_INET6;

/** One host's address: 4 or 16 bytes in network order. */
export interface IpAddress {
  readonly family: Family;
  readonly address: Uint8Array;
}

/** One end of a connection. `address` is 4 or 16 bytes in network order; `port` is a number in host order. */
export interface SocketAddress {
  readonly family: Family;
  readonly address: Uint8Array;
  readonly port: number;
}

const SIZE_OF_SOCKADDR_IN = 16;
const SIZE_OF_SOCKADDR_IN6 = 28;

/** Encodes struct sockaddr_in or sockaddr_in6 (family in host order, port and address in network order). */
export function encodeSockaddr({ family, address, port }: SocketAddress): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? SIZE_OF_SOCKADDR_IN : SIZE_OF_SOCKADDR_IN6);
  new Uint16Array(bytes.buffer)[0] = family;
  new DataView(bytes.buffer).setUint16(2, port);
  bytes.set(address, family === AF_INET ? 4 : 8); // sockaddr_in6 has sin6_flowinfo in between
  return bytes;
}

/** The port of an encoded sockaddr_in or sockaddr_in6. */
export const portOf = (sockaddr: Uint8Array): number =>
  new DataView(sockaddr.buffer, sockaddr.byteOffset).getUint16(2);

/**
 * Binds to a port that nobody has: a random one, so that net.ipv4.ip_local_port_range may leave as few as it likes, and where
 * that is taken several times over, one of the kernel's choice (port 0).
 *
 * @param bind binds to a port
 * @throws SystemError what `bind` throws but EADDRINUSE and EACCES, and all that it throws of port 0
 */
export function bindSomewhere(
  address: Omit<SocketAddress, "port">,
  bind: (address: SocketAddress) => void,
): void {
  for (let attempt = 0; attempt < PORTS_TRIED; attempt++) {
    try {
      bind({ ...address, port: randomInt(FIRST_PORT, LAST_PORT + 1) });
      return;
    } catch (error) {
      if (!(error instanceof SystemError && ["EADDRINUSE", "EACCES"].includes(error.code))) throw error;
    }
  }
  bind({ ...address, port: 0 });
}

const PORTS_TRIED = 4;
/** The kernel's own range before anybody sets another (inet_init_net): no service listens there. */
const [FIRST_PORT, LAST_PORT] = [32768, 60999];

/** For messages: `127.0.0.1:80` or `[fd00:…]:80`. */
export function formatAddress({ family, address, port }: SocketAddress): string {
  if (family === AF_INET) return `${address.join(".")}:${port}`;
  const words = Array.from({ length: 8 }, (_, index) =>
    (((address[2 * index] ?? 0) << 8) | (address[2 * index + 1] ?? 0)).toString(16),
  );
  return `[${words.join(":")}]:${port}`;
}

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

/** Whether two addresses are one. */
export function isSame(one: IpAddress | null, other: IpAddress | null): boolean {
  if (one === other || one === null || other === null) return one === other;
  if (one.family !== other.family) return false;
  for (let at = 0; at < one.address.length; at++) if (one.address[at] !== other.address[at]) return false;
  return true;
}

/** Whether the first `prefix` bits of two addresses of one family agree. */
export function sharePrefix(one: IpAddress, other: IpAddress, prefix: number): boolean {
  return (
    one.family === other.family &&
    one.address.every((byte, at) => {
      const bits = Math.min(8, Math.max(0, prefix - 8 * at));
      const mask = 0xff00 >> bits;
      return ((byte ^ (other.address[at] ?? 0)) & mask & 0xff) === 0;
    })
  );
}

/** The network of an address, as `10.0.0.0/24`. */
export const formatNetwork = ({ family, address }: IpAddress, prefix: number): string => {
  const network = address.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * at))));
  return `${formatIp({ family, address: network })}/${prefix}`;
};
