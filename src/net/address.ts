import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import {
  AF_INET,
  AF_INET6,
  bind,
  getsockname,
  IPV6_FREEBIND,
  SOL_IPV6,
  setsockopt,
} from "../../ffi/socket-calls.ts";
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
 * Binds a socket to a port that nobody has: a random one, so that net.ipv4.ip_local_port_range may leave as few as it likes, and
 * where that is taken several times over, one of the kernel's choice (port 0). The address may be one of a local route that no
 * interface bears.
 *
 * @returns the address with its port @throws SystemError other than EADDRINUSE and EACCES, and any of port 0
 */
export function bindSomewhere(
  { fd }: FileDescriptor,
  { family, address }: Omit<SocketAddress, "port">,
): SocketAddress {
  if (family === AF_INET6) setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, 1);
  const bindTo = (port: number): SocketAddress => {
    const chosen = { family, address, port };
    bind(fd, encodeSockaddr(chosen), formatAddress(chosen));
    return { ...chosen, port: portOf(getsockname(fd)) };
  };
  for (let attempt = 0; attempt < PORTS_TRIED; attempt++) {
    try {
      return bindTo(randomInt(FIRST_PORT, LAST_PORT + 1));
    } catch (error) {
      if (!(error instanceof SystemError && ["EADDRINUSE", "EACCES"].includes(error.code))) throw error;
    }
  }
  return bindTo(0);
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

/** Whether two addresses are one. */
export function isSame(one: IpAddress | null, other: IpAddress | null): boolean {
  if (one === other || one === null || other === null) return one === other;
  if (one.family !== other.family) return false;
  for (let at = 0; at < one.address.length; at++) if (one.address[at] !== other.address[at]) return false;
  return true;
}

/** Whether the first `prefix` bits of two addresses of one family agree. */
export function sharePrefix(one: IpAddress, other: IpAddress, prefix: number): boolean {
  if (one.family !== other.family) return false;
  for (let at = 0, left = prefix; left > 0 && at < one.address.length; at++, left -= 8) {
    const differing = (one.address[at] ?? 0) ^ (other.address[at] ?? 0);
    if ((differing & (0xff00 >> Math.min(8, left)) & 0xff) !== 0) return false;
  }
  return true;
}
