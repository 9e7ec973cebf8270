import { SystemError } from "../../ffi/error.ts";
import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import { nameOf, shownName } from "../input/name.ts";
import { type Family, type IpAddress, sharePrefix } from "./address.ts";
import {
  aligned,
  attribute,
  attributeLength,
  attributesOf,
  attributeType,
  CREATE,
  Netlink,
  NetlinkError,
  NetlinkMonitor,
  SIZE_OF_NLATTR,
  setU32,
  u16At,
  u32,
  u32Of,
  writeAttribute,
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

/** The route and the number of next hops that answer each question. */
export interface RoutesAndHops {
  readonly routes: readonly (Route | undefined)[];
  readonly hops: readonly (number | undefined)[];
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
  readonly #routes = new RouteReader();

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
    return this.#routes.read(this.#netlink.ask(RTM_GETROUTE, body, "look up a route"));
  }

  /** How many next hops the route's table entry has; the kernel spreads flows over them. Needs Linux 4.13. */
  nextHops(question: RouteQuestion): number {
    const body = encodeQuestion(question, RTM_F_FIB_MATCH);
    return countNextHops(this.#netlink.ask(RTM_GETROUTE, body, "look up a route's entry"));
  }

  /**
   * What `route` and `nextHops` tell of many questions, all asked at once; undefined where one of the two has to say why it tells
   * nothing.
   */
  routes(questions: readonly RouteQuestion[]): RoutesAndHops {
    const routes: (Route | undefined)[] = questions.map(() => undefined);
    const hops: (number | undefined)[] = questions.map(() => undefined);
    this.#netlink.askAll(
      RTM_GETROUTE,
      2 * questions.length,
      LARGEST_QUESTION,
      (which, bytes, at) => {
        const question = questions[which >> 1];
        if (question === undefined) return at;
        return writeQuestion(bytes, at, question, which % 2 === 0 ? 0 : RTM_F_FIB_MATCH);
      },
      (which, bytes, start, end) => {
        if (which % 2 === 0) routes[which >> 1] = this.#routes.read(bytes, start, end);
        else hops[which >> 1] = countNextHops(bytes, start, end);
      },
    );
    return { routes, hops };
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

/** struct rtmsg, two addresses of 16 bytes and an interface's index, the last three as attributes. */
const LARGEST_QUESTION = SIZE_OF_RTMSG + 3 * SIZE_OF_NLATTR + 2 * 16 + 4;

function encodeQuestion(question: RouteQuestion, flags: number): Uint8Array {
  const bytes = new Uint8Array(LARGEST_QUESTION);
  return bytes.subarray(0, writeQuestion(bytes, 0, question, flags));
}

/** Writes struct rtmsg (u8 family, dst_len, src_len, …, u32 flags) and its attributes there; returns where they end. */
function writeQuestion(
  bytes: Uint8Array,
  at: number,
  { destination, source, through }: RouteQuestion,
  flags: number,
): number {
  const bits = 8 * destination.address.length;
  setU32(bytes, at, destination.family | (bits << 8) | ((source === undefined ? 0 : bits) << 16));
  setU32(bytes, at + 4, 0);
  setU32(bytes, at + 8, flags);
  let end = writeAttribute(bytes, at + SIZE_OF_RTMSG, RTA_DST, destination.address);
  if (source !== undefined) end = writeAttribute(bytes, end, RTA_SRC, source.address);
  if (through !== undefined) end = writeAttribute(bytes, end, RTA_OIF, u32(through));
  return end;
}

/** Most routes, and addresses in them, that a reader remembers. */
const REMEMBERED = 16;

/** The values of a kind that were met last; the one that was met first makes room. */
class Recent<Value> {
  readonly values: Value[] = [];
  #next = 0;

  add(value: Value): Value {
    this.values[this.#next] = value;
    this.#next = (this.#next + 1) % REMEMBERED;
    return value;
  }
}

/** Reads routes. Of equal ones that come again and again it gives the same object: what follows from a route is then told once. */
export class RouteReader {
  readonly #routes = new Recent<Route>();
  readonly #addresses = new Recent<IpAddress>();

  /** Reads struct rtmsg and its attributes. @throws where it is cut short */
  read(body: Uint8Array, start = 0, end = body.length): Route {
    // Where the attributes lie, 0: nowhere. Of equal types the last speaks.
    let [oif, gatewayAt, via, sourceAt] = [0, 0, 0, 0];
    for (let at = start + SIZE_OF_RTMSG; at + SIZE_OF_NLATTR <= end; ) {
      const length = attributeLength(body, at, end);
      const type = attributeType(body, at);
      if (type === RTA_OIF) oif = at;
      else if (type === RTA_GATEWAY) gatewayAt = at;
      else if (type === RTA_VIA) via = at;
      else if (type === RTA_PREFSRC) sourceAt = at;
      at += aligned(length);
    }
    if (oif === 0) throw new NetlinkError("netlink: a route without an interface");
    const through = u32Of(body, oif + SIZE_OF_NLATTR, oif + u16At(body, oif));
    const [family = 0, type = 0] = [body[start], body[start + 7]];
    // struct rtvia: u16 family, then the address: a next hop of the other family
    const gateway =
      this.#ip(family, body, gatewayAt) ?? this.#ip(body[via + SIZE_OF_NLATTR] ?? 0, body, via, 2);
    const source = this.#ip(family, body, sourceAt);
    for (const known of this.#routes.values)
      if (
        known.through === through &&
        known.gateway === gateway &&
        known.source === source &&
        known.type === type
      )
        return known;
    return this.#routes.add({ type, gateway, through, source });
  }

  /** The address of an attribute, behind so many bytes of it; null where it has none of that family. */
  #ip(family: number, body: Uint8Array, attribute: number, skipped = 0): IpAddress | null {
    const start = attribute + SIZE_OF_NLATTR + skipped;
    if (attribute === 0 || !isIp(family, attribute + u16At(body, attribute) - start)) return null;
    for (const known of this.#addresses.values)
      if (known.family === family && standsAt(known.address, body, start)) return known;
    const address = body.slice(start, start + (family === AF_INET ? 4 : 16));
    return this.#addresses.add({ family, address });
  }
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
export function countNextHops(body: Uint8Array, start = 0, end = body.length): number {
  let hops = 0;
  for (let at = start + SIZE_OF_RTMSG; at + SIZE_OF_NLATTR <= end; ) {
    const length = attributeLength(body, at, end);
    if (attributeType(body, at) === RTA_MULTIPATH) hops = at;
    at += aligned(length);
  }
  if (hops === 0) return 1;
  const last = hops + u16At(body, hops);
  let count = 0;
  for (let at = hops + SIZE_OF_NLATTR; at + SIZE_OF_RTNEXTHOP <= last; count++) {
    // struct rtnexthop: u16 len, u8 flags, u8 hops, int ifindex
    const length = u16At(body, at);
    if (length < SIZE_OF_RTNEXTHOP) throw new NetlinkError(`netlink: a next hop of ${length} bytes`);
    at += aligned(length);
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
  return bytes !== undefined && isIp(family, bytes.length) ? { family, address: bytes } : null;
}

/** Whether an address's bytes stand at `start`. Addresses of a network differ in their last bytes. */
function standsAt(address: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let at = address.length - 1; at >= 0; at--) if (address[at] !== bytes[start + at]) return false;
  return true;
}

/** Whether it is a family whose addresses have so many bytes. */
const isIp = (family: number, length: number): family is Family =>
  (family === AF_INET && length === 4) || (family === AF_INET6 && length === 16);
