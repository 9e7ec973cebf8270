import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { debianPackage, fetchTimeout, loadSamples } from "../tls/debian.ts";
import { loadNode, nodeSamples } from "../tls/node.ts";
import { capture, eventsOf, keyLogIn } from "./capture.ts";
import { OpenSsl } from "./live.ts";

const LIB = "usr/lib/x86_64-linux-gnu";
beforeAll(loadSamples, fetchTimeout);

const libraries = [
  {
    name: "the system's",
    program: "openssl",
    folder: () => `/${LIB}`,
    file: "libssl.so.3",
    object: "tls_openssl_3_0",
  },
  {
    name: "Debian 11's 1.1.1",
    program: () => join(debianPackage("bullseye", "amd64", "openssl").root, "usr/bin/openssl"),
    folder: () => join(debianPackage("bullseye", "amd64", "libssl1.1").root, LIB),
    file: "libssl.so.1.1",
    object: "tls_openssl_1_1",
  },
] as const;

describe.each(libraries)("$name libssl", ({ program, folder, file, object }) => {
  let openssl: OpenSsl;
  beforeAll(async () => {
    openssl = new OpenSsl(typeof program === "string" ? program : program(), folder());
    await openssl.certify();
  });
  afterAll(() => openssl[Symbol.dispose]());

  describe.each(["current", "old"] as const)("the %s object", (choice) => {
    test.each(["tls1_2", "tls1_3"] as const)(
      "%s: the key log's secrets, the descriptor, the role",
      async (version) => {
        const path = join(folder(), file);
        const { events, session, name } = await capture(path, choice, (poll) =>
          openssl.session(version, poll),
        );
        expect(name).toBe(choice === "old" ? `${object}_old` : object);
        for (const [random, expected] of session.keyLog) {
          for (const [side, pid] of Object.entries({
            client: session.client.pid,
            server: session.server.pid,
          })) {
            const own = eventsOf(events, random).filter(({ tgid }) => tgid === pid);
            const captured = keyLogIn(own);
            expect([side, Object.fromEntries(captured)]).toEqual([side, Object.fromEntries(expected)]);
            const last = own.at(-1);
            expect(last?.server).toBe(side === "server");
            expect(last?.version).toBe(version === "tls1_2" ? 0x0303 : 0x0304);
            if (side === "client") expect(session.client.sockets).toContain(last?.fd ?? -1);
          }
        }
        expect(session.keyLog.size).toBe(1);
      },
    );
  });

  test("TLS 1.2: the key of a session that is offered and declined is not taken for the connection's", async () => {
    const path = join(folder(), file);
    await openssl.session("tls1_2", () => {}, ["-sess_out", "session.pem"]);
    // The next server does not know the keys of the first one's tickets.
    const { events, session } = await capture(path, "current", (poll) =>
      openssl.session("tls1_2", poll, ["-sess_in", "session.pem"]),
    );
    const [[random = "", expected] = []] = session.keyLog;
    const own = eventsOf(events, random).filter(({ tgid }) => tgid === session.client.pid);
    expect(keyLogIn(own).get("CLIENT_RANDOM")).toBe(expected?.get("CLIENT_RANDOM") ?? "none");
  });

  test("TLS 1.3: an SSL object that serves another connection holds no secrets of the last one", async () => {
    const path = join(folder(), file);
    const { events, session: keyLog } = await capture(path, "current", () =>
      openssl.shake(path, folder(), 3),
    );
    expect(keyLog.size).toBe(3);
    for (const [random, expected] of keyLog) {
      const sides = Map.groupBy(eventsOf(events, random), ({ server }) => server);
      expect(sides.size).toBe(2);
      for (const [, side] of sides) {
        expect(Object.fromEntries(keyLogIn(side))).toEqual(Object.fromEntries(expected));
        // Not only in the end: what is told at any time is true.
        for (const event of side) {
          for (const [label, secret] of keyLogIn([event]))
            expect([label, secret]).toEqual([label, expected.get(label) ?? "none"]);
        }
      }
    }
  });

  test("a constant that is off by 8 shows, one that is absent is left out", async () => {
    const path = join(folder(), file);
    const { events, session } = await capture(path, "current", (poll) => openssl.session("tls1_3", poll), {
      change: (values) => {
        for (const [name, value] of values) {
          if (name.endsWith("_HANDSHAKE_SECRET")) values.set(name, (value ?? 0n) + 8n);
          if (name.endsWith("_EXPORTER_MASTER_SECRET") || name.endsWith("_RBIO") || name.endsWith("_WBIO"))
            values.set(name, null);
        }
      },
    });
    const [expected] = session.keyLog.values();
    const own = events.filter(({ tgid }) => tgid === session.client.pid);
    const captured = keyLogIn(own);
    expect(captured.get("CLIENT_HANDSHAKE_TRAFFIC_SECRET")).not.toBe(
      expected?.get("CLIENT_HANDSHAKE_TRAFFIC_SECRET"),
    );
    expect(captured.get("CLIENT_TRAFFIC_SECRET_0")).toBe(expected?.get("CLIENT_TRAFFIC_SECRET_0"));
    expect(captured.has("EXPORTER_SECRET")).toBe(false);
    expect(own.map(({ fd }) => fd)).toEqual(own.map(() => null));
  });
});

// Node keeps descriptors to itself: it hands memory to OpenSSL. Its 16 and 18 are built with +quic, of another layout than published.
const nodes = [
  { version: "12.22.12", object: "tls_openssl_1_1" },
  { version: "16.20.2", object: "tls_openssl_1_1" },
  { version: "18.20.8", object: "tls_openssl_3_0" },
  { version: "22.23.3", object: "tls_openssl_3_2" },
];
describe.each(nodes)("Node $version", ({ version: node, object }) => {
  test.each(["TLSv1.2", "TLSv1.3"])("%s: what Node's own key log says, on both sides", async (version) => {
    const sample = nodeSamples.find((one) => one.version === node && one.arch === "x64");
    if (sample === undefined) throw new Error(`no sample of Node ${node}`);
    const path = await loadNode(sample);
    using openssl = new OpenSsl();
    await openssl.certify();
    const request = () => openssl.node(path, version);
    const { events, session: keyLog, name } = await capture(path, "current", request, { allowMissing: true });
    expect(name).toBe(object);
    expect(keyLog.size).toBe(1);
    for (const [random, expected] of keyLog) {
      const own = eventsOf(events, random);
      const sides = Map.groupBy(own, ({ server }) => server);
      expect(sides.size).toBe(2);
      for (const [, side] of sides)
        expect(Object.fromEntries(keyLogIn(side))).toEqual(Object.fromEntries(expected));
      expect(own.map(({ fd }) => fd)).toEqual(own.map(() => null));
    }
  });
});
