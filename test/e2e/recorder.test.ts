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
  SOL_TCP,
  shutdown,
  socket,
  TCP_INFO,
} from "../../ffi/libc.ts";
import { assetBytes } from "../../src/assets.ts";
import { Recorder } from "../../src/kernel/snapshot/recorder.ts";
import { encodeSockaddr } from "../../src/net/address.ts";
import { truthOf } from "../lab/truth.ts";
import { until } from "../until.ts";
import { documentOf, executable, run } from "./executable.ts";

const WINDOW = 4096;
const CHUNK = 256;

/** Rungs of struct sock on this machine, as the executable tells them. */
let attached: readonly string[] = [];
const offset = { skWq: 0, waiters: 0 };

beforeAll(async () => {
  attached = documentOf(run([executable, "kernel", "--format", "json"])).kernel?.attached ?? [];
  const truth = await truthOf("/sys/kernel/btf/vmlinux", ["sock.sk_wq", "socket_wq.wait.head"]);
  offset.skWq = truth.get("sock.sk_wq") ?? -1;
  offset.waiters = truth.get("socket_wq.wait.head") ?? -1;
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

    const isHere = ({ struct, kind, target }: { struct: string; kind: string; target: string }) =>
      struct === "sock" && attached.includes(`${kind}:${target}`);
    const libbpf = new Libbpf(assetBytes("libbpf.so"));
    using recorder = new Recorder(libbpf, assetBytes(`${name}.o`), (rung) =>
      isHere(rung) ? null : "not in this test",
    );
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
