import { AF_INET } from "../../../ffi/socket-calls.ts";
import type { SocketAddress } from "../../net/address.ts";
import type { TcpInfo } from "../../net/tcp.ts";
import type { Expectation, Facts } from "../../offsets/observation.ts";
import { host, network, raw, shifted } from "../../offsets/values.ts";
import type { KernelConstant } from "../fields/fields.ts";

/** What we know of one end of a connection: its own address, and the peer's once it has one. */
export interface ConnectionEnd {
  readonly own: SocketAddress;
  readonly peer?: SocketAddress;
}

/** Round-trip times that were read while they could not change. */
export type Timing = Pick<TcpInfo, "rtt" | "rttvar">;

/** Facts by constant; a misspelt constant does not compile. */
export const facts = (entries: Iterable<readonly [KernelConstant, Expectation]>): Facts => new Map(entries);

/** What stands in struct tcp_sock of one of our sockets. `state` is TCP_ESTABLISHED and so on. */
export function sockFacts({ own, peer }: ConnectionEnd, state: number, timing?: Timing): Facts {
  // The IPv4 members of an IPv6 socket hold what the kernel likes (LOOPBACK4_IPV6): nothing is expected there.
  const [saddr, daddr] =
    own.family === AF_INET
      ? (["offset_saddr", "offset_daddr"] as const)
      : (["offset_saddr_ipv6", "offset_daddr_ipv6"] as const);
  return facts([
    ["offset_family", host(2, own.family)],
    ["offset_state", host(1, state)],
    ["offset_sport", network(2, own.port)],
    ["offset_num", host(2, own.port)],
    ["offset_dport", network(2, peer?.port ?? 0)],
    [saddr, raw(own.address)],
    [daddr, raw(peer?.address ?? new Uint8Array(own.address.length))],
    ...(timing === undefined
      ? []
      : ([
          ["offset_rtt", shifted(4, timing.rtt, 3)], // tcp_get_info: tcpi_rtt = srtt_us >> 3
          ["offset_rtt_var", shifted(4, timing.rttvar, 2)], // tcp_get_info: tcpi_rttvar = mdev_us >> 2
        ] as const)),
  ]);
}

/** What stands in struct flowi4 or flowi6 of a route that an end looks up to its peer. */
export function flowFacts(own: SocketAddress, peer: SocketAddress): Facts {
  const ports = [network(2, own.port), network(2, peer.port)] as const;
  return own.family === AF_INET
    ? facts([
        ["offset_saddr_fl4", raw(own.address)],
        ["offset_daddr_fl4", raw(peer.address)],
        ["offset_sport_fl4", ports[0]],
        ["offset_dport_fl4", ports[1]],
      ])
    : facts([
        ["offset_saddr_fl6", raw(own.address)],
        ["offset_daddr_fl6", raw(peer.address)],
        ["offset_sport_fl6", ports[0]],
        ["offset_dport_fl6", ports[1]],
      ]);
}
