import { SystemError } from "../../ffi/error.ts";
import { AF_INET } from "../../ffi/socket-calls.ts";
import { shownName } from "../input/name.ts";
import { type IpAddress, isSame } from "../net/address.ts";
import { formatIp } from "../net/ip-text.ts";
import { NetlinkError } from "../net/netlink.ts";
import { type Link, type RefusingType, type Route, type RouteQuestion, routeTypes } from "../net/route.ts";
import { Failure } from "../output/failure.ts";
import type { GatewayAnswer } from "../output/gateway-schema.ts";
import { Cache, type CacheStatistics } from "./cache.ts";
import { MetadataError, type MetadataService } from "./metadata.ts";
import { type AskedNetwork, Namespaces } from "./network.ts";
import { type GatewayQuestion, targetOf } from "./question.ts";
import { chooseSubnet, formatPrefix, type Prefix, type Subnet, subnetsOf } from "./subnet.ts";

const MINUTE_MS = 60_000;
/** The kernel tells of changes, so this only bounds what it does not tell of, such as a redirect. */
const ROUTE_TTL_MS = 2 * MINUTE_MS;
/** How long a subnet that could not be looked up is not looked up again. */
const NEGATIVE_TTL_MS = MINUTE_MS;

/** The first byte of 127.0.0.0/8. */
const LOOPBACK_NETWORK = 127;

/** How often a route is looked up whose interface vanishes meanwhile. */
const ATTEMPTS = 3;

/** Most entries of each cache. */
export const capacities = { routes: 10_000, interfaces: 256, subnets: 256, namespaces: 64 } as const;

/** What the routes do with a packet. */
interface Routing {
  readonly kind: GatewayAnswer["route"];
  /** The route that takes the packet; null where none does. */
  readonly route: Route | null;
  /** Why there is no gateway; undefined where there is one. */
  readonly reason?: string;
}

/** Subnets of an interface, or why they are not known. */
type Subnets = KnownSubnets | { readonly reason: string };
interface KnownSubnets {
  readonly prefixes: readonly Prefix[];
  readonly subnets: readonly Subnet[];
}

const noInterface: Subnets = { reason: "no interface to look at" };
const noGateway: Subnets = { reason: "looked up for gateways alone" };

/** All that is told of a lookup but the addresses that were asked about: the same of many questions. */
export type Way = Omit<GatewayAnswer, "source" | "destination" | "translated">;

/** A way, and all that it was told of but the routing. */
interface ToldWay {
  readonly way: Way;
  readonly link: Link | null;
  readonly subnets: Subnets;
  readonly source: IpAddress | null;
}

/** A route that is asked for together with others. */
interface ComingRoute {
  /** Of the network when it was asked: at another one, this is no longer true. */
  readonly version: number;
  /** In the cache of routes. */
  readonly key: string;
  /** Undefined where it has to be asked for alone, or is known. */
  routing?: Routing;
}

/** A question, and the network namespace it is asked in: a path or a process's number; undefined: the one this thread is in. */
export interface AskedRoute {
  readonly question: GatewayQuestion;
  readonly netns: string | undefined;
}

/** Looks up gateways in network namespaces, through bounded caches. */
export class GatewayLookup implements Disposable {
  readonly #namespaces: Namespaces;
  readonly #networks: Cache<AskedNetwork>;
  readonly #routes: Cache<Routing>;
  /** Of the questions that `expect` was told of. */
  readonly #coming = new Map<GatewayQuestion, ComingRoute>();
  readonly #ways = new WeakMap<Routing, ToldWay>();
  /** Networks whose routing was seen to be unchanged since `expect`; a lookup behind a wait looks again. */
  readonly #unchanged = new Set<AskedNetwork>();
  readonly #links: Cache<Link | null>;
  readonly #subnets: Cache<Subnets>;

  /**
   * @param procRoot where procfs is mounted whose process numbers name namespaces
   * @param cloud whom to ask for subnets instead of the interface's own addresses
   * @param now the time in milliseconds
   */
  constructor(
    procRoot: string,
    private readonly cloud?: MetadataService,
    now: () => number = () => performance.now(),
  ) {
    this.#namespaces = new Namespaces(procRoot);
    this.#networks = new Cache(capacities.namespaces, now, (network) => network[Symbol.dispose]());
    this.#routes = new Cache(capacities.routes, now);
    this.#links = new Cache(capacities.interfaces, now);
    this.#subnets = new Cache(capacities.subnets, now);
  }

  /**
   * @param netns path of a network namespace or a process's number; undefined: the one this thread is in
   * @throws Failure E_NETNS where the namespace cannot be entered; SystemError where the kernel answers what no route explains
   */
  async lookup(question: GatewayQuestion, netns?: string): Promise<GatewayAnswer> {
    const { source, destination, translated } = question;
    return {
      source: source?.text ?? null,
      destination: destination.text,
      ...(translated && { translated: translated.text }),
      ...(await this.way(question, netns)),
    };
  }

  /** What `lookup` tells but the addresses; no promise where the interface's subnets are known. @throws as `lookup` does */
  way(question: GatewayQuestion, netns?: string): Way | Promise<Way> {
    const network = this.#network(netns);
    const { version, routing, link } = this.#settled(network, question);
    const source = question.source ?? routing.route?.source ?? null;
    const subnets =
      link === null
        ? noInterface
        : gatewayOf(routing) === null
          ? noGateway
          : this.#subnetsOf(network, version, link);
    const told = (subnets: Subnets): Way => this.#told(network, routing, link, subnets, source);
    return subnets instanceof Promise ? subnets.then(told) : told(subnets);
  }

  /** The way of an earlier question where nothing differs that it depends on. */
  #told(
    { inode }: AskedNetwork,
    routing: Routing,
    link: Link | null,
    subnets: Subnets,
    source: IpAddress | null,
  ): Way {
    const known = this.#ways.get(routing);
    if (known?.link === link && known.subnets === subnets && isSame(known.source, source)) return known.way;
    const gateway = gatewayOf(routing);
    const subnet =
      link === null || gateway === null || "reason" in subnets
        ? subnets
        : this.#subnet(subnets, link, gateway, source);
    const way: Way = {
      netns: inode,
      route: routing.kind,
      gateway: gateway === null ? null : formatIp(gateway),
      interface: link === null ? null : { index: link.index, name: shownName(link.name) },
      subnet: "cidr" in subnet ? subnet : null,
      reasons: {
        ...(routing.reason !== undefined && { gateway: routing.reason }),
        ...(link === null && { interface: "no route, no interface" }),
        ...("reason" in subnet && { subnet: subnet.reason }),
      },
    };
    // Not the source's text, which may be a part of a long one.
    const kept = source && { family: source.family, address: source.address };
    this.#ways.set(routing, { way, link, subnets, source: kept });
    return way;
  }

  /**
   * Asks for the routes of questions that come next, all at once, which takes fewer calls of the kernel. A change of the
   * routing forgets them; what this cannot tell, `lookup` asks for.
   */
  expect(coming: readonly AskedRoute[]): void {
    this.#coming.clear();
    this.#unchanged.clear();
    for (const netns of new Set(coming.map((each) => each.netns))) {
      try {
        const network = this.#networks.peek(this.#namespaces.find(netns).key);
        // A network that is not open yet is opened by the first lookup.
        if (network !== undefined)
          this.#expectIn(
            network,
            coming.flatMap((each) => (each.netns === netns ? [each.question] : [])),
          );
      } catch (error) {
        // Whatever this error is, the lookup meets it as well and tells it.
        if (![Failure, NetlinkError, SystemError].some((kind) => error instanceof kind)) throw error;
      }
    }
  }

  #expectIn(network: AskedNetwork, coming: readonly GatewayQuestion[]): void {
    const { version } = network;
    this.#unchanged.add(network);
    const unknown: { readonly asked: RouteQuestion; readonly coming: ComingRoute }[] = [];
    for (const question of coming) {
      const { through } = question;
      if (typeof through === "string") continue; // a name, which has to be looked up
      const one = { version, key: keyOf(version, question) };
      this.#coming.set(question, one);
      if (this.#routes.peek(one.key) === undefined)
        unknown.push({ asked: asked(question, through), coming: one });
    }
    const { routes, hops } = network.netlink.routes(unknown.map((each) => each.asked));
    for (let at = 0; at < unknown.length; at++) {
      const [each, route, count] = [unknown[at], routes[at], hops[at]];
      if (each !== undefined && route !== undefined && count !== undefined)
        each.coming.routing = described(network, each.asked, route, count);
    }
  }

  get statistics(): Readonly<Record<keyof typeof capacities, CacheStatistics>> {
    return {
      routes: this.#routes.statistics,
      interfaces: this.#links.statistics,
      subnets: this.#subnets.statistics,
      namespaces: this.#networks.statistics,
    };
  }

  #network(netns: string | undefined): AskedNetwork {
    const { key, open } = this.#namespaces.find(netns);
    return kept(this.#networks, key, () => [open(), Number.POSITIVE_INFINITY]);
  }

  /** A route and its interface. An interface that is gone took the route with it, so the kernel is asked again. */
  #settled(
    network: AskedNetwork,
    question: GatewayQuestion,
  ): { version: number; routing: Routing; link: Link | null } {
    for (let attempt = 1; ; attempt++) {
      const version = attempt === 1 && this.#unchanged.has(network) ? network.seen : network.version;
      const routing = this.#route(network, version, question);
      const link = routing.route === null ? null : this.#link(network, version, routing.route.through);
      if (routing.route === null || link !== null) return { version, routing, link };
      const reason = `interface ${routing.route.through} was removed meanwhile`;
      if (attempt === ATTEMPTS) return { version, routing: { kind: null, route: null, reason }, link };
    }
  }

  #route(network: AskedNetwork, version: number, question: GatewayQuestion): Routing {
    const told = this.#coming.get(question);
    const coming = told?.version === version ? told : undefined;
    return kept(this.#routes, coming?.key ?? keyOf(version, question), () => [
      coming?.routing ?? routing(network, question),
      ROUTE_TTL_MS,
    ]);
  }

  /** An interface by its index; null where it was removed. */
  #link(network: AskedNetwork, version: number, index: number): Link | null {
    return kept(this.#links, `${version} ${index}`, () => [
      orNull("ENODEV", () => network.netlink.link(index)),
      ROUTE_TTL_MS,
    ]);
  }

  #subnetsOf(network: AskedNetwork, version: number, link: Link): Subnets | Promise<Subnets> {
    // What a cloud says of an interface stays true when routes change; its own addresses may be part of the change.
    const key = `${this.cloud === undefined ? version : network.inode} ${link.index} ${link.hardwareAddress}`;
    return this.#subnets.get(key) ?? this.#lookUpSubnets(network, link, key);
  }

  async #lookUpSubnets(network: AskedNetwork, link: Link, key: string): Promise<Subnets> {
    const subnets = link.isLoopback
      ? { reason: "a loopback interface is in no subnet" }
      : await this.#askSubnets(network, link);
    const isForGood = link.isLoopback || "prefixes" in subnets;
    this.#subnets.set(key, subnets, isForGood ? Number.POSITIVE_INFINITY : NEGATIVE_TTL_MS);
    return subnets;
  }

  #subnet(
    { prefixes, subnets }: KnownSubnets,
    link: Link,
    gateway: IpAddress,
    source: IpAddress | null,
  ): NonNullable<GatewayAnswer["subnet"]> | { reason: string } {
    const subnet = chooseSubnet(subnets, gateway, source);
    if (subnet === undefined) return { reason: whyNone(prefixes, link, gateway) };
    return {
      alias: subnet.alias,
      cidr: subnet.cidr,
      source: this.cloud === undefined ? "interface" : "aws",
    };
  }

  async #askSubnets({ netlink }: AskedNetwork, { index, name, hardwareAddress }: Link): Promise<Subnets> {
    try {
      if (this.cloud === undefined) {
        const own = netlink.addresses().filter((address) => address.index === index);
        return among(own.map(({ network, prefix }) => ({ network, length: prefix, alias: null })));
      }
      if (hardwareAddress === null)
        return { reason: `${shownName(name)} has no hardware address to ask the cloud for` };
      const prefixes = await this.cloud.subnets(hardwareAddress);
      this.#unchanged.clear();
      return among(prefixes);
    } catch (error) {
      const isAnswer = [MetadataError, NetlinkError, SystemError].some((kind) => error instanceof kind);
      if (isAnswer && error instanceof Error) return { reason: error.message };
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#networks.clear();
    this.#namespaces[Symbol.dispose]();
  }
}

/** The value in a cache; where there is none, the one that `make` gives together with how long it is good. */
function kept<Value>(
  cache: Cache<Value>,
  key: string,
  make: () => [value: Value, milliseconds: number],
): Value {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const [value, milliseconds] = make();
  cache.set(key, value, milliseconds);
  return value;
}

/** An errno that routes and rules which refuse packets answer with; other things than those do so too. */
interface Refusal {
  readonly type: RefusingType;
  readonly does: string;
  /** What has to be there of that type for the errno to mean a refusal. */
  readonly by: readonly ("route" | "rule")[];
}

/** fib_props of net/ipv4/fib_semantics.c, ip6_route_info_create; fib4_rule_action, __fib6_rule_action. */
const refusals: Readonly<Record<string, Refusal>> = {
  ENETUNREACH: { type: "unreachable", does: "says that it is unreachable", by: ["rule"] },
  EHOSTUNREACH: { type: "unreachable", does: "says that it is unreachable", by: ["route"] },
  EACCES: { type: "prohibit", does: "prohibits it", by: ["route", "rule"] },
  EINVAL: { type: "blackhole", does: "drops it in silence", by: ["route", "rule"] },
};

/** What one route's answer depends on. */
const keyOf = (version: number, question: GatewayQuestion): string =>
  `${version} ${question.source?.text} ${targetOf(question).text} ${question.through}`;

/** What the kernel is asked. @param through an interface's index */
const asked = (question: GatewayQuestion, through: number | undefined): RouteQuestion => ({
  destination: targetOf(question),
  source: question.source,
  through,
});

function routing(network: AskedNetwork, whole: GatewayQuestion): Routing {
  const { netlink } = network;
  const { through } = whole;
  const index = typeof through === "string" ? orNull("ENODEV", () => netlink.link(through).index) : through;
  if (index === null) return { kind: null, route: null, reason: `there is no interface ${through}` };
  const question = asked(whole, index);
  try {
    return described(network, question, netlink.route(question));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.code === "ENODEV")
      return { kind: null, route: null, reason: `there is no interface ${through}` };
    const refusal = refusals[error.code];
    if (refusal === undefined) throw error;
    return { route: null, ...refused(network, question, refusal, error.code) };
  }
}

/** Why the kernel gives no route. What it answers with says that routing refuses only where a route or a rule does. */
function refused(
  network: AskedNetwork,
  question: RouteQuestion,
  { type, does, by }: Refusal,
  code: string,
): Pick<Routing, "kind" | "reason"> {
  const source = sourceFault(network, question, code);
  if (source !== null) return { kind: null, reason: `${source} (${code})` };
  const { netlink } = network;
  const asks = {
    route: () => netlink.hasRefusingRoute(question, type),
    rule: () => netlink.hasRefusingRule(question, type),
  };
  const refuser = by.find((what) => asks[what]());
  if (refuser !== undefined) return { kind: type, reason: `a ${refuser} ${does} (${code})` };
  if (code === "ENETUNREACH") return { kind: "unreachable", reason: `no route leads there (${code})` };
  return { kind: null, reason: `the kernel answers ${code}, and no route or rule says why` };
}

/** What is wrong with an IPv4 source: the kernel looks at it before any route, and at loopback ones again behind it. */
function sourceFault(network: AskedNetwork, { source, ...rest }: RouteQuestion, code: string): string | null {
  if (source?.family !== AF_INET || !["ENETUNREACH", "EINVAL"].includes(code)) return null;
  // ip_route_output_key_hash_rcu; before Linux 5.10 EINVAL.
  if (!isLocal(network, source)) return `${formatIp(source)} is no address of this network namespace`;
  if (code !== "EINVAL" || source.address[0] !== LOOPBACK_NETWORK) return null;
  // __mkroute_output
  const link = linkWithout(network, rest);
  if (link === null || link.isLoopback || network.routesLocalnet(link.name)) return null;
  const name = shownName(link.name);
  return `${formatIp(source)} may not leave by ${name}: net.ipv4.conf.${name}.route_localnet is 0`;
}

/** The interface by which packets to a destination leave, whatever their source; null where none takes them. */
function linkWithout({ netlink }: AskedNetwork, question: RouteQuestion): Link | null {
  try {
    return netlink.link(netlink.route(question).through);
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

/** The gateway of packets that are routed like this; null where there is none, or none for certain. */
const gatewayOf = ({ route, reason }: Routing): IpAddress | null =>
  reason === undefined ? (route?.gateway ?? null) : null;

const withOneHop = new WeakMap<Route, Routing>();

/** What a route does that has one next hop at most; of one object always the same object. */
function describedAlone(route: Route): Routing {
  const known = withOneHop.get(route);
  if (known !== undefined) return known;
  const type = routeTypes[route.type];
  const routing: Routing =
    type === undefined
      ? { kind: null, route, reason: `route type ${route.type} is not known` }
      : type !== "unicast"
        ? { kind: type, route, reason: `the destination is a ${type} address` }
        : route.gateway === null
          ? { kind: "direct", route, reason: "the destination is on the link" }
          : { kind: "gateway", route };
  withOneHop.set(route, routing);
  return routing;
}

/** @param known the number of next hops; undefined: to be asked for */
function described(network: AskedNetwork, question: RouteQuestion, route: Route, known?: number): Routing {
  const alone = describedAlone(route);
  if (alone.kind !== "gateway") return alone;
  const hops = known ?? network.netlink.nextHops(question);
  const isCertain = hops === 1 || (question.source?.family === AF_INET && network.choosesByAddresses());
  if (isCertain) return alone;
  const reason = `the route has ${hops} next hops; which one a flow takes depends on more than its addresses`;
  return { kind: "gateway", route, reason };
}

/** Whether packets to an address are delivered to this very network namespace. */
function isLocal({ netlink }: AskedNetwork, destination: IpAddress): boolean {
  try {
    return routeTypes[netlink.route({ destination }).type] === "local";
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

const among = (prefixes: readonly Prefix[]): Subnets => ({ prefixes, subnets: subnetsOf(prefixes) });

function whyNone(prefixes: readonly Prefix[], { name }: Link, gateway: IpAddress): string {
  const known = prefixes.slice(0, 8).map(formatPrefix);
  return `neither the gateway ${formatIp(gateway)} nor the source is in a subnet of ${shownName(name)} (${known.join(", ") || "none"})`;
}

/** What `act` gives, or null where it throws this errno. */
function orNull<Result>(errno: string, act: () => Result): Result | null {
  try {
    return act();
  } catch (error) {
    if (error instanceof SystemError && error.code === errno) return null;
    throw error;
  }
}
