import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { TlsEvent } from "../../../src/bytecode/events.ts";
import { Connections } from "../../../src/verify/connections.ts";

const nothing: TlsEvent = {
  tgid: 1,
  tid: 1,
  ssl: 0x1000n,
  fd: null,
  version: null,
  server: null,
  cipher_id: null,
  client_random: null,
  master_key: null,
  early_secret: null,
  handshake_secret: null,
  handshake_traffic_hash: null,
  client_app_traffic_secret: null,
  server_app_traffic_secret: null,
  exporter_master_secret: null,
  by_direction: false,
  hash_size: null,
  client_early_traffic_secret: null,
  client_handshake_traffic_secret: null,
  server_handshake_traffic_secret: null,
};
const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
const random = () => bytes(32, 7);
const sum = (secret: Uint8Array): string => createHash("sha256").update(secret).digest("hex");

test("events of one end are joined, of which the later goes first; other ends are others", () => {
  using connections = new Connections();
  connections.add({ ...nothing, client_random: random(), version: 0x0303, fd: 4 });
  connections.add({ ...nothing, client_random: random(), master_key: bytes(48, 1), fd: 5 });
  connections.add({ ...nothing, client_random: random(), tgid: 2 });
  connections.add({ ...nothing, client_random: random(), ssl: 0x2000n });
  connections.add({ ...nothing, client_random: bytes(32, 8) });
  connections.add(nothing);
  expect(connections.events).toBe(6);
  expect(connections.dropped).toBe(0);
  const [first, ...others] = connections.ends();
  expect(first).toEqual({
    random: "07".repeat(32),
    version: 0x0303,
    cipher_id: null,
    fd: 5,
    server: null,
    by_direction: false,
    secrets: new Map([["CLIENT_RANDOM", sum(bytes(48, 1))]]),
  });
  expect(others.map(({ random }) => random.slice(0, 2))).toEqual(["07", "07", "08"]);
});

test("a secret is told as its digest, cut to the hash of the cipher", () => {
  using connections = new Connections();
  const cut = { ...nothing, client_random: random(), version: 0x0304 };
  connections.add({ ...cut, cipher_id: 0x0300_1301, exporter_master_secret: bytes(64, 3) });
  connections.add({ ...cut, ssl: 1n, cipher_id: 0x0300_1302, exporter_master_secret: bytes(64, 3) });
  const sums = connections.ends().map(({ secrets }) => secrets.get("EXPORTER_SECRET"));
  expect(sums).toEqual([sum(bytes(32, 3)), sum(bytes(48, 3))]);
});

test("a secret is wiped when it is replaced, and all are in the end", () => {
  const [before, after] = [bytes(48, 1), bytes(48, 2)];
  {
    using connections = new Connections();
    connections.add({ ...nothing, client_random: random(), master_key: before });
    connections.add({ ...nothing, client_random: random(), master_key: after });
    expect(before).toEqual(bytes(48, 0));
    connections.ends();
    expect(after).toEqual(bytes(48, 2));
  }
  expect(after).toEqual(bytes(48, 0));
});
