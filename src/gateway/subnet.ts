import { formatNetwork, type IpAddress, sharePrefix } from "../net/address.ts";
import { isLinkLocal } from "./question.ts";

/** A prefix that an interface is in, and its name in the cloud where it has one. */
export interface Prefix {
  readonly network: IpAddress;
  /** Length in bits. */
  readonly length: number;
  readonly alias: string | null;
}

export const formatPrefix = ({ network, length }: Prefix): string => formatNetwork(network, length);

/**
 * The subnet by which a packet leaves: the narrowest that the gateway is in; where the gateway's address is link-local,
 * as routers' are under IPv6, or in none of them, the narrowest that the source is in. A single host's prefix is no subnet.
 */
export function chooseSubnet(
  prefixes: readonly Prefix[],
  gateway: IpAddress,
  source: IpAddress | null,
): Prefix | undefined {
  const subnets = prefixes
    .filter(({ network, length }) => length < 8 * network.address.length && !isLinkLocal(network))
    .toSorted((one, other) => other.length - one.length);
  const holding = (ip: IpAddress | null) =>
    subnets.find(({ network, length }) => ip !== null && sharePrefix(network, ip, length));
  return holding(gateway) ?? holding(source);
}
