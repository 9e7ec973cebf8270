import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { answerBatch } from "../../../src/gateway/batch.ts";
import { capacities, GatewayLookup } from "../../../src/gateway/lookup.ts";
import { parseQuestion } from "../../../src/gateway/question.ts";
import { toJsonLine } from "../../../src/output/json.ts";
import { TestNetwork } from "../../networks.ts";

/** A host with two links to a router, and all kinds of routes. */
class Host implements Disposable {
  readonly host = new TestNetwork();
  readonly router = new TestNetwork();

  constructor() {
    this.host.connect("eth0", this.router, "to0");
    this.host.connect("eth1", this.router, "to1");
    this.host.ip(
      "addr add 10.1.0.2/24 dev eth0",
      "addr add fd01::2/64 dev eth0 nodad",
      "addr add fe80::a/64 dev eth0 nodad",
      "addr add 10.2.0.2/16 dev eth1",
      "addr add 10.2.7.2/24 dev eth1",
      "addr add 192.0.2.9/32 dev lo",
      "route add default via 10.1.0.1",
      "route add default via fe80::1 dev eth0 src fd01::2",
      "route add 2001:db8:5::/48 via fd01::5",
      "route add 198.51.100.0/24 via inet6 fe80::1 dev eth0",
      "route add unreachable 203.0.113.1",
      "route add prohibit 203.0.113.2",
      "route add blackhole 203.0.113.3",
      "route add unreachable 2001:db8:dead::1",
      "route add prohibit 2001:db8:dead::2",
      "route add blackhole 2001:db8:dead::3",
      "route add 203.0.113.64/26 nexthop via 10.1.0.3 nexthop via 10.1.0.4",
      "route add 2001:db8:66::/48 nexthop via fd01::3 nexthop via fd01::4",
      "route add default via 10.2.7.1 table 100",
      "rule add from 10.2.7.2 lookup 100",
      "rule add from 10.2.0.2 lookup 100",
    );
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
    this.router[Symbol.dispose]();
  }
}

const net = new Host();
const { host } = net;
const lookup = new GatewayLookup("/proc");
afterAll(() => {
  lookup[Symbol.dispose]();
  net[Symbol.dispose]();
});
/** A file descriptor may be closed, as the one of the listing itself is. */
function readlinkIfOpen(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

const home = readlinkSync("/proc/thread-self/ns/net");

const ask = (source: string, destination: string, on = lookup) =>
  on.lookup(parseQuestion({ source, destination }), host.path);
const index = (name: string): number => JSON.parse(host.ip(`link show ${name}`))[0].ifindex;

const taken = [
  ["10.1.0.2", "8.8.8.8"],
  ["0.0.0.0", "8.8.8.8"],
  ["0.0.0.0", "10.1.0.77"],
  ["10.2.7.2", "8.8.8.8"],
  ["10.2.0.2", "8.8.8.8"],
  ["10.2.7.2", "10.1.0.77"],
  ["192.0.2.9", "8.8.8.8"],
  ["0.0.0.0", "198.51.100.9"],
  ["fd01::2", "2001:db8::1"],
  ["::", "2001:db8::1"],
  ["::", "fd01::77"],
  ["2001:db8:9::9", "2001:db8::1"], // IPv6 does not ask whose the source is
  ["::", "2001:db8:5::1"],
  ["::", "::1"],
  ["0.0.0.0", "127.0.0.1"],
  ["0.0.0.0", "10.1.0.2"],
  ["0.0.0.0", "255.255.255.255"],
  ["0.0.0.0", "10.1.0.255"],
  ["0.0.0.0", "224.0.0.5"],
  ["10.1.0.2", "203.0.113.70"],
] as const;
const refused = [
  ["0.0.0.0", "203.0.113.1", "unreachable", "No route to host"],
  ["10.1.0.2", "203.0.113.2", "prohibit", "Permission denied"],
  ["10.1.0.2", "203.0.113.3", "blackhole", "Invalid argument"],
  ["::", "2001:db8:dead::1", "unreachable", "No route to host"],
  ["2001:db8:9::9", "2001:db8:dead::1", "unreachable", "No route to host"],
  ["fd01::2", "2001:db8:dead::2", "prohibit", "Permission denied"],
  ["fd01::2", "2001:db8:dead::3", "blackhole", "Invalid argument"],
] as const;
const questions = [
  ...taken,
  ...refused,
  ["fd01::2", "2001:db8:66::5"],
  ["192.0.2.77", "8.8.8.8"],
  ["0.0.0.0", "203.0.113.70"],
] as const;

describe("what the kernel does", () => {
  test.each(taken)("%s to %s: as ip(8) tells", async (source, destination) => {
    const from = /^[0.:]*$/.test(source) ? [] : ["from", source];
    const truth = host.routeGet(destination, ...from);
    if (typeof truth === "string") throw new Error(truth);
    const answer = await ask(source, destination);
    expect(answer.gateway).toBe(truth.gateway ?? truth.via?.host ?? null);
    expect(answer.interface).toEqual({ name: truth.dev ?? "", index: index(truth.dev ?? "") });
    const kind = answer.route === "gateway" || answer.route === "direct" ? undefined : answer.route;
    expect(kind ?? "unicast").toBe(truth.type ?? "unicast");
    expect(answer.route === "gateway").toBe(answer.gateway !== null);
    expect(Object.keys(answer.reasons).includes("gateway")).toBe(answer.gateway === null);
    expect(answer.netns).toBe(host.inode);
  });

  test.each(refused)("%s to %s is %s", async (source, destination, route, message) => {
    expect(host.routeGet(destination)).toContain(message);
    const answer = await ask(source, destination);
    expect(answer).toMatchObject({ route, gateway: null, interface: null, subnet: null });
    expect(Object.keys(answer.reasons).sort()).toEqual(["gateway", "interface", "subnet"]);
  });

  test("a source that is not the host's own is not taken for a missing route", async () => {
    expect(host.routeGet("8.8.8.8", "from", "10.9.9.9")).toContain("unreachable");
    const answer = await ask("10.9.9.9", "8.8.8.8");
    expect(answer).toMatchObject({ route: null, gateway: null });
    expect(answer.reasons.gateway).toBe("10.9.9.9 is no address of this network namespace (ENETUNREACH)");
  });

  test.each([
    ["127.0.0.1", "8.8.8.8", "eth0"],
    ["127.3.4.5", "10.1.0.9", "eth0"],
    ["127.0.0.1", "10.2.0.9", "eth1"],
  ])("a loopback source, %s to %s, may not leave by %s: no blackhole", async (source, destination, link) => {
    expect(host.routeGet(destination, "from", source)).toContain("Invalid argument");
    expect(host.routeGet(destination)).toMatchObject({ dev: link });
    const answer = await ask(source, destination);
    expect(answer).toMatchObject({ route: null, gateway: null, interface: null, subnet: null });
    expect(answer.reasons.gateway).toBe(
      `${source} may not leave by ${link}: net.ipv4.conf.${link}.route_localnet is 0 (EINVAL)`,
    );
  });

  test("a loopback source may leave where route_localnet lets it, and a blackhole stays one", async () => {
    using lone = new TestNetwork();
    using other = new TestNetwork();
    using own = new GatewayLookup("/proc");
    lone.connect("eth0", other, "eth0");
    lone.ip(
      "addr add 10.1.0.2/24 dev eth0",
      "route add default via 10.1.0.1",
      "route add blackhole default metric 4096", // never reached
      "route add blackhole 203.0.113.3",
    );
    const answer = (source: string, destination: string) =>
      own.lookup(parseQuestion({ source, destination }), lone.path);
    expect(await answer("127.0.0.1", "203.0.113.3")).toMatchObject({ route: "blackhole" });
    expect(await answer("127.0.0.1", "8.8.8.8")).toMatchObject({ route: null });
    const sysctl = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";
    expect(Bun.spawnSync(lone.command("sh", "-c", sysctl)).exitCode).toBe(0);
    lone.ip("addr add 10.1.0.3/24 dev eth0"); // the kernel tells nobody of route_localnet
    expect(lone.routeGet("8.8.8.8", "from", "127.0.0.1")).toMatchObject({ gateway: "10.1.0.1" });
    expect(await answer("127.0.0.1", "8.8.8.8")).toMatchObject({ route: "gateway", gateway: "10.1.0.1" });
    expect(await answer("127.0.0.1", "203.0.113.3")).toMatchObject({ route: "blackhole" });
  });

  test("rules refuse as routes do, and are told from them", async () => {
    using lone = new TestNetwork();
    using other = new TestNetwork();
    lone.connect("eth0", other, "eth0");
    lone.ip(
      "addr add 10.1.0.2/24 dev eth0",
      "addr add fd01::2/64 dev eth0 nodad",
      "route add default via 10.1.0.1",
      "route add default via fd01::1",
      "rule add to 198.51.100.1 blackhole",
      "rule add to 198.51.100.2 prohibit",
      "rule add to 198.51.100.3 unreachable",
      "rule add from 10.1.0.2 to 198.51.100.4 blackhole",
    );
    for (const [at, type] of ["blackhole", "prohibit", "unreachable"].entries()) {
      const rule = ["ip", "-6", "rule", "add", "to", `2001:db8::${at + 1}`, type];
      expect(Bun.spawnSync(lone.command(...rule)).exitCode).toBe(0);
    }
    for (const [source, destination, route, message, reason] of [
      ["0.0.0.0", "198.51.100.1", "blackhole", "Invalid argument", "a rule drops it in silence (EINVAL)"],
      ["0.0.0.0", "198.51.100.2", "prohibit", "Permission denied", "a rule prohibits it (EACCES)"],
      [
        "0.0.0.0",
        "198.51.100.3",
        "unreachable",
        "unreachable",
        "a rule says that it is unreachable (ENETUNREACH)",
      ],
      ["10.1.0.2", "198.51.100.4", "blackhole", "Invalid argument", "a rule drops it in silence (EINVAL)"],
      ["::", "2001:db8::1", "blackhole", "Invalid argument", "a rule drops it in silence (EINVAL)"],
      ["::", "2001:db8::2", "prohibit", "Permission denied", "a rule prohibits it (EACCES)"],
      ["::", "2001:db8::3", "unreachable", "unreachable", "a rule says that it is unreachable (ENETUNREACH)"],
    ] as const) {
      const from = /^[0.:]*$/.test(source) ? [] : ["from", source];
      expect(lone.routeGet(destination, ...from)).toContain(message);
      const answer = await lookup.lookup(parseQuestion({ source, destination }), lone.path);
      expect([destination, answer.route, answer.reasons.gateway]).toEqual([destination, route, reason]);
    }
    // The same without the rule's source.
    const open = parseQuestion({ source: "0.0.0.0", destination: "198.51.100.4" });
    expect(await lookup.lookup(open, lone.path)).toMatchObject({ route: "gateway" });
  });

  test("no route is no rule, though a route of last resort refuses others", async () => {
    using lone = new TestNetwork();
    const nowhere = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
    expect((await lookup.lookup(nowhere, lone.path)).reasons.gateway).toBe(
      "no route leads there (ENETUNREACH)",
    );
    lone.ip("route add unreachable 203.0.113.0/24");
    const refused = parseQuestion({ source: "0.0.0.0", destination: "203.0.113.7" });
    expect((await lookup.lookup(refused, lone.path)).reasons.gateway).toBe(
      "a route says that it is unreachable (EHOSTUNREACH)",
    );
    expect((await lookup.lookup(nowhere, lone.path)).reasons.gateway).toBe(
      "no route leads there (ENETUNREACH)",
    );
  });

  test("a link-local destination goes by the link that it names", async () => {
    expect(await ask("::", "fe80::1%eth0")).toMatchObject({ route: "direct", interface: { name: "eth0" } });
    expect(await ask("::", `fe80::1%${index("eth1")}`)).toMatchObject({ interface: { name: "eth1" } });
    expect(await ask("::", "ff02::1%eth1")).toMatchObject({
      route: "multicast",
      interface: { name: "eth1" },
    });
    const { route, reasons } = await ask("::", "fe80::1%nosuch");
    expect({ route, reason: reasons.gateway }).toEqual({
      route: null,
      reason: "there is no interface nosuch",
    });
  });

  test("of several next hops the one that the addresses decide is told; where more decides, none", async () => {
    const chosen = host.routeGet("203.0.113.70", "from", "10.1.0.2");
    expect(await ask("10.1.0.2", "203.0.113.70")).toMatchObject({ gateway: Object(chosen).gateway });
    const reason = "the route has 2 next hops; which one a flow takes depends on more than its addresses";
    for (const [source, destination] of [
      ["0.0.0.0", "203.0.113.71"],
      ["fd01::2", "2001:db8:66::1"],
    ] as const) {
      const answer = await ask(source, destination);
      expect(answer).toMatchObject({ route: "gateway", gateway: null, subnet: null });
      expect(answer.reasons.gateway).toBe(reason);
    }
    const policy = (value: number) =>
      Bun.spawnSync(host.command("sh", "-c", `echo ${value} > /proc/sys/net/ipv4/fib_multipath_hash_policy`));
    policy(1); // ports too
    expect((await ask("10.1.0.2", "203.0.113.72")).reasons.gateway).toBe(reason);
    policy(0);
  });
});

describe("the subnet", () => {
  test.each([
    ["10.1.0.2", "8.8.8.8", "10.1.0.0/24"],
    ["10.2.7.2", "8.8.8.8", "10.2.7.0/24"], // the narrower of two
    ["10.2.0.2", "8.8.8.8", "10.2.7.0/24"], // by the gateway: the source is in the wider one
    ["192.0.2.9", "8.8.8.8", "10.1.0.0/24"], // by the gateway: the source is another interface's
    ["0.0.0.0", "198.51.100.9", "10.1.0.0/24"], // by the source: the gateway is link-local
    ["fd01::2", "2001:db8::1", "fd01::/64"],
    ["::", "2001:db8::1", "fd01::/64"],
  ])("%s to %s leaves by %s", async (source, destination, cidr) => {
    const { subnet } = await ask(source, destination);
    expect(subnet).toEqual({ alias: null, cidr, source: "interface" });
  });

  test("a host's address alone is no subnet", async () => {
    using lone = new TestNetwork();
    using other = new TestNetwork();
    lone.connect("eth0", other, "eth0");
    lone.ip(
      "addr add 10.128.0.5/32 dev eth0",
      "route add 10.128.0.1 dev eth0",
      "route add default via 10.128.0.1",
    );
    const answer = await lookup.lookup(
      parseQuestion({ source: "10.128.0.5", destination: "8.8.8.8" }),
      lone.path,
    );
    expect(answer).toMatchObject({ gateway: "10.128.0.1", subnet: null });
    expect(answer.reasons.subnet).toContain(
      "neither the gateway 10.128.0.1 nor the source is in a subnet of eth0 (10.128.0.5/32",
    );
  });

  test("a gateway on loopback has none", async () => {
    using lone = new TestNetwork();
    lone.ip("route add 8.8.8.0/24 via 10.3.0.1 dev lo onlink");
    const answer = await lookup.lookup(
      parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" }),
      lone.path,
    );
    expect(answer).toMatchObject({ gateway: "10.3.0.1", subnet: null });
    expect(answer.reasons.subnet).toBe("a loopback interface is in no subnet");
  });
});

describe("the caches", () => {
  test("each change of the routing is seen at once, a removed interface too", async () => {
    using changing = new TestNetwork();
    using other = new TestNetwork();
    using own = new GatewayLookup("/proc");
    changing.connect("eth0", other, "eth0");
    changing.ip("addr add 10.1.0.2/24 dev eth0", "route add default via 10.1.0.1");
    const now = async () => {
      const question = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
      const { route, gateway, subnet, interface: link } = await own.lookup(question, changing.path);
      return { route, gateway, cidr: subnet?.cidr, name: link?.name };
    };
    const steps: [string[], Awaited<ReturnType<typeof now>>][] = [
      [[], { route: "gateway", gateway: "10.1.0.1", cidr: "10.1.0.0/24", name: "eth0" }],
      [
        ["route replace default via 10.1.0.9"],
        { route: "gateway", gateway: "10.1.0.9", cidr: "10.1.0.0/24", name: "eth0" },
      ],
      [
        ["addr add 10.1.0.3/28 dev eth0"],
        { route: "gateway", gateway: "10.1.0.9", cidr: "10.1.0.0/28", name: "eth0" },
      ],
      [
        ["rule add to 8.8.8.8 prohibit"],
        { route: "prohibit", gateway: null, cidr: undefined, name: undefined },
      ],
      [
        ["rule del to 8.8.8.8 prohibit"],
        { route: "gateway", gateway: "10.1.0.9", cidr: "10.1.0.0/28", name: "eth0" },
      ],
      [
        ["link set eth0 down", "link set eth0 name wan", "link set wan up", "route add default via 10.1.0.1"],
        { route: "gateway", gateway: "10.1.0.1", cidr: "10.1.0.0/28", name: "wan" },
      ],
      [["link del wan"], { route: "unreachable", gateway: null, cidr: undefined, name: undefined }],
    ];
    for (const [lines, expected] of steps) {
      if (lines.length > 0) changing.ip(...lines);
      expect(await now()).toEqual(expected);
      // A link that came up still changes for a moment; then the answer is from the cache.
      const { hits } = own.statistics.routes;
      while (own.statistics.routes.hits === hits) expect(await now()).toEqual(expected);
    }
  });

  test("a next hop that routes share is seen to change, though no route is told to", async () => {
    using changing = new TestNetwork();
    using other = new TestNetwork();
    using own = new GatewayLookup("/proc");
    changing.connect("eth0", other, "eth0");
    changing.ip(
      "addr add 10.1.0.2/24 dev eth0",
      "nexthop add id 7 via 10.1.0.7 dev eth0",
      "route add default nhid 7",
    );
    const quiet = "echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode";
    expect(Bun.spawnSync(changing.command("sh", "-c", quiet)).exitCode).toBe(0);
    const question = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
    for (const last of [7, 8, 9]) {
      changing.ip(`nexthop replace id 7 via 10.1.0.${last} dev eth0`);
      expect(await own.lookup(question, changing.path)).toMatchObject({ gateway: `10.1.0.${last}` });
      await Bun.sleep(50); // the link's own messages end, which would tell of a change too
    }
  });

  test("what is asked together is told as what is asked alone, and forgotten at a change", async () => {
    using together = new GatewayLookup("/proc");
    using changing = new TestNetwork();
    using other = new TestNetwork();
    changing.connect("eth0", other, "eth0");
    changing.ip("addr add 10.1.0.2/24 dev eth0", "route add default via 10.1.0.1");
    const asked = questions.map(([source, destination]) => ({
      question: parseQuestion({ source, destination }),
      netns: host.path,
    }));
    const late = {
      question: parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" }),
      netns: changing.path,
    };
    const nowhere = { question: late.question, netns: "/proc/self/ns/none" };
    for (const each of [asked[0], late])
      if (each !== undefined) await together.lookup(each.question, each.netns);
    changing.ip("route replace default via 10.1.0.8"); // the route that it has is no longer true
    together.expect([...asked, late, nowhere]);
    for (const [at, { question, netns }] of asked.entries()) {
      const [source, destination] = questions[at] ?? ["", ""];
      expect(await together.lookup(question, netns)).toEqual(await ask(source, destination));
    }
    expect((await together.lookup(late.question, late.netns)).gateway).toBe("10.1.0.8");
    await expect(together.lookup(nowhere.question, nowhere.netns)).rejects.toThrow("is not there");
    changing.ip("route replace default via 10.1.0.9");
    together.expect([late]);
    expect((await together.lookup(late.question, late.netns)).gateway).toBe("10.1.0.9");
  });

  test("a batch prints what lookups tell, byte for byte, whatever came before", async () => {
    using batched = new GatewayLookup("/proc");
    const order = [...questions, ...questions.toReversed(), ...questions];
    const input = order.map(([source, destination]) => `${source} ${destination}\n`).join("");
    let printed = "";
    const chunks = (async function* () {
      yield Buffer.from(input);
    })();
    const write = async (text: string) => {
      printed += text;
      return true;
    };
    await answerBatch(chunks, batched, write, host.path);
    const told = order.map(async ([source, destination], at) => ({
      line: at + 1,
      ...(await ask(source, destination)),
    }));
    expect(printed).toBe((await Promise.all(told)).map((line) => `${toJsonLine(line)}\n`).join(""));
  });

  test("they stay within their bounds", async () => {
    using own = new GatewayLookup("/proc");
    for (let at = 0; at < capacities.routes + 500; at++)
      await ask("10.1.0.2", `20.0.${at >> 8}.${at & 255}`, own);
    const { routes, interfaces, subnets } = own.statistics;
    expect(routes).toEqual({
      hits: 0,
      misses: capacities.routes + 500,
      evicted: 500,
      expired: 0,
      size: capacities.routes,
    });
    // One interface, and once more for each change of a link that just came up.
    for (const { size } of [interfaces, subnets]) expect(size).toBeLessThan(10);
    await ask("10.1.0.2", "20.0.0.0", own);
    expect(own.statistics.routes.hits).toBe(0);
  });
});

describe("network namespaces", () => {
  test("by process and by path; this thread is home again", async () => {
    for (const name of [String(host.pid), host.path]) {
      const answer = await lookup.lookup(parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" }), name);
      expect(answer.gateway).toBe("10.1.0.1");
    }
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
  });

  test.each([
    ["/proc/self/ns/mnt", "is no network namespace (EINVAL)"],
    ["/etc/passwd", "is no network namespace (EINVAL)"],
    ["/dev/zero", "is no network namespace"],
    ["/", "is no network namespace"],
    ["/nonexistent", "is not there (ENOENT)"],
    ["4294967", "is not there (ENOENT)"],
    ["eth0", "give an absolute path or a process's number"],
    ["0", "give an absolute path or a process's number"],
  ])("%s is refused, and this thread is home", async (name, message) => {
    const question = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
    await expect(lookup.lookup(question, name)).rejects.toThrow(message);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
  });

  test("what is opened is closed", async () => {
    const open = () =>
      readdirSync("/proc/self/fd")
        .map((fd) => readlinkIfOpen(`/proc/self/fd/${fd}`))
        .filter((target) => /^(socket|net):/.test(target)).length;
    const before = open();
    {
      using own = new GatewayLookup("/proc");
      await ask("10.1.0.2", "8.8.8.8", own);
      expect(open()).toBe(before + 4); // home, the namespace, and its two sockets
    }
    expect(open()).toBe(before);
  });
});
