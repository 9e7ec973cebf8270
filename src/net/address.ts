import { AF_INET, type AF_INET6 } from "../../ffi/libc.ts";

export type Family = typeof AF_INET | typeof AF_INET6;

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

/** For messages: `127.0.0.1:80` or `[fd00:…]:80`. */
export function formatAddress({ family, address, port }: SocketAddress): string {
  if (family === AF_INET) return `${address.join(".")}:${port}`;
  const words = Array.from({ length: 8 }, (_, index) =>
    (((address[2 * index] ?? 0) << 8) | (address[2 * index + 1] ?? 0)).toString(16),
  );
  return `[${words.join(":")}]:${port}`;
}
