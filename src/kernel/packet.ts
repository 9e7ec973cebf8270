import { AF_INET } from "../../ffi/libc.ts";
import type { SocketAddress } from "../net/address.ts";
import { network } from "../offsets/values.ts";

/** Where the headers of a packet begin in the buffer that sk_buff.head leads to, in bytes. */
export interface Headers {
  readonly mac: number;
  readonly network: number;
  readonly transport: number;
}

const ETH_HLEN = 14;
const ETHERTYPE = { ipv4: [0x08, 0x00], ipv6: [0x86, 0xdd] } as const;
const SIZE_OF_IPV6HDR = 40;

/**
 * Finds the headers of our packet in a buffer: Ethernet's type, the IP header with our addresses, and behind it our
 * ports. Null when they are not there exactly once.
 */
export function findHeaders(buffer: Uint8Array, own: SocketAddress, peer: SocketAddress): Headers | null {
  const isIpv4 = own.family === AF_INET;
  const ports = [...network(2, own.port).value, ...network(2, peer.port).value];
  const stands = (bytes: ArrayLike<number>, at: number) =>
    Array.from(bytes).every((byte, index) => buffer[at + index] === byte);
  const addresses = Uint8Array.of(...own.address, ...peer.address);
  const found: Headers[] = [];
  for (let ip = ETH_HLEN; ip + SIZE_OF_IPV6HDR < buffer.length; ip++) {
    if (!stands(isIpv4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6, ip - 2)) continue;
    const first = buffer[ip] ?? 0; // version, and in IPv4 the header's length in words
    if (first >> 4 !== (isIpv4 ? 4 : 6) || !stands(addresses, ip + (isIpv4 ? 12 : 8))) continue;
    const transport = ip + (isIpv4 ? (first & 0xf) * 4 : SIZE_OF_IPV6HDR);
    if (stands(ports, transport)) found.push({ mac: ip - ETH_HLEN, network: ip, transport });
  }
  const [headers] = found;
  return found.length === 1 && headers !== undefined ? headers : null;
}
