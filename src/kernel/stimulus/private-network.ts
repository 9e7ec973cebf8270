import { fstatSync, statSync } from "node:fs";
import { open } from "../../../ffi/descriptors.ts";
import { SystemError } from "../../../ffi/error.ts";
import type { FileDescriptor } from "../../../ffi/libc.ts";
import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import { enterNetwork, unshareNetwork } from "../../../ffi/thread.ts";
import type { Family } from "../../net/address.ts";
import { hasIpv6, IPV6_INTERFACES } from "../../net/ipv6.ts";
import { inside, LOOPBACK, THREAD_NAMESPACE } from "../../net/namespace.ts";
import { RouteNetlink } from "../../net/route.ts";
import type { Families } from "../fields/options.ts";

/** Locally assigned unique local addresses, RFC 4193. */
const IPV6_PREFIX = { network: Uint8Array.of(0xfd, ...new Uint8Array(15)), length: 8 };

/** A network namespace in which the stimulus makes its sockets. */
export interface Network extends Disposable {
  /** The namespace's inode number, which is net.ns.inum; null where the kernel has no network namespaces. */
  readonly inode: number | null;
  /** Why this is not a namespace of our own; null when it is. */
  readonly shared: string | null;
  /** Why there are no IPv6 sockets here; null when there are. */
  readonly withoutIpv6: string | null;
  /** Runs `act` with this thread inside the namespace: sockets opened meanwhile stay in it. */
  inside<Result>(act: () => Result): Result;
  /** A fresh random address of 4 or 16 bytes that sockets can be bound to at once. */
  address(family: Family): Uint8Array;
}

/**
 * A network namespace of our own, with `lo` up and nothing else in it: no traffic, no firewall rule and no busy
 * port of the host reaches it. It is gone once it is disposed of and its last socket is closed.
 */
export class PrivateNetwork implements Network {
  readonly #owned: DisposableStack;
  readonly #home: FileDescriptor;
  readonly #namespace: FileDescriptor;
  readonly inode: number;
  readonly shared = null;
  readonly withoutIpv6: string | null;

  /** @throws SystemError EPERM without CAP_SYS_ADMIN or CAP_NET_ADMIN */
  constructor() {
    using undo = new DisposableStack();
    this.#home = undo.use(open(THREAD_NAMESPACE));
    unshareNetwork();
    try {
      this.#namespace = undo.use(open(THREAD_NAMESPACE));
      using netlink = new RouteNetlink();
      netlink.setLinkUp(LOOPBACK);
      this.withoutIpv6 = routeIpv6(netlink);
    } finally {
      enterNetwork(this.#home);
    }
    this.inode = fstatSync(this.#namespace.fd).ino;
    this.#owned = undo.move();
  }

  inside<Result>(act: () => Result): Result {
    return inside(this.#namespace, this.#home, act);
  }

  address(family: Family): Uint8Array {
    return randomAddress(family);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/**
 * Makes all of fd00::/8 local, as 127.0.0.0/8 is to begin with. An address on the interface would do as well, but
 * becomes usable only later, when the kernel's addrconf work has run. Returns why there is no IPv6, or null.
 */
function routeIpv6(netlink: RouteNetlink): string | null {
  try {
    netlink.addLocalRoute(LOOPBACK, AF_INET6, IPV6_PREFIX.network, IPV6_PREFIX.length);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const isOff = ["EOPNOTSUPP", "EAFNOSUPPORT", "EACCES"].includes(error.code);
    return isOff ? `IPv6 is off on this host (${error.message})` : error.message;
  }
}

/** The network namespace this process is in, for hosts that let us make no other: 127.0.0.0/8 alone. */
export class CurrentNetwork implements Network {
  readonly inode: number | null;
  readonly withoutIpv6: string;

  /** @param shared why there is no private namespace, in words for a person */
  constructor(readonly shared: string) {
    this.withoutIpv6 = hasIpv6()
      ? `IPv6 addresses can be chosen in a private network namespace alone: ${shared}`
      : `IPv6 is off on this host (${IPV6_INTERFACES} is not there)`;
    this.inode = statSync(THREAD_NAMESPACE, { throwIfNoEntry: false })?.ino ?? null;
  }

  inside<Result>(act: () => Result): Result {
    return act();
  }

  address(): Uint8Array {
    return randomAddress(AF_INET);
  }

  [Symbol.dispose](): void {}
}

/** Why the networks are not namespaces that can be told apart; null when they are. */
export const whyNoNamespaces = (networks: readonly Network[]): string | null => {
  const shared = networks.map((network) => network.shared).find((reason) => reason !== null);
  return shared === undefined ? null : `needs two private network namespaces: ${shared}`;
};

/** The address families of which TCP sockets are made in a network. */
export const tcpFamilies = ({ withoutIpv6 }: Network, { tcpv4, tcpv6 }: Families): Family[] => [
  ...(tcpv4 ? ([AF_INET] as const) : []),
  ...(tcpv6 && withoutIpv6 === null ? ([AF_INET6] as const) : []),
];

/**
 * Why there are no TCP connections of a family; null when there are.
 * @param refusals families of which a connection failed
 */
export function whyNoTcp(
  family: Family,
  networks: readonly Network[],
  { tcpv4, tcpv6 }: Families,
  refusals: ReadonlyMap<Family, string>,
): string | null {
  const [name, setting, isAsked] =
    family === AF_INET
      ? (["IPv4", "collect_tcpv4", tcpv4] as const)
      : (["IPv6", "collect_tcpv6", tcpv6] as const);
  if (!isAsked) return `TCP over ${name} is left out (${setting})`;
  const without = family === AF_INET ? [] : networks.map(({ withoutIpv6 }) => withoutIpv6);
  return without.find((reason) => reason !== null) ?? refusals.get(family) ?? null;
}

/** An address of 127.0.0.0/8 or of fd00::/8; no byte of it is 0, as unused memory is. */
function randomAddress(family: Family): Uint8Array {
  const address = crypto
    .getRandomValues(new Uint8Array(family === AF_INET ? 4 : 16))
    .map((byte) => 1 + (byte % 254));
  address[0] = family === AF_INET ? 127 : 0xfd;
  return address;
}
