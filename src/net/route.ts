import { SystemError } from "../../ffi/error.ts";
import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import { nameOf, shownName } from "../input/name.ts";
import { type Family, type IpAddress, sharePrefix } from "./address.ts";
import {
  attribute,
  attributesOf,
  CREATE,
  Netlink,
  NetlinkError,
  NetlinkMonitor,
  u32,
  u32Of,
} from "./netlink.ts";

/** Numbers of include/uapi/linux/{netlink,rtnetlink,if,if_link,if_addr}.h. */
const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RTM_GETRULE = 34;
const RTM_F_FIB_MATCH = 0x2000;
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RT_TABLE_LOCAL = 255;
const RTPROT_BOOT = 3;
const RT_SCOPE_HOST = 254;
const RTN_LOCAL = 2;
const FRA_DST = 1;
const FRA_SRC = 2;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_VIA = 18;
const SIZE_OF_IFINFOMSG = 16;
const SIZE_OF_IFADDRMSG = 8;
const SIZE_OF_RTMSG = 12;
const SIZE_OF_FIB_RULE_HDR = 12;
const SIZE_OF_RTNEXTHOP = 8;

/** Routing rules, routes, next hops, addresses and links: RTNLGRP_… of rtnetlink.h. */
const ROUTING_GROUPS = [1, 5, 7, 8, 9, 11, 19, 32].reduce((bits, group) => bits + 2 ** (group - 1), 0);

/** Which route is asked for. */
export interface RouteQuestion {
  readonly destination: IpAddress;
  /** Must be the network namespace's own under IPv4. Undefined: the kernel chooses. */
  readonly source?: IpAddress | undefined;
  /** Only routes through the interface of this index. */
  readonly through?: number | undefined;
}

/** The route that the kernel takes. */
export interface Route {
  /** RTN_… of rtnetlink.h, a key of {@link routeTypes} where the kernel is no newer than this. */
  readonly type: number;
  /** The next hop; null where the destination is on the link. */
  readonly gateway: IpAddress | null;
  /** The interface's index. */
  readonly through: number;
  /** The source address that the kernel takes. */
  readonly source: IpAddress | null;
}

/** What the names of RTN_… are in words. */
export const routeTypes: Readonly<
  Record<number, "unicast" | "local" | "broadcast" | "anycast" | "multicast">
> = { 1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast" };

/** RTN_… of routes that refuse packets; rules that do have the same numbers (FR_ACT_… of fib_rules.h). */
export const refusingTypes = { blackhole: 6, unreachable: 7, prohibit: 8 } as const;
export type RefusingType = keyof typeof refusingTypes;

/** An interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly isLoopback: boolean;
  /** The hardware address, such as 02:42:ac:11:00:02; null where it has none. */
  readonly hardwareAddress: string | null;
}

/** An address of an interface and the prefix that it lies in. */
export interface InterfaceAddress {
  readonly index: number;
  readonly local: IpAddress;
  /** The address by which the prefix is told: the other end's on a point-to-point link, else `local`. */
  readonly network: IpAddress;
  readonly prefix: number;
}

/** The links and routes of the network namespace this thread is in when it is made. */
export class RouteNetlink implements Disposable {
  readonly #netlink = new Netlink(NETLINK_ROUTE);

  /** Sets an interface up. */
  setLinkUp(index: number): void {
    // struct ifinfomsg: u8 family, pad, u16 type, int index, u32 flags, u32 change
    const message = new Uint8Array(SIZE_OF_IFINFOMSG);
    message.set([...u32(index), ...u32(IFF_UP), ...u32(IFF_UP)], 4);
    this.#netlink.request(RTM_NEWLINK, 0, message, `set link ${index} up`);
  }

  /** Gives an interface another MTU. */
  setLinkMtu(index: number, mtu: number): void {
    const header = new Uint8Array(SIZE_OF_IFINFOMSG);
    header.set(u32(index), 4);
    const message = Buffer.concat([header, attribute(IFLA_MTU, u32(mtu))]);
    this.#netlink.request(RTM_NEWLINK, 0, message, `set the MTU of link ${index}`);
  }

  /** Makes all addresses of a prefix local: packets to them are delivered through the interface to this host. */
  addLocalRoute(index: number, family: number, network: Uint8Array, prefix: number): void {
    // struct rtmsg: u8 family, dst_len, src_len, tos, table, protocol, scope, type, u32 flags
    const message = new Uint8Array(SIZE_OF_RTMSG);
    message.set([family, prefix, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL]);
    const body = Buffer.concat([message, attribute(RTA_DST, network), attribute(RTA_OIF, u32(index))]);
    this.#netlink.request(RTM_NEWROUTE, CREATE, body, `add a local route to link ${index}`);
  }

  /**
   * The route of a packet that this host sends.
   * @throws SystemError ENETUNREACH where there is none, or the source is not the namespace's own; what the route says
   * where it refuses: EHOSTUNREACH (unreachable), EACCES (prohibit), EINVAL (blackhole): fib_props of fib_semantics.c.
   * EINVAL has other causes too
   */
  route(question: RouteQuestion): Route {
    const body = encodeQuestion(question, 0);
    return parseRoute(this.#netlink.ask(RTM_GETROUTE, body, "look up a route"));
  }

  /** How many next hops the route's table entry has; the kernel spreads flows over them. Needs Linux 4.13. */
  nextHops(question: RouteQuestion): number {
    const body = encodeQuestion(question, RTM_F_FIB_MATCH);
    return countNextHops(this.#netlink.ask(RTM_GETROUTE, body, "look up a route's entry"));
  }

  /**
   * What `route` and `nextHops` tell of many questions, all asked at once; null where one of the two has to say why it tells
   * nothing.
   */
  routes(questions: readonly RouteQuestion[]): ({ readonly route: Route; readonly hops: number } | null)[] {
    const bodies = questions.flatMap((each) => {
      const body = encodeQuestion(each, 0);
      return [body, withFlags(body.slice(), RTM_F_FIB_MATCH)];
    });
    const answers = this.#netlink.askAll(RTM_GETROUTE, bodies);
    return questions.map((_, at) => {
      const [route, entry] = [answers[2 * at], answers[2 * at + 1]];
      return route == null || entry == null ? null : { route: parseRoute(route), hops: countNextHops(entry) };
    });
  }

  /** Whether any table has a route of this type that covers the destination. */
  hasRefusingRoute({ destination }: RouteQuestion, type: RefusingType): boolean {
    const message = new Uint8Array(SIZE_OF_RTMSG);
    message[0] = destination.family;
    message[7] = refusingTypes[type];
    return this.#netlink.dumpLike(RTM_GETROUTE, message, "list routes").some((body) => {
      // struct rtmsg: u8 family, dst_len, src_len, tos, table, protocol, scope, type
      const to = attributesOf(body, SIZE_OF_RTMSG).get(RTA_DST);
      return body[7] === refusingTypes[type] && covers(body[0], to, body[1], destination);
    });
  }

  /** Whether there is a rule of this type for the destination and the source. Where the kernel has no rules, there is none. */
  hasRefusingRule({ destination, source }: RouteQuestion, type: RefusingType): boolean {
    const message = new Uint8Array(SIZE_OF_FIB_RULE_HDR);
    message[0] = destination.family;
    return this.#rules(message).some((body) => {
      // struct fib_rule_hdr: u8 family, dst_len, src_len, tos, table, res1, res2, action
      const attributes = attributesOf(body, SIZE_OF_FIB_RULE_HDR);
      return (
        body[7] === refusingTypes[type] &&
        covers(body[0], attributes.get(FRA_DST), body[1], destination) &&
        covers(body[0], attributes.get(FRA_SRC), body[2], source)
      );
    });
  }

  #rules(message: Uint8Array): Uint8Array[] {
    try {
      return this.#netlink.dumpLike(RTM_GETRULE, message, "list rules");
    } catch (error) {
      if (error instanceof SystemError && error.code === "EOPNOTSUPP") return [];
      throw error;
    }
  }

  /** An interface by its index or name. @throws SystemError ENODEV where there is none */
  link(which: number | string): Link {
    const message = new Uint8Array(SIZE_OF_IFINFOMSG);
    const named = typeof which === "string" ? [attribute(IFLA_IFNAME, text(which))] : [];
    if (typeof which === "number") message.set(u32(which), 4);
    const body = Buffer.concat([message, ...named, attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS))]);
    return parseLink(this.#netlink.ask(RTM_GETLINK, body, `look up interface ${which}`));
  }

  /** The addresses of all interfaces, of both families. */
  addresses(): InterfaceAddress[] {
    const all = this.#netlink.dump(RTM_GETADDR, new Uint8Array(SIZE_OF_IFADDRMSG), "list addresses");
    return all.map(parseAddress).filter((address) => address !== null);
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}

/** Tells whether the routing of the network namespace changed which this thread is in when it is made. */
export const routeMonitor = (): NetlinkMonitor => new NetlinkMonitor(NETLINK_ROUTE, ROUTING_GROUPS);

const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

function encodeQuestion({ destination, source, through }: RouteQuestion, flags: number): Uint8Array {
  const message = new Uint8Array(SIZE_OF_RTMSG);
  const bits = 8 * destination.address.length;
  message.set([destination.family, bits, source === undefined ? 0 : bits]);
  const attributes = [attribute(RTA_DST, destination.address)];
  if (source !== undefined) attributes.push(attribute(RTA_SRC, source.address));
  if (through !== undefined) attributes.push(attribute(RTA_OIF, u32(through)));
  return Buffer.concat([withFlags(message, flags), ...attributes]);
}

/** Writes the flags of a struct rtmsg. */
function withFlags(message: Uint8Array, flags: number): Uint8Array {
  message.set(u32(flags), 8);
  return message;
}

const wantedOfRoute: ReadonlySet<number> = new Set([RTA_OIF, RTA_VIA, RTA_GATEWAY, RTA_PREFSRC]);
const wantedOfEntry: ReadonlySet<number> = new Set([RTA_MULTIPATH]);

/** Reads struct rtmsg and its attributes. @throws where it is cut short */
export function parseRoute(body: Uint8Array): Route {
  const attributes = attributesOf(body, SIZE_OF_RTMSG, wantedOfRoute);
  const family = body[0] ?? 0;
  const through = attributes.get(RTA_OIF);
  if (through === undefined) throw new NetlinkError("netlink: a route without an interface");
  // struct rtvia: u16 family, then the address: a next hop of the other family
  const via = attributes.get(RTA_VIA);
  const gateway = attributes.get(RTA_GATEWAY);
  return {
    type: body[7] ?? 0,
    gateway: ipOf(family, gateway) ?? ipOf(via?.[0] ?? 0, via?.subarray(2)),
    through: u32Of(through),
    source: ipOf(family, attributes.get(RTA_PREFSRC)),
  };
}

/** Whether a prefix of so many bits covers an address; one of none covers all, and one that is not told too. */
function covers(
  family = 0,
  network: Uint8Array | undefined,
  bits = 0,
  address: IpAddress | undefined,
): boolean {
  if (bits === 0) return true;
  const prefix = ipOf(family, network);
  return address !== undefined && prefix !== null && sharePrefix(prefix, address, bits);
}

/** The number of struct rtnexthop in a route's RTA_MULTIPATH; 1 without one. @throws NetlinkError for a next hop that is too short */
export function countNextHops(body: Uint8Array): number {
  const hops = attributesOf(body, SIZE_OF_RTMSG, wantedOfEntry).get(RTA_MULTIPATH);
  if (hops === undefined) return 1;
  let count = 0;
  for (let at = 0; at + SIZE_OF_RTNEXTHOP <= hops.length; count++) {
    // struct rtnexthop: u16 len, u8 flags, u8 hops, int ifindex
    const length = (hops[at] ?? 0) | ((hops[at + 1] ?? 0) << 8);
    if (length < SIZE_OF_RTNEXTHOP) throw new NetlinkError(`netlink: a next hop of ${length} bytes`);
    at += (length + 3) & ~3;
  }
  return count;
}

/** Reads struct ifinfomsg and its attributes. The name is bytes (see input/name.ts). @throws where it is cut short */
export function parseLink(body: Uint8Array): Link {
  const attributes = attributesOf(body, SIZE_OF_IFINFOMSG);
  const hardware = attributes.get(IFLA_ADDRESS);
  return {
    index: u32Of(body.subarray(4, 8)),
    name: linkName(attributes.get(IFLA_IFNAME) ?? new Uint8Array(0)),
    isLoopback: (u32Of(body.subarray(8, 12)) & IFF_LOOPBACK) !== 0,
    hardwareAddress:
      hardware === undefined
        ? null
        : Array.from(hardware, (byte) => byte.toString(16).padStart(2, "0")).join(":"),
  };
}

/** An interface's name, which becomes part of a path (dev_valid_name of net/core/dev.c). @throws where it is none */
function linkName(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const name = nameOf(end < 0 ? bytes : bytes.subarray(0, end));
  if (name !== "" && name !== "." && name !== ".." && !name.includes("/")) return name;
  throw new NetlinkError(`netlink: an interface named ${JSON.stringify(shownName(name))}`);
}

/** Reads struct ifaddrmsg and its attributes; null for an address of neither family. @throws where it is cut short */
export function parseAddress(body: Uint8Array): InterfaceAddress | null {
  // struct ifaddrmsg: u8 family, prefixlen, flags, scope, u32 index
  const attributes = attributesOf(body, SIZE_OF_IFADDRMSG);
  const [family = 0, prefix = 0] = body;
  const network = ipOf(family, attributes.get(IFA_ADDRESS));
  const local = ipOf(family, attributes.get(IFA_LOCAL)) ?? network;
  if (network === null || local === null) return null;
  if (prefix > 8 * network.address.length) throw new NetlinkError(`netlink: a prefix of ${prefix} bits`);
  return { index: u32Of(body.subarray(4, 8)), local, network, prefix };
}

/** An address of so many bytes as its family has; else null. */
function ipOf(family: number, bytes: Uint8Array | undefined): IpAddress | null {
  const isFamily = (number: number): number is Family => number === AF_INET || number === AF_INET6;
  if (bytes === undefined || !isFamily(family)) return null;
  if (bytes.length !== (family === AF_INET ? 4 : 16)) return null;
  return { family, address: bytes };
}
