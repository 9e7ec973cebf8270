import { type IpAddress, sharePrefix } from "../net/address.ts";
import { formatNetwork } from "../net/ip-text.ts";
import { isLinkLocal } from "./question.ts";

/** A prefix that an interface is in, and its name in the cloud where it has one. */
export interface Prefix {
  readonly network: IpAddress;
  /** Length in bits. */
  readonly length: number;
  readonly alias: string | null;
}

/** In CIDR notation, e.g. `10.0.0.0/8`. */
export const formatPrefix = ({ network, length }: Prefix): string => formatNetwork(network, length);

/** A subnet of an interface, and its prefix as text. */
export interface Subnet extends Prefix {
  readonly cidr: string;
}

/** The prefixes that are subnets, the narrowest first. A single host's is none, nor is a link-local one. */
export const subnetsOf = (prefixes: readonly Prefix[]): readonly Subnet[] =>
  prefixes
    .filter(({ network, length }) => length < 8 * network.address.length && !isLinkLocal(network))
    .toSorted((one, other) => other.length - one.length)
    .map((prefix) => ({ ...prefix, cidr: formatPrefix(prefix) }));

/**
 * The subnet by which a packet leaves: the narrowest that the gateway is in; where the gateway's address is link-local,
 * as routers' are under IPv6, or in none of them, the narrowest that the source is in.
 * @param subnets the narrowest first
 */
export function chooseSubnet(
  subnets: readonly Subnet[],
  gateway: IpAddress,
  source: IpAddress | null,
): Subnet | undefined {
  const holding = (ip: IpAddress | null): Subnet | undefined =>
    subnets.find(({ network, length }) => ip !== null && sharePrefix(network, ip, length));
  return holding(gateway) ?? holding(source);
}
