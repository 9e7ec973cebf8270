import { afterAll, expect, test } from "bun:test";
import { GatewayLookup } from "../../../src/gateway/lookup.ts";
import { MetadataService } from "../../../src/gateway/metadata.ts";
import { parseQuestion } from "../../../src/gateway/question.ts";
import { TestNetwork } from "../../networks.ts";
import { hang } from "../../until.ts";

const host = new TestNetwork();
const router = new TestNetwork();
host.connect("eth0", router, "to0");
host.ip(
  "addr add 10.1.0.2/24 dev eth0",
  "addr add fd01::2/64 dev eth0 nodad",
  "route add default via 10.1.0.1",
  "route add default via fe80::1 dev eth0 src fd01::2",
);
const mac: string = JSON.parse(host.ip("link show eth0"))[0].address;
afterAll(() => {
  host[Symbol.dispose]();
  router[Symbol.dispose]();
});

const TOKEN = "AQAEAL-token==";
const about = `/latest/meta-data/network/interfaces/macs/${mac}`;
const facts: Record<string, string> = {
  [`${about}/subnet-id`]: "subnet-0123456789abcdef0\n",
  [`${about}/subnet-ipv4-cidr-block`]: "10.1.0.0/20",
  [`${about}/subnet-ipv6-cidr-blocks`]: "fd01:0:0:ff::/64\nfd01::/64",
};
type Handler = (request: Request, path: string) => Response | Promise<Response>;

/** Answers as the real service does: a token is made by PUT alone and asked of every other request. */
const instance: Handler = (request, path) => {
  if (path === "/latest/api/token") {
    const seconds = Number(request.headers.get("X-aws-ec2-metadata-token-ttl-seconds"));
    const isRight = request.method === "PUT" && seconds >= 1 && seconds <= 21_600;
    return isRight ? new Response(TOKEN) : new Response("", { status: 400 });
  }
  if (request.headers.get("X-aws-ec2-metadata-token") !== TOKEN) return new Response("", { status: 401 });
  const fact = facts[path];
  return fact === undefined ? new Response("none", { status: 404 }) : new Response(fact);
};

const never: Handler = () => new Promise<Response>(() => {});
const withToken =
  (handler: Handler): Handler =>
  (request, path) =>
    path === "/latest/api/token" ? new Response(TOKEN) : handler(request, path);

/** A metadata service on loopback; keeps what it was asked. */
class Service implements Disposable {
  readonly asked: string[] = [];
  readonly #server;
  constructor(handler: Handler, port = 0) {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port,
      idleTimeout: 0,
      fetch: (request) => {
        const { pathname } = new URL(request.url);
        this.asked.push(`${request.method} ${pathname}`);
        return handler(request, pathname);
      },
    });
  }
  get url(): URL {
    return this.#server.url;
  }
  [Symbol.dispose](): void {
    this.#server.stop(true);
  }
}

const MINUTE = 60_000;
function lookups(url: URL, milliseconds = hang) {
  const clock = { now: 0 };
  const lookup = new GatewayLookup("/proc", new MetadataService(url, milliseconds), () => clock.now);
  const ask = async (destination: string) => {
    const question = parseQuestion({ source: destination.includes(":") ? "::" : "0.0.0.0", destination });
    const { gateway, subnet, reasons } = await lookup.lookup(question, host.path);
    return { gateway, subnet, reason: reasons.subnet };
  };
  return { clock, ask, lookup, [Symbol.dispose]: () => lookup[Symbol.dispose]() };
}

test("the subnet of the interface's hardware address, asked for once with one token", async () => {
  using service = new Service(instance);
  using asking = lookups(service.url);
  const v4 = { alias: "subnet-0123456789abcdef0", cidr: "10.1.0.0/20", source: "aws" };
  expect(await asking.ask("8.8.8.8")).toEqual({
    gateway: "10.1.0.1",
    subnet: v4,
    reason: undefined,
  } as never);
  expect(service.asked).toEqual([
    "PUT /latest/api/token",
    ...Object.keys(facts).map((path) => `GET ${path}`),
  ]);
  expect(await asking.ask("9.9.9.9")).toMatchObject({ subnet: v4 });
  expect((await asking.ask("2001:db8::1")).subnet).toMatchObject({ alias: v4.alias, cidr: "fd01::/64" });
  // Routes that change do not make it ask again.
  host.ip("route add 192.0.2.0/24 via 10.1.0.7");
  expect(await asking.ask("192.0.2.1")).toMatchObject({ gateway: "10.1.0.7", subnet: v4 });
  expect(service.asked.length).toBe(4);
});

test("an interface whose hardware address changes is asked about anew", async () => {
  using changing = new TestNetwork();
  changing.connect("eth0", router, "to1");
  changing.ip("addr add 10.1.0.2/24 dev eth0", "route add default via 10.1.0.1");
  using service = new Service(withToken(() => new Response("", { status: 404 })));
  using asking = lookups(service.url);
  const question = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
  await Bun.sleep(100); // the kernel is done with a new link
  for (const address of ["02:00:00:00:00:0a", "02:00:00:00:00:0b"]) {
    await asking.lookup.lookup(question, changing.path);
    changing.ip(`link set eth0 address ${address}`);
    await asking.lookup.lookup(question, changing.path);
    expect(service.asked.at(-1)).toContain(`/macs/${address}/`);
  }
});

test("nothing is asked for a direct route", async () => {
  using service = new Service(instance);
  using asking = lookups(service.url);
  expect(await asking.ask("10.1.0.77")).toMatchObject({ gateway: null, subnet: null });
  expect(service.asked).toEqual([]);
});

test("a token that is refused is replaced once", async () => {
  let current = "first";
  using service = new Service((request, path) => {
    if (path === "/latest/api/token") return new Response(current);
    if (request.headers.get("X-aws-ec2-metadata-token") !== "second") {
      current = "second";
      return new Response("", { status: 401 });
    }
    return new Response(facts[path]);
  });
  using asking = lookups(service.url);
  expect((await asking.ask("8.8.8.8")).subnet).toMatchObject({ cidr: "10.1.0.0/20" });
  expect(service.asked.filter((request) => request.startsWith("PUT")).length).toBe(2);
});

test.each<[string, Handler, string]>([
  ["hangs", never, "did not answer within 300 ms"],
  ["hangs after the token", withToken(never), "did not answer within 300 ms"],
  [
    "begins to answer and hangs",
    withToken(() => new Response(new ReadableStream({ start: (stream) => stream.enqueue("subnet-") }))),
    "did not answer within 300 ms",
  ],
  ["has no token", () => new Response("", { status: 403 }), "answered 403 for a token"],
  [
    "refuses each token",
    withToken(() => new Response("", { status: 401 })),
    "answered 401 for /latest/meta-data/",
  ],
  [
    "does not know the interface",
    withToken(() => new Response("", { status: 404 })),
    "knows no subnet of an interface",
  ],
  ["fails", withToken(() => new Response("", { status: 500 })), "answered 500 for /latest/meta-data/"],
  ["redirects", () => Response.redirect("http://127.0.0.1:1/"), "answered 302 for a token"],
  ["answers a page", withToken(() => new Response("<html>")), 'answered what it cannot mean: "<html>"'],
  [
    "answers without end",
    withToken(() => new Response("x".repeat(1 << 20))),
    "answered more than 4096 bytes",
  ],
  ["answers a token that is no header", () => new Response("a\r\nb: c"), "answered what it cannot mean"],
  [
    "answers a network that is none",
    withToken((_, path) => new Response(path.endsWith("id") ? "subnet-1" : "10.1.0.0/33")),
    'cannot mean: "10.1.0.0/33"',
  ],
])("one that %s is asked again after a minute only", async (_, handler, message) => {
  using service = new Service(handler);
  using asking = lookups(service.url, message.endsWith("300 ms") ? 300 : hang);
  const first = await asking.ask("8.8.8.8");
  expect(first).toMatchObject({ gateway: "10.1.0.1", subnet: null });
  expect(first.reason).toStartWith(`the metadata service at ${service.url.host} `);
  expect(first.reason).toContain(message);
  const requests = service.asked.length;
  asking.clock.now = MINUTE - 1;
  expect((await asking.ask("9.9.9.9")).reason).toBe(first.reason);
  expect(service.asked.length).toBe(requests);
  asking.clock.now = MINUTE;
  await asking.ask("8.8.8.8");
  expect(service.asked.length).toBeGreaterThan(requests);
});

test("one that refuses connections may come back after a minute", async () => {
  using stopped = new Service(instance);
  const { url } = stopped;
  stopped[Symbol.dispose]();
  using asking = lookups(url);
  expect((await asking.ask("8.8.8.8")).reason).toBe(
    `the metadata service at ${url.host} cannot be asked: ECONNREFUSED`,
  );
  using service = new Service(instance, Number(url.port));
  asking.clock.now = MINUTE;
  expect((await asking.ask("8.8.8.8")).subnet).toMatchObject({ cidr: "10.1.0.0/20" });
  expect(service.asked.length).toBe(4);
});

test("loopback is not asked about, ever", async () => {
  using service = new Service(instance);
  using asking = lookups(service.url);
  using lone = new TestNetwork();
  lone.ip("route add 8.8.8.0/24 via 10.3.0.1 dev lo onlink");
  const question = parseQuestion({ source: "0.0.0.0", destination: "8.8.8.8" });
  for (const now of [0, 1e12]) {
    asking.clock.now = now;
    const { reasons } = await asking.lookup.lookup(question, lone.path);
    expect(reasons.subnet).toBe("a loopback interface is in no subnet");
  }
  expect(asking.lookup.statistics.subnets).toMatchObject({ hits: 1, misses: 1, expired: 0 });
  expect(service.asked).toEqual([]);
});
