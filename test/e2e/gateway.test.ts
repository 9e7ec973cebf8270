import { afterAll, describe, expect, test } from "bun:test";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { failureSchema } from "../../src/output/failure.ts";
import { gatewayDocumentSchema, gatewayLineSchema } from "../../src/output/gateway-schema.ts";
import { TestNetwork } from "../networks.ts";
import { jsonOf } from "../schema.ts";
import { hang } from "../until.ts";
import { errorOf, executable, type Run, repository, run, Scratch } from "./executable.ts";

const host = new TestNetwork();
const router = new TestNetwork();
host.connect("eth0", router, "to0");
host.ip(
  "addr add 10.1.0.2/24 dev eth0",
  "addr add fd01::2/64 dev eth0 nodad",
  "route add default via 10.1.0.1",
  "route add default via fd01::1",
  "route add unreachable 203.0.113.1",
);
afterAll(() => {
  host[Symbol.dispose]();
  router[Symbol.dispose]();
});

const gateway = (...args: string[]) => run([executable, "gateway", ...args]);
const inHost = (...args: string[]) => gateway("--netns", host.path, ...args);
const answerOf = ({ stdout }: Run) => v.parse(gatewayDocumentSchema, jsonOf("gateway", stdout)).gateway;

/** Runs a batch; its lines are checked against the schema. */
async function batch(input: string, ...args: string[]) {
  const child = Bun.spawn([executable, "gateway", "--batch", "--netns", host.path, ...args], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    env: {},
    timeout: hang,
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const lines = stdout.split("\n").slice(0, -1);
  return {
    status: await child.exited,
    lines: lines.map((line) => v.parse(gatewayLineSchema, jsonOf("gateway-line", line))),
    stderr,
  };
}

describe("one lookup", () => {
  test("a loopback source to a host elsewhere: the kernel refuses the source, and no route is a blackhole", () => {
    expect(host.ip("route show table all")).not.toContain("blackhole");
    expect(host.routeGet("8.8.8.8", "from", "127.0.0.1")).toContain("Invalid argument");
    const result = inHost("127.0.0.1", "8.8.8.8");
    expect(result.status).toBe(3);
    expect(answerOf(result)).toMatchObject({
      route: null,
      gateway: null,
      reasons: { gateway: expect.stringContaining("127.0.0.1 may not leave by eth0") },
    });
  });

  test("a packet to elsewhere leaves by the default gateway, in the subnet that the gateway is in", () => {
    const result = inHost("10.1.0.2", "8.8.8.8");
    expect({ status: result.status, stderr: result.stderr }).toEqual({ status: 0, stderr: "" });
    expect(answerOf(result)).toEqual({
      source: "10.1.0.2",
      destination: "8.8.8.8",
      netns: host.inode,
      route: "gateway",
      gateway: "10.1.0.1",
      interface: { index: JSON.parse(host.ip("link show eth0"))[0].ifindex, name: "eth0" },
      subnet: { alias: null, cidr: "10.1.0.0/24", source: "interface" },
      reasons: {},
    });
  });

  test("IPv6 is looked up too, a namespace may be named by a process, and an IPv4-mapped address is the IPv4 one", () => {
    expect(answerOf(gateway("::", "2001:db8::1", "--netns", String(host.pid)))).toMatchObject({
      gateway: "fd01::1",
      subnet: { cidr: "fd01::/64" },
    });
    expect(answerOf(inHost("::ffff:10.1.0.2", "8.8.8.8"))).toMatchObject({
      source: "10.1.0.2",
      gateway: "10.1.0.1",
    });
  });

  test("without --netns, in the namespace it runs in; no privilege is needed", () => {
    using scratch = new Scratch();
    run(["cp", executable, scratch.at("offsetof")]);
    run(["chmod", "755", scratch.path]);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const ask = [scratch.at("offsetof"), "gateway", "10.1.0.2", "8.8.8.8"];
    expect(answerOf(run(host.command(...nobody, ...ask)))).toMatchObject({
      gateway: "10.1.0.1",
      netns: host.inode,
    });
    const entered = run([...nobody, ...ask, "--netns", host.path]);
    expect({ status: entered.status, stdout: entered.stdout }).toEqual({ status: 4, stdout: "" });
    expect(errorOf(entered)).toEqual({
      code: "E_NETNS",
      message: expect.stringContaining("needs CAP_SYS_ADMIN"),
    });
  });

  test("with --translated the route is that of the address which NAT puts in place of the destination", () => {
    const translated = inHost("10.1.0.2", "10.96.0.1", "--translated", "10.1.0.44");
    expect(answerOf(translated)).toMatchObject({
      destination: "10.96.0.1",
      translated: "10.1.0.44",
      route: "direct",
      gateway: null,
    });
    expect(answerOf(inHost("10.1.0.2", "10.96.0.1"))).toMatchObject({ gateway: "10.1.0.1" });
  });

  test.each([
    ["0.0.0.0", "10.1.0.7", "direct", 0],
    ["0.0.0.0", "127.0.0.1", "local", 0],
    ["0.0.0.0", "224.0.0.1", "multicast", 0],
    ["0.0.0.0", "203.0.113.1", "unreachable", 0],
    ["10.9.9.9", "8.8.8.8", null, 3],
  ] as const)("%s to %s is %p: exit %d", (source, destination, route, status) => {
    const result = inHost(source, destination);
    expect(result.status).toBe(status);
    expect(answerOf(result)).toMatchObject({
      route,
      gateway: null,
      reasons: { gateway: expect.any(String) },
    });
  });

  test("a table for people has the same answer", () => {
    const { stdout } = inHost("10.1.0.2", "8.8.8.8", "--format", "table");
    expect(stdout).toContain("\ngateway      10.1.0.1\n");
    expect(stdout).toContain("\nsubnet       10.1.0.0/24 by interface\n");
    const { stdout: direct } = inHost("10.1.0.2", "10.1.0.3", "--format", "table");
    expect(direct).toMatch(/\ngateway +- +the destination is on the link\n/);
  });

  test.each([
    [[], "gateway takes SRC and DST"],
    [["10.0.0.1"], "gateway takes SRC and DST"],
    [["10.0.0.1", "10.0.0.2", "10.0.0.3"], "gateway takes SRC and DST"],
    [["10.0.0.1", "::1"], "two families"],
    [["10.0.0.1", "host.example"], "no IP address"],
    [["10.0.0.1", "10.0.0.2", "--imds", "http://127.0.0.1"], "--imds needs --cloud"],
    [["10.0.0.1", "10.0.0.2", "--cloud", "gcp"], "aws"],
    [["10.0.0.1", "10.0.0.2", "--cloud", "aws", "--imds", "file:///etc/passwd"], "an http or https URL"],
    [
      ["10.0.0.1", "10.0.0.2", "--cloud", "aws", "--imds", "http://user:secret@127.0.0.1"],
      "an http or https URL",
    ],
    [["10.0.0.1", "10.0.0.2", "--netns", "eth0"], "an absolute path or a process's number"],
    [["--batch", "10.0.0.1", "10.0.0.2"], "from stdin"],
    [["--batch", "--format", "table"], "prints JSON alone"],
    [["--batch", "--translated", "10.0.0.1"], "for one lookup"],
    [["--netn", "1"], "did you mean"],
  ])("%p is wrong usage", (args, message) => {
    const { status, stdout, stderr } = gateway(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(JSON.stringify(message).slice(1, -1));
  });

  test("what is no network namespace: exit 1", () => {
    using scratch = new Scratch();
    run(["mkfifo", scratch.at("pipe")]); // to open it would wait for a writer
    for (const path of ["/etc/passwd", "/nonexistent", "/dev/null", scratch.at("pipe")]) {
      const { status, stdout, stderr } = gateway("0.0.0.0", "10.0.0.1", "--netns", path);
      expect({ status, stdout, code: v.parse(failureSchema, jsonOf("error", stderr)).code }).toEqual({
        status: 1,
        stdout: "",
        code: "E_NETNS",
      });
    }
  });
});

describe("the metadata service", () => {
  const mac: string = JSON.parse(host.ip("link show eth0"))[0].address;
  const about = `/latest/meta-data/network/interfaces/macs/${mac}`;
  const facts: Record<string, string> = {
    "/latest/api/token": "token",
    [`${about}/subnet-id`]: "subnet-0a1b2c3d",
    [`${about}/subnet-ipv4-cidr-block`]: "10.1.0.0/20",
  };
  /** Runs one lookup while this process serves. */
  async function ask(
    handler: (path: string) => Response | Promise<Response>,
    env: Record<string, string> = {},
  ) {
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => handler(new URL(request.url).pathname),
    });
    const lookup = ["10.1.0.2", "8.8.8.8", "--netns", host.path, "--cloud", "aws"];
    const child = Bun.spawn([executable, "gateway", ...lookup, "--imds", server.url.origin], {
      stdout: "pipe",
      stderr: "pipe",
      env,
      timeout: hang,
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { stdout, stderr, status: await child.exited };
  }
  const instance = (path: string) => new Response(facts[path] ?? "", { status: path in facts ? 200 : 404 });

  test("answers, and no proxy of the environment is asked instead", async () => {
    let asked = 0;
    using proxy = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(`${++asked}`) });
    const url = proxy.url.origin;
    const proxies = { http_proxy: url, HTTP_PROXY: url, https_proxy: url, HTTPS_PROXY: url, ALL_PROXY: url };
    const result = await ask(instance, proxies);
    expect({ status: result.status, stderr: result.stderr, asked }).toEqual({
      status: 0,
      stderr: "",
      asked: 0,
    });
    expect(answerOf(result).subnet).toEqual({ alias: "subnet-0a1b2c3d", cidr: "10.1.0.0/20", source: "aws" });
  });

  test("hangs: the gateway is told all the same, the subnet is null, exit 3", async () => {
    const result = await ask(() => new Promise<Response>(() => {}));
    expect(result.status).toBe(3);
    expect(answerOf(result)).toMatchObject({ gateway: "10.1.0.1", subnet: null });
    expect(answerOf(result).reasons.subnet).toContain("did not answer within 2000 ms");
  });

  test("redirects: it is not followed", async () => {
    const paths: string[] = [];
    const result = await ask((path) => {
      paths.push(path);
      return new Response("", { status: 307, headers: { location: "/elsewhere" } });
    });
    expect(answerOf(result).reasons.subnet).toContain("answered 307 for a token");
    expect(paths).toEqual(["/latest/api/token"]);
  });

  test("refuses: the subnet is null with the reason", () => {
    const result = inHost("10.1.0.2", "8.8.8.8", "--cloud", "aws", "--imds", "http://127.0.0.1:1");
    expect(result.status).toBe(3);
    expect(answerOf(result).reasons.subnet).toContain(
      "the metadata service at 127.0.0.1:1 cannot be asked: ",
    );
  });
});

describe("a batch", () => {
  test("lines that are wrong are answered with what is wrong, the rest go on", async () => {
    using other = new TestNetwork();
    const long = "1".repeat(10_000);
    const input = [
      "10.1.0.2 8.8.8.8",
      "",
      "nonsense",
      "10.1.0.2 ::1",
      `  0.0.0.0\t10.1.0.9  ${host.pid}\r`,
      `0.0.0.0 8.8.8.8 ${other.path}`,
      "0.0.0.0 8.8.8.8 /no such file",
      long,
      `10.1.0.2 ${"1".repeat(4300)}`,
      "\0\x1b[2J \xff",
      ":: 2001:db8::1",
    ];
    const { status, lines, stderr } = await batch(input.join("\n"));
    expect(status).toBe(3);
    expect(lines).toMatchObject([
      { line: 1, gateway: "10.1.0.1" },
      { line: 3, code: "E_LINE", message: "expected SRC DST [NETNS]" },
      { line: 4, code: "E_ADDRESS" },
      { line: 5, route: "direct" },
      { line: 6, route: "unreachable", netns: other.inode },
      { line: 7, code: "E_NETNS", message: "/no such file is not there (ENOENT)" },
      { line: 8, code: "E_LINE", message: "longer than 4352 bytes" },
      { line: 9, code: "E_ADDRESS" },
      { line: 10, code: "E_ADDRESS" },
      { line: 11, gateway: "fd01::1" },
    ]);
    expect(JSON.parse(stderr)).toMatchObject({
      lines: 10,
      errors: 6,
      incomplete: 0,
      caches: { namespaces: { size: 2 } },
    });
    expect((await batch("10.1.0.2 8.8.8.8\n", "--quiet")).stderr).toBe("");
  });

  test("100,000 lookups, each as ip(8) tells, with a bounded cache", async () => {
    host.ip("route add 20.0.0.0/9 via 10.1.0.7", "route add 20.3.0.0/16 via 10.1.0.8");
    const destinations = Array.from(
      { length: 100_000 },
      (_, at) => `20.${at % 7}.${(at >> 8) & 255}.${(at * 37) & 255}`,
    );
    const { status, lines, stderr } = await batch(destinations.map((each) => `10.1.0.2 ${each}\n`).join(""));
    expect(status).toBe(0);
    const script = destinations.map((each) => `route get ${each} from 10.1.0.2`).join("\n");
    const truth = Bun.spawnSync(host.command("ip", "-batch", "-"), {
      stdin: Buffer.from(script),
    }).stdout.toString();
    const gateways = [...truth.matchAll(/ via (\S+) /g)].map(([, via]) => via);
    expect(lines.map((line) => ("gateway" in line ? line.gateway : line.message))).toEqual(
      gateways as string[],
    );
    const { caches } = JSON.parse(stderr);
    expect(caches.routes.size).toBe(10_000);
    expect(caches.routes.hits + caches.routes.misses).toBe(100_000);
    // Once, and once more for each change of a link that just came up.
    expect(caches.subnets.misses).toBeLessThan(10);
    expect(caches.subnets.hits + caches.subnets.misses).toBe(100_000);
  });

  test("each line is answered as it comes", async () => {
    const child = Bun.spawn([executable, "gateway", "--batch", "--netns", host.path], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    const reader = child.stdout.getReader();
    for (const last of [7, 8]) {
      child.stdin.write(`0.0.0.0 10.1.0.${last}\n`);
      child.stdin.flush();
      const { value } = await reader.read();
      expect(jsonOf("gateway-line", new TextDecoder().decode(value))).toMatchObject({
        destination: `10.1.0.${last}`,
      });
    }
    child.stdin.end();
    expect(await child.exited).toBe(0);
  });

  test("a slow reader holds it back", () => {
    const batched = `${executable} gateway --batch --netns ${host.path}`;
    // Nothing is taken from it until it has read much of its input, and no more of it for a while. Its own threads read too.
    const script = `yes 10.1.0.2 8.8.8.8 | { echo $BASHPID > $0; exec ${batched}; } | {
      until pid=$(cat $0 2> /dev/null) && [ -n "$pid" ]; do sleep 0.1; done
      has_read() { sed -n 's/^rchar: //p' /proc/$pid/io; }
      until early=$(has_read); sleep 0.5; [ $early -gt 60000 ] && [ $(($(has_read) - early)) -lt 4096 ]; do :; done
      grep VmRSS /proc/$pid/status; head -n 1; }`;
    using scratch = new Scratch();
    const { stdout } = run(["bash", "-c", script, scratch.at("pid")]);
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(stdout)?.[1])).toBeLessThan(100_000);
  });

  test.each(["yes 10.1.0.2 8.8.8.8", "while echo 10.1.0.2 8.8.8.8; do sleep 0.01; done"])(
    "a reader that went away ends it, quietly, though its input goes on: %s",
    (input) => {
      const batched = `${executable} gateway --batch --quiet --netns ${host.path}`;
      const script = `{ ${input}; } 2> /dev/null | { ${batched}; echo "status $?" >&2; } | head -n 1`;
      const { stdout, stderr } = run(["bash", "-c", script]);
      expect(jsonOf("gateway-line", stdout)).toMatchObject({ gateway: "10.1.0.1" });
      expect(stderr).toBe("status 0\n");
    },
  );

  test("a line without end is not kept", () => {
    using scratch = new Scratch();
    const input = "head -c 200000000 /dev/zero; sleep 0.5; grep VmHWM /proc/$(cat $0)/status >&2";
    const script = `{ ${input}; } | { echo $BASHPID > $0; exec ${executable} gateway --batch --quiet; }`;
    const { stdout, stderr } = run(["bash", "-c", script, scratch.at("pid")]);
    expect(jsonOf("gateway-line", stdout)).toEqual({
      line: 1,
      code: "E_LINE",
      message: "longer than 4352 bytes",
    });
    expect(Number(/VmHWM:\s+(\d+) kB/.exec(stderr)?.[1])).toBeLessThan(120_000);
  });

  test("a thread that cannot come home ends the run: it would look in the wrong namespace", () => {
    const input = `127.0.0.1 127.0.0.1\\n10.1.0.2 8.8.8.8 ${host.path}\\n127.0.0.1 127.0.0.1\\n`;
    const barred = "strace -qq -o /dev/null -e trace=setns -e inject=setns:error=EPERM:when=2";
    const { stdout, stderr, status } = run([
      "bash",
      "-c",
      `set -o pipefail; printf '${input}' | ${barred} ${executable} gateway --batch`,
    ]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(v.parse(failureSchema, jsonOf("error", stderr)).message).toBe(
      "this thread cannot return to its own network namespace",
    );
  });

  test("an input that cannot be read is a failure", () => {
    const { status, stderr } = run(["bash", "-c", `${executable} gateway --batch < /`]);
    expect({ status, stderr: jsonOf("error", stderr) }).toMatchObject({
      status: 1,
      stderr: { code: expect.any(String) },
    });
  });

  test("no input, no answer", async () => {
    expect(await batch("")).toMatchObject({ status: 0, lines: [] });
  });
});

test("the recipes of docs/gateway.md print what it says", async () => {
  const page = await Bun.file(join(repository, "docs/gateway.md")).text();
  const [, block = ""] = /```console\n(.*?)```/s.exec(page) ?? [];
  const recipes = block.split(/^\$ /m).slice(1);
  expect(recipes.length).toBe(3);
  for (const recipe of recipes) {
    const [command = "", ...printed] = recipe.split("\n");
    const env = { PATH: `${dirname(executable)}:/usr/sbin:/usr/bin:/sbin:/bin` };
    const { stdout, stderr } = run(host.command("sh", "-c", command), { env });
    expect({ stdout, stderr }).toEqual({ stdout: printed.join("\n"), stderr: "" });
  }
});
