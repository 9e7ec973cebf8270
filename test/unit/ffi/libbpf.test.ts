import { beforeAll, describe, expect, test } from "bun:test";
import { ClosedError } from "../../../ffi/error.ts";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { socketEvent } from "../../../src/bytecode/events.ts";
import { bakeEmbedded } from "../../../src/bytecode/objects.ts";
import { assetBytes } from "../../../src/self/assets.ts";

const OBJECT = "socket_guess.o";
let libbpf: Libbpf;

beforeAll(() => {
  libbpf = new Libbpf(assetBytes("libbpf.so"));
});

describe("an eBPF object", () => {
  test("loads, shares its maps, and is gone when closed", () => {
    const object = libbpf.openObject(assetBytes(OBJECT), "socket_guess");
    object.program("kprobe_tcp_getsockopt").setAutoload(false);
    object.load();
    const map = object.map("controls");
    const value = crypto.getRandomValues(new Uint8Array(map.valueSize));
    {
      using mapped = map.share();
      mapped.write(0, value);
    }
    expect(map.mmapable).toBe(true);
    expect(map.lookup(0)).toEqual(value); // by system call, what was written through the mapping
    expect(() => map.update(0, new Uint8Array(3))).toThrow(`holds values of ${map.valueSize} bytes, not 3`);
    object[Symbol.dispose]();
    object[Symbol.dispose]();
    expect(() => map.lookup(0)).toThrow(ClosedError);
    expect(() => object.program("raw_tp_inet_sock_set_state")).toThrow(ClosedError);
  });

  test("without BPF_F_MMAPABLE its maps are read and written by system calls", () => {
    using object = libbpf.openObject(assetBytes("socket_guess_old.o"), "socket_guess_old");
    object.program("kprobe_tcp_getsockopt").setAutoload(false);
    const map = object.map("slots");
    object.load();
    expect(map.mmapable).toBe(false);
    using shared = map.share();
    const value = crypto.getRandomValues(new Uint8Array(map.valueSize));
    shared.write(3, value);
    expect(shared.read(3)).toEqual(value);
    expect(shared.read(2)).toEqual(new Uint8Array(map.valueSize));
    shared[Symbol.dispose]();
    expect(() => shared.read(3)).toThrow(ClosedError);
    expect(() => shared.write(3, value)).toThrow(ClosedError);
  });

  test("what the verifier refuses shows why", () => {
    const bytes = Buffer.from(assetBytes(OBJECT));
    // `call bpf_probe_read_kernel` (helper 113) becomes a call of a helper that no kernel has.
    const [call, unknown] = [113, 65535].map((helper) => Buffer.from(Uint32Array.of(0x85, helper).buffer));
    if (call === undefined || unknown === undefined) throw new Error("two instructions");
    for (let at = bytes.indexOf(call); at >= 0; at = bytes.indexOf(call, at)) bytes.set(unknown, at);
    using object = libbpf.openObject(bytes, "spoiled");
    object.program("kprobe_tcp_getsockopt").setAutoload(false);
    expect(() => object.load()).toThrow(
      /^load eBPF object spoiled: EINVAL; [\s\S]*invalid func unknown#65535/,
    );
  });

  test("what is no object, no program, no map or no tracepoint is an error that names it", () => {
    expect(() => libbpf.openObject(new Uint8Array(100), "noise")).toThrow("open eBPF object noise: ");
    using object = libbpf.openObject(assetBytes(OBJECT), "socket_guess");
    expect(() => object.program("absent")).toThrow("find program absent in socket_guess: ENOENT");
    expect(() => object.map("absent")).toThrow("find map absent in socket_guess: ENOENT");
    object.program("kprobe_tcp_getsockopt").setAutoload(false);
    object.load();
    const program = object.program("raw_tp_inet_sock_set_state");
    expect(() => program.attachRawTracepoint("no_such_event")).toThrow("to raw_tp:no_such_event: ENOENT");
  });

  test("its messages go where they are asked to, and nowhere else", () => {
    const said: string[] = [];
    const talking = new Libbpf(assetBytes("libbpf.so"), (message) => said.push(message));
    talking.openObject(assetBytes(OBJECT), "traced")[Symbol.dispose]();
    expect(said.join("\n")).toContain("loading object 'traced' from buffer");
  });
});

describe.each([
  ["a ring buffer", "socket_reader"],
  ["a perf buffer", "socket_reader_old"],
])("%s", (_what, name) => {
  /** Runs a connection, which changes the states of its sockets, under a program that sends an event for each. */
  function connect(): void {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    listener.stop(true);
  }
  function loaded() {
    const values = new Map([["offset_family", 16n]]); // sock_common.skc_family; no other member is read
    const object = libbpf.openObject(bakeEmbedded(name, values), name);
    object.load();
    return {
      object,
      link: object.program("raw_tp_inet_sock_set_state").attachRawTracepoint("inet_sock_set_state"),
    };
  }

  test("that is a ring has as many bytes as it was given before it was loaded", () => {
    using object = libbpf.openObject(bakeEmbedded(name, new Map()), name);
    const events = object.map("events");
    const isRing = !name.endsWith("_old");
    events.enlarge(1 << 22);
    object.load();
    expect(events.maxEntries === 1 << 22).toBe(isRing);
    if (isRing) expect(() => events.enlarge(1 << 23)).toThrow("EBUSY");
  });

  test("hands on every record, and what its receiver throws", () => {
    const { object, link } = loaded();
    using _object = object;
    using _link = link;
    const records: Uint8Array[] = [];
    using reader = object.map("events").events((record) => records.push(record));
    expect(records).toEqual([]);
    connect();
    reader.consume();
    expect(records.length).toBeGreaterThan(0);
    expect(records[0]?.length).toBeGreaterThanOrEqual(socketEvent.size);
    expect(reader.lost).toBe(0);
    reader[Symbol.dispose]();
    using angry = object.map("events").events(() => {
      throw new Error("not now");
    });
    connect();
    expect(() => angry.consume()).toThrow("not now");
    expect(() => angry.consume()).not.toThrow();
  });

  test("used after it was closed it throws", () => {
    const { object, link } = loaded();
    using _object = object;
    using _link = link;
    const reader = object.map("events").events(() => {});
    reader[Symbol.dispose]();
    reader[Symbol.dispose]();
    expect(() => reader.consume()).toThrow(ClosedError);
  });
});

test("a uprobe on a file that is not there is an error that names it", () => {
  using object = libbpf.openObject(bakeEmbedded("tls_openssl_3_0", new Map()), "tls_openssl_3_0");
  object.load();
  const program = object.program("uprobe_SSL_read");
  expect(() => program.attachUprobe("/no/such/libssl.so", 0x10)).toThrow(
    "uprobe:/no/such/libssl.so+0x10: ENOENT",
  );
});
