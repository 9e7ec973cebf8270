import { beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Libbpf } from "../../ffi/libbpf.ts";
import {
  AF_INET,
  accept,
  bind,
  connect,
  getsockname,
  getsockopt,
  listen,
  SHUT_WR,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  shutdown,
  socket,
  TCP_INFO,
} from "../../ffi/socket-calls.ts";
import type { Rung, WatchedStruct } from "../../src/kernel/fields/ladder.ts";
import { chaseNamespace } from "../../src/kernel/snapshot/chase.ts";
import { type Hit, Recorder } from "../../src/kernel/snapshot/recorder.ts";
import { chase, type GuessScene } from "../../src/kernel/snapshot/sites.ts";
import { Witness } from "../../src/kernel/snapshot/witness.ts";
import { Connection, type Spectator } from "../../src/kernel/stimulus/connection.ts";
import type { ConnectionEnd } from "../../src/kernel/stimulus/facts.ts";
import { PrivateNetwork } from "../../src/kernel/stimulus/private-network.ts";
import { encodeSockaddr } from "../../src/net/address.ts";
import { TcpSocket } from "../../src/net/tcp.ts";
import { UdpSocket } from "../../src/net/udp.ts";
import { placesOf, type Solution, solve } from "../../src/offsets/solver.ts";
import { assetBytes } from "../../src/self/assets.ts";
import { truthOf } from "../lab/truth.ts";
import { until } from "../until.ts";
import { documentOf, executable, run } from "./executable.ts";

const WINDOW = 4096;
const CHUNK = 256;

/** Rungs of struct sock on this machine, as the executable tells them. */
let attached: readonly string[] = [];
const offset = { skWq: 0, waiters: 0, net: 0, cookie: 0, id: 0 };

beforeAll(async () => {
  attached = documentOf(run([executable, "kernel", "--format", "json"])).kernel?.attached ?? [];
  const members = [
    "sock.sk_wq",
    "socket_wq.wait.head",
    "sock_common.skc_net",
    "net.net_cookie",
    "net.ns.ns_id",
  ];
  const truth = await truthOf("/sys/kernel/btf/vmlinux", members);
  const [skWq = -1, waiters = -1, net = -1, cookie = -1, id = -1] = members.map(
    (member) => truth.get(member) ?? -1,
  );
  Object.assign(offset, { skWq, waiters, net, cookie, id });
});

/** A TCP connection over loopback; both ends block. */
function openConnection(owned: DisposableStack) {
  const listener = owned.use(socket(AF_INET, SOCK_STREAM));
  bind(
    listener.fd,
    encodeSockaddr({ family: AF_INET, address: Uint8Array.of(127, 0, 0, 1), port: 0 }),
    "loopback",
  );
  listen(listener.fd, 1);
  const client = owned.use(socket(AF_INET, SOCK_STREAM));
  connect(client.fd, getsockname(listener.fd), "the listener");
  return { client, server: owned.use(accept(listener.fd)) };
}

/** Of an object's rungs, that which shows struct sock on this machine. */
function openRecorder(name: string, watched: readonly WatchedStruct[] = ["sock"]): Recorder {
  const isHere = ({ struct, kind, target }: Rung) =>
    watched.includes(struct) && attached.includes(`${kind}:${target}`);
  const libbpf = new Libbpf(assetBytes("libbpf.so"));
  return new Recorder(libbpf, assetBytes(`${name}.o`), (rung) => (isHere(rung) ? null : "not in this test"));
}

/** Waits until a process sleeps in read(2) from its standard input. */
async function untilItReads(pid: number): Promise<void> {
  await until(() => {
    const [, state] = /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return state === "S" && readFileSync(`/proc/${pid}/wchan`, "utf8").includes("wait_woken");
  });
}

test.each(["socket_guess", "socket_guess_old"])(
  "%s: what lies beyond the end of mapped memory costs its own chunks, not the copy",
  async (name) => {
    using owned = new DisposableStack();
    const { server } = openConnection(owned);
    // It sleeps on the socket, so the socket's list of waiters leads to its kernel stack: 16 KiB of vmalloc'd memory,
    // which an unmapped guard page follows (CONFIG_VMAP_STACK).
    await using waiter = Bun.spawn(["cat"], { stdin: server.fd, stdout: "ignore" });
    await untilItReads(waiter.pid);

    using recorder = openRecorder(name);
    const act = () => {
      getsockopt(server.fd, SOL_TCP, TCP_INFO, new Uint8Array(8)); // for the kprobe
      shutdown(server.fd, SHUT_WR); // for the raw tracepoint
    };
    const [hit] = recorder.during(act, { sock: 1 }, [offset.skWq, offset.waiters]);
    if (hit?.target === undefined) throw new Error("the stack was not reached");

    const { bytes, readable } = hit.target;
    expect(bytes.length).toBe(WINDOW);
    const [stack, ...more] = readable;
    expect(more).toEqual([]);
    expect(stack?.start).toBe(0);
    expect(stack?.end).toBeGreaterThanOrEqual(CHUNK);
    expect(stack?.end).toBeLessThan(WINDOW);
    // The one entry of the list (wait_queue_entry.entry: next, prev) leads back to the list's head on both sides.
    const u64 = (from: Uint8Array, at: number) =>
      new DataView(from.buffer, from.byteOffset).getBigUint64(at, true);
    const head = u64(hit.bytes, offset.skWq) + BigInt(offset.waiters);
    expect([u64(bytes, 0), u64(bytes, 8)]).toEqual([head, head]);
    waiter.kill();
  },
);

/** <asm-generic/socket.h>; Linux 5.14. */
const SO_NETNS_COOKIE = 71;

test.each(["socket_guess", "socket_guess_old"])(
  "%s: what a pointer leads to is copied window by window, as far as it is looked for",
  (name) => {
    using owned = new DisposableStack();
    const recorder = owned.use(openRecorder(name));
    const sites = [0, 1].map(() => {
      const network = owned.use(new PrivateNetwork());
      const cookie = new Uint8Array(8);
      network.inside(() => {
        using any = socket(AF_INET, SOCK_STREAM);
        getsockopt(any.fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie);
      });
      const witness = new Witness(recorder, { window: 0, attempts: 1 });
      return { network, witness, cookie };
    });
    const families = { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true };
    const scene: GuessScene = { recorder, families, sites, refusals: new Map() };
    const place = (size: number) => {
      const observations = chase(scene, [offset.net], size).map(({ target }, index) => {
        expect(target.bytes.length).toBe(size);
        return {
          ...target,
          expected: new Map([["cookie", { value: sites[index]?.cookie ?? new Uint8Array() }]]),
        };
      });
      expect(observations.length).toBe(2);
      const unknown = { constant: "cookie", shape: { width: 8, align: 8 } } as const;
      return placesOf(solve([unknown], [], observations).get("cookie"));
    };
    // From 6.18 on it stands in struct net twice, in the first window (ns_common.ns_id) and behind it.
    const places = [offset.id, offset.cookie].filter((at) => at >= 0);
    expect(place(2 * WINDOW)).toEqual(places);
    expect(place(offset.cookie + 8)).toEqual(places);
    expect(place(offset.cookie)).toEqual(places.slice(0, -1));

    // A window may begin anywhere.
    for (const [skip, at] of [
      [offset.cookie, 0],
      [offset.cookie - 24, 24],
    ] as const) {
      const [site] = sites;
      using any = site?.network.inside(() => TcpSocket.open(AF_INET));
      const hit = any && site?.witness.nudge(any, [offset.net], skip);
      expect(hit?.target?.bytes.slice(at, at + 8)).toEqual(site?.cookie ?? new Uint8Array());
    }
  },
);

/** Packets and timers of others that interrupt this thread run under its name: here it does their work itself. */
test.each(["socket_guess", "socket_guess_old"])(
  "%s: what is done for another socket meanwhile is not taken for ours",
  (name) => {
    using owned = new DisposableStack();
    const recorder = owned.use(openRecorder(name, ["sock", "sk_buff"]));
    const network = owned.use(new PrivateNetwork());
    const witness = new Witness(recorder, { window: 0, attempts: 1 });

    const idle = owned.use(network.inside(() => TcpSocket.open(AF_INET)));
    const undisturbed = witness.nudge(idle);
    const { client } = openConnection(owned);
    const listen = idle.listen.bind(idle);
    idle.listen = () => {
      shutdown(client.fd, SHUT_WR);
      listen();
    };
    const disturbed = witness.nudge(idle);
    expect(disturbed?.instance).toBe(undisturbed?.instance ?? 0n);

    const senders: ConnectionEnd[] = [];
    const spectator: Spectator = {
      stability: witness.stability,
      resting: (socket, end) => witness.resting(socket, end),
      moving: (act, transitions, sender) => {
        if (sender !== undefined) senders.push(sender);
        witness.moving(act, transitions, sender);
      },
    };
    // A packet that left while others' work interrupted this thread is not kept: then the next connection's are.
    for (let attempt = 0; attempt < 20 && witness.seen("sk_buff").length === 0; attempt++) {
      const [from, to] = [network.address(AF_INET), network.address(AF_INET)];
      owned.use(network.inside(() => new Connection(AF_INET, from, to, spectator)));
    }
    const packets = witness.seen("sk_buff").length;
    expect(packets).toBeGreaterThan(0);
    const stranger = owned.use(UdpSocket.open(AF_INET));
    const peer = stranger.bind({ family: AF_INET, address: Uint8Array.of(127, 0, 0, 1) });
    stranger.connect(peer);
    witness.moving(() => stranger.send(Uint8Array.of(1)), [], senders.at(-1));
    expect(witness.seen("sk_buff").length).toBe(packets);
  },
);

/** Shows the inode number of its namespace at one more place, as a dead namespace behind it may hold it. */
class Haunted extends Witness {
  constructor(
    recorder: Recorder,
    private readonly inode: number,
    private readonly place: number,
    /** How many of the first windows are another's. */
    private strangers: number,
  ) {
    super(recorder, { window: 0, attempts: 1 });
  }

  override nudge(socket: TcpSocket, path: readonly number[] = [], skip = 0): Hit | undefined {
    const hit = super.nudge(socket, path, skip);
    if (hit?.target === undefined || path[0] !== offset.net) return hit;
    const bytes = hit.target.bytes.slice();
    const isStrange = skip === 0 && this.strangers-- > 0;
    if (isStrange) bytes.fill(0);
    const at = this.place - skip;
    if (at >= 0 && at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at, this.inode, true);
    return { ...hit, target: { ...hit.target, bytes } };
  }
}

test("where one window was another's, a dead namespace's number is not told", () => {
  using owned = new DisposableStack();
  const recorder = owned.use(openRecorder("socket_guess"));
  const families = { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true };
  const networks = [0, 1].map(() => owned.use(new PrivateNetwork()));
  const inoWhere = (strangers: number) => {
    const sites = networks.map((network, index) => ({
      network,
      witness: new Haunted(recorder, network.inode, 3 * WINDOW - 8, index === 0 ? strangers : 0),
    }));
    using connections = new DisposableStack();
    for (const { network, witness } of sites) {
      const [from, to] = [network.address(AF_INET), network.address(AF_INET)];
      connections.use(network.inside(() => new Connection(AF_INET, from, to, witness)));
    }
    const scene: GuessScene = { recorder, families, sites, refusals: new Map() };
    return new Map<string, Solution>(chaseNamespace(scene, null)).get("offset_ino");
  };
  // A third namespace, behind which no dead one holds its number, leaves the true place alone.
  expect(placesOf(inoWhere(0))).toHaveLength(1);
  expect(placesOf(inoWhere(0))).not.toContain(3 * WINDOW - 8);
  expect(inoWhere(1)).toMatchObject({ is: "open" });
});
