/** `verify tls --against`: connections of curl and nginx, what becomes of their secrets, and what is left behind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { LoadMaker, watchedLoad } from "../bench/verify.ts";
import { loadNode, nodeSamples } from "../unit/tls/node.ts";
import { until } from "../until.ts";
import { executable, run, Scratch } from "./executable.ts";
import { childrenOf, type Held, heldBy, stillThere } from "./held.ts";
import { Running, secretsIn, verifiedIn, wrongIn } from "./keylog.ts";
import { Peers } from "./peers.ts";

const LIBSSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
let peers: Peers;
beforeAll(async () => {
  peers = await Peers.start();
});
afterAll(() => peers[Symbol.dispose]());

const watch = (...args: string[]): readonly string[] => [
  "verify",
  "tls",
  ...args,
  "--against",
  peers.keys,
  "--format",
  "json",
];
const all = [
  "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
  "CLIENT_RANDOM",
  "CLIENT_TRAFFIC_SECRET_0",
  "EXPORTER_SECRET",
  "SERVER_HANDSHAKE_TRAFFIC_SECRET",
  "SERVER_TRAFFIC_SECRET_0",
  "random",
];

describe("connections of curl and nginx over TLS 1.2 and 1.3 hold against curl's SSLKEYLOGFILE", () => {
  test.each([
    { name: "nginx's worker alone", args: () => ["--pid", `${peers.worker}`], ends: 1 },
    { name: "every process that uses the library: both ends", args: () => [LIBSSL], ends: 2 },
    { name: "every process that uses what curl is linked with", args: () => ["/usr/bin/curl"], ends: 2 },
  ])("$name", async ({ args, ends }) => {
    const running = new Running([...watch(...args()), "--seconds", "600"]);
    await running.watches();
    peers.request("1.2", "1.3", "1.3", "1.2");
    running.kill("SIGINT");
    const result = await running.end();
    const [one, ...others] = verifiedIn(result);
    expect(others).toEqual([]);
    expect(one).toMatchObject({ path: LIBSSL, connections: 4, ends: 4 * ends, missed: 0, lost: 0 });
    expect(Object.keys(one?.items ?? {}).sort()).toEqual(all);
    for (const [item, { compared }] of Object.entries(one?.items ?? {}))
      expect([item, compared]).toEqual([item, (item === "random" ? 4 : 2) * ends]);
    expect(one && wrongIn(one)).toEqual([]);
    expect(result.status).toBe(0);
  });

  test("a connection of before that is logged late is not compared", async () => {
    using scratch = new Scratch();
    const late = scratch.at("late");
    peers.requestLogging(late, "1.2", "1.3");
    const running = new Running([...watch(LIBSSL), "--seconds", "600"]);
    await running.watches();
    appendFileSync(peers.keys, readFileSync(late));
    peers.request("1.3");
    running.kill("SIGINT");
    const result = await running.end();
    expect(verifiedIn(result)[0]).toMatchObject({ connections: 1, ends: 2, missed: 0 });
    expect(result.status).toBe(0);
  });

  test("a connection that is in the key log and was not read is missed", async () => {
    const running = new Running([...watch("--pid", `${process.pid}`, LIBSSL), "--seconds", "600"]);
    await running.watches();
    peers.request("1.3");
    running.kill("SIGTERM");
    const result = await running.end();
    const [one] = verifiedIn(result);
    expect(one).toMatchObject({ connections: 1, ends: 0, missed: 1 });
    expect(one && wrongIn(one)).toEqual(["random"]);
    expect(result.status).toBe(3);
  });
});

test("a load of handshakes: every end is read, or it is told how many were not", async () => {
  using load = new LoadMaker();
  const { made, one, status } = await watchedLoad(load, 2, 2);
  expect(made.handshakes).toBeGreaterThan(20);
  expect(wrongIn(one).filter((item) => item !== "random")).toEqual([]);
  if (one.lost === 0) expect([one.connections, one.ends]).toEqual([made.handshakes, 2 * made.handshakes]);
  expect(status).toBe(one.missed === 0 && one.lost === 0 ? 0 : 3);
});

/** What tracefs says, seen from a mount namespace of its own; empty where the kernel has none. */
const traced = (file: string): string =>
  run(["unshare", "--mount", "sh", "-c", `mount -t tracefs none /mnt && cat /mnt/${file}`]).stdout;

describe("no secret leaves", () => {
  test("what it prints, the kernel's log and its trace hold none", async () => {
    const running = new Running([...watch(LIBSSL), "--seconds", "600", "--verbose"]);
    await running.watches();
    peers.request("1.2", "1.3");
    running.kill("SIGINT");
    const { status, stdout, stderr } = await running.end();
    expect(status).toBe(0);
    const written = `${stdout}${stderr}${run(["dmesg"]).stdout}${traced("trace")}`.toLowerCase();
    const secrets = secretsIn(peers.keys);
    expect(secrets.length).toBeGreaterThan(6);
    for (const secret of secrets) {
      expect(written).not.toContain(secret.toLowerCase());
      expect(written).not.toContain(Buffer.from(secret, "hex").toString("base64"));
    }
  });

  const coresHere = !/^[|/]/.test(readFileSync("/proc/sys/kernel/core_pattern", "utf8"));
  test.skipIf(!coresHere).each(["SIGSEGV", "SIGABRT", "SIGQUIT"] as const)(
    "%s while it watches leaves no core dump, and nothing in the kernel",
    async (signal) => {
      using folder = new Scratch();
      const unlimited = ["prlimit", "--core=unlimited"];
      // That a core would be written here is shown first.
      const sleeper = Bun.spawn([...unlimited, "sleep", "600"], { cwd: folder.path });
      await until(() => readFileSync(`/proc/${sleeper.pid}/comm`, "utf8") === "sleep\n");
      sleeper.kill(signal);
      await sleeper.exited;
      expect(readdirSync(folder.path).filter((name) => name.startsWith("core"))).toHaveLength(1);

      using empty = new Scratch();
      const running = new Running([...watch(LIBSSL), "--seconds", "600"], {
        cwd: empty.path,
        prefix: unlimited,
      });
      const held = await running.watches();
      peers.request("1.2", "1.3");
      running.kill(signal);
      const { status, stdout, stderr } = await running.end();
      expect(status).not.toBe(0);
      expect(readdirSync(empty.path)).toEqual([]);
      for (const secret of secretsIn(peers.keys)) expect(`${stdout}${stderr}`).not.toContain(secret);
      expect(await stillThere(held)).toEqual([]);
    },
  );
});

describe("nothing stays attached", () => {
  const before = traced("uprobe_events");

  async function leavesNothing(held: readonly Held[]): Promise<void> {
    expect(held.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["prog", "map", "link"]));
    expect(await stillThere(held)).toEqual([]);
    expect(traced("uprobe_events")).toBe(before);
  }

  test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)("after %s", async (signal) => {
    const running = new Running([...watch(LIBSSL), "--seconds", "600"]);
    const held = await running.watches();
    running.kill(signal);
    await running.end();
    await leavesNothing(held);
  });

  test("after the end of the process that is watched, which ends it too", async () => {
    using other = await Peers.start();
    const against = ["--against", other.keys, "--format", "json", "--seconds", "3600"];
    const running = new Running(["verify", "tls", "--pid", `${other.worker}`, ...against]);
    const held = await running.watches();
    other.request("1.2", "1.3");
    other.end();
    const result = await running.end();
    expect(verifiedIn(result)[0]).toMatchObject({ connections: 2, ends: 2, missed: 0 });
    expect(result.status).toBe(0);
    await leavesNothing(held);
  });

  /** Kills the child that makes sessions while it is watched. @returns what was held then, nothing where it was over */
  async function crashed(): Promise<readonly [Running, readonly Held[]]> {
    const running = new Running(["verify", "tls", LIBSSL, "--format", "json"]);
    const isWatching = () => heldBy(running.pid).some(({ kind }) => kind === "link");
    // Beside it there may be one that asks a mount whether its server answers.
    const makesSessions = (pid: number) => !run(["cat", `/proc/${pid}/cmdline`]).stdout.includes("@ask");
    const child = await until(
      () => running.isOver || (isWatching() && childrenOf(running.pid).find(makesSessions)),
    );
    if (child === true) return [running, []];
    const held = heldBy(running.pid);
    process.kill(child, "SIGKILL");
    return [running, held];
  }

  test("after a crash of the child that makes sessions, which is told", async () => {
    // On a busy machine the child may be done before it is killed: then the next one is.
    for (let attempt = 1; ; attempt++) {
      const [running, held] = await crashed();
      const result = await running.end();
      const [one] = verifiedIn(result);
      await leavesNothing(held);
      if (one?.connections === 4 && attempt < 20) continue;
      // Where the first of its two stages was met, the second finds that its parent is gone.
      const reason = expect.stringMatching(/SIGKILL|^started by process \d+, not by/);
      expect(one).toMatchObject({ connections: 0, items: {}, reason });
      expect(result.status).toBe(3);
      return;
    }
  });
});

describe("bad input is an error that says what to do", () => {
  function refused(...args: readonly string[]) {
    const { status, stdout, stderr } = run([executable, "verify", "tls", ...args, "--format", "table"]);
    expect(stdout).toBe("");
    return { status, stderr: stderr.replaceAll(/^\[warn\] .*\n/gm, "") };
  }

  test("flags that do not go together", () => {
    expect(refused("--pid", "1")).toEqual({ status: 2, stderr: expect.stringContaining("--against FILE") });
    expect(refused("--seconds", "1").status).toBe(2);
    expect(refused("--against", peers.keys)).toEqual({
      status: 2,
      stderr: expect.stringContaining("--pid PID"),
    });
    expect(refused("--pid", "0", "--against", peers.keys).status).toBe(2);
    expect(refused(LIBSSL, "--against", peers.keys, "--seconds", "0").status).toBe(2);
  });

  test("a process that is not there", () => {
    const { status, stderr } = refused("--pid", "4194305", "--against", peers.keys);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining("no process 4194305") });
  });

  test("a process without a TLS library", async () => {
    const sleeper = Bun.spawn(["sleep", "60"]);
    const { status, stderr } = refused("--pid", `${sleeper.pid}`, "--against", peers.keys);
    sleeper.kill();
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining("named by its PATH") });
  });

  test("a process that ends without a connection", async () => {
    const sleeper = Bun.spawn(["sleep", "600"]);
    const args = ["--pid", `${sleeper.pid}`, "--against", peers.keys, "--seconds", "3600"];
    const running = new Running(["verify", "tls", LIBSSL, ...args, "--format", "table"]);
    await running.watches();
    sleeper.kill();
    const { status, stdout } = await running.end();
    expect({ status, stdout }).toEqual({ status: 3, stdout: expect.stringContaining("got no connection") });
  });

  test("a key log that is not there, is a folder, or is a device", () => {
    for (const path of ["/nonexistent", "/tmp", "/dev/zero"]) {
      const { status, stderr } = refused(LIBSSL, "--against", path);
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: expect.stringMatching(new RegExp(`${path}.*SSLKEYLOGFILE`)),
      });
    }
  });

  test("a file that is no library, and one that is not there", () => {
    for (const path of [peers.keys, "/bin/sleep", "/nonexistent"])
      expect(refused(path)).toEqual({ status: 1, stderr: expect.stringContaining(path) });
  });

  test("a key log of garbage, and one that grows too much", async () => {
    using scratch = new Scratch();
    const keys = scratch.at("keys");
    writeFileSync(keys, "");
    const garbage = Buffer.alloc(1 << 20, "CLIENT_RANDOM \u0000\u00ff zz\n\n");
    for (const { bytes, ends } of [
      { bytes: garbage, ends: { status: 3, stdout: expect.stringContaining("got no connection") } },
      { bytes: Buffer.alloc(65 << 20), ends: { status: 1, stderr: expect.stringContaining(keys) } },
    ]) {
      const running = new Running(["verify", "tls", LIBSSL, "--against", keys, "--format", "table"]);
      await running.watches();
      writeFileSync(keys, bytes, { flag: "a" });
      running.kill("SIGINT");
      expect(await running.end()).toMatchObject(ends);
    }
  });

  test("a library without the symbols of functions to watch, and without their names in errors", async () => {
    using scratch = new Scratch();
    const path = scratch.at("stripped");
    writeFileSync(path, withoutNames(readFileSync(LIBSSL)));
    const args = ["verify", "tls", path, "--against", peers.keys, "--seconds", "1", "--format", "json"];
    const result = run([executable, ...args]);
    expect(verifiedIn(result)[0]?.reason).toContain("nothing else leads to one");
    expect(result.status).toBe(3);
  });

  test("a program is watched by what leads to its functions, where it has no symbols; it cannot be loaded", async () => {
    using scratch = new Scratch();
    const sample = nodeSamples.find(({ version, arch }) => version === "16.20.2" && arch === "x64");
    if (sample === undefined) throw new Error("no sample of Node 16");
    const node = await loadNode(sample);
    const path = scratch.at("stripped");
    // OpenSSL 1.1.1 names functions in errors by numbers.
    writeFileSync(path, withoutNames(readFileSync(node)));
    const args = ["verify", "tls", path, "--against", peers.keys, "--seconds", "1", "--format", "json"];
    const [one] = verifiedIn(run([executable, ...args]));
    const data = ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex"];
    expect(one?.attached.toSorted()).toEqual(["SSL_do_handshake", ...data]);
    const result = run([executable, "verify", "tls", node, "--format", "json"]);
    expect(verifiedIn(result)[0]?.reason).toContain("--pid PID --against KEYLOG");
    expect(result.status).toBe(3);
  });
});

/** strip(1) leaves dynamic symbols: their names are overwritten. */
function withoutNames(bytes: Buffer): Buffer {
  for (let at = bytes.indexOf("\0SSL_"); at >= 0; at = bytes.indexOf("\0SSL_", at + 5))
    bytes.write("\0XXX_", at);
  return bytes;
}
