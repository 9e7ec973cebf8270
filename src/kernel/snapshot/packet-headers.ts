import { AF_INET } from "../../../ffi/socket-calls.ts";
import type { SocketAddress } from "../../net/address.ts";
import { network } from "../../offsets/values.ts";

/** Where the headers of a packet begin in the buffer that sk_buff.head leads to, in bytes. */
export interface Headers {
  readonly mac: number;
  readonly network: number;
  readonly transport: number;
}

const ETH_HLEN = 14;
const ETHERTYPE = { ipv4: Uint8Array.of(0x08, 0x00), ipv6: Uint8Array.of(0x86, 0xdd) };
/** Where the addresses begin in struct iphdr and struct ipv6hdr: the source, and behind it the destination. */
const ADDRESSES = { ipv4: 12, ipv6: 8 };
const SIZE_OF_IPV6HDR = 40;

/**
 * Finds the headers of our packet in a buffer: Ethernet's type, the IP header with our addresses, and behind it our
 * ports. Null when they are not there exactly once.
 */
export function findHeaders(buffer: Uint8Array, own: SocketAddress, peer: SocketAddress): Headers | null {
  const isIpv4 = own.family === AF_INET;
  const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.length);
  const stands = (part: Uint8Array, at: number) => bytes.indexOf(part, at) === at;
  const ports = Uint8Array.of(...network(2, own.port).value, ...network(2, peer.port).value);
  const addresses = Uint8Array.of(...own.address, ...peer.address);
  const found: Headers[] = [];
  for (let at = bytes.indexOf(addresses); at >= 0; at = bytes.indexOf(addresses, at + 1)) {
    const ip = at - (isIpv4 ? ADDRESSES.ipv4 : ADDRESSES.ipv6);
    if (ip < ETH_HLEN || !stands(isIpv4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6, ip - 2)) continue;
    const first = bytes[ip] ?? 0; // version, and in IPv4 the header's length in words
    const transport = ip + (isIpv4 ? (first & 0xf) * 4 : SIZE_OF_IPV6HDR);
    if (first >> 4 !== (isIpv4 ? 4 : 6) || !stands(ports, transport)) continue;
    found.push({ mac: ip - ETH_HLEN, network: ip, transport });
  }
  const [headers] = found;
  return found.length === 1 && headers !== undefined ? headers : null;
}
