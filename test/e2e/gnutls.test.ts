/** `verify tls` of GnuTLS: sessions that it makes with itself, and git's, whose curl has GnuTLS, against their key log. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { documentOf, executable, run, Scratch } from "./executable.ts";
import { Running, secretsIn, verifiedIn, wrongIn } from "./keylog.ts";
import { Peers } from "./peers.ts";

const library = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
const secrets = [
  "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
  "CLIENT_RANDOM",
  "CLIENT_TRAFFIC_SECRET_0",
  "EXPORTER_SECRET",
  "SERVER_HANDSHAKE_TRAFFIC_SECRET",
  "SERVER_TRAFFIC_SECRET_0",
];
const own = ["CLIENT_EARLY_TRAFFIC_SECRET", ...secrets, "random", "version"];

const scratch = new Scratch();
let peers: Peers;
beforeAll(async () => {
  peers = await Peers.start();
});
afterAll(() => {
  peers[Symbol.dispose]();
  scratch[Symbol.dispose]();
});

describe("sessions that it makes with itself", () => {
  const verify = (...flags: string[]) => {
    const result = run([executable, "verify", "tls", library, ...flags, "--format", "json"]);
    const [one, ...others] = verifiedIn(result);
    if (one === undefined || others.length > 0) throw new Error("it was not this one library");
    return { one, status: result.status };
  };

  test.each([
    { choice: "current", bytecode: "tls_gnutls" },
    { choice: "old", bytecode: "tls_gnutls_old" },
  ])("every comparison holds with the $choice object", ({ choice, bytecode }) => {
    const { one, status } = verify("--bytecode", choice);
    expect(one).toMatchObject({ path: library, bytecode, connections: 5, ends: 10, missed: 0, lost: 0 });
    expect(Object.keys(one.items).sort()).toEqual(own.toSorted());
    expect(wrongIn(one)).toEqual([]);
    expect([one.not_compared, one.not_known]).toEqual([[], []]);
    expect(status).toBe(0);
  });

  const tls13 = "GNUTLS_SESSION_INT_KEY_PROTO_TLS13";
  test.each([
    { constant: "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_CLIENT_RANDOM", item: "random" },
    { constant: "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET", item: "CLIENT_RANDOM" },
    { constant: "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF", item: "EXPORTER_SECRET" },
    { constant: "SECURITY_PARAMETERS_ST_PVERSION", item: "version" },
    { constant: "VERSION_ENTRY_ST_ID", item: "version" },
    { constant: `${tls13}_E_CKEY`, item: "CLIENT_EARLY_TRAFFIC_SECRET" },
    { constant: `${tls13}_HS_SKEY`, item: "SERVER_HANDSHAKE_TRAFFIC_SECRET" },
    { constant: `${tls13}_AP_CKEY`, item: "CLIENT_TRAFFIC_SECRET_0" },
  ])("$constant that is changed by 4: $item did not hold, and it is named", ({ constant, item }) => {
    const document = documentOf(run([executable, "tls", library, "--format", "json"]));
    const [found] = document.tls ?? [];
    const { [constant]: value } = found?.constants ?? {};
    if (found === undefined || typeof value !== "number") throw new Error(`${constant} is not known`);
    const changed = { ...found, constants: { ...found.constants, [constant]: value + 4 } };
    const constants = scratch.at("changed.json");
    writeFileSync(constants, JSON.stringify({ ...document, tls: [changed] }));
    const { one, status } = verify("--constants", constants);
    expect(status).toBe(3);
    expect(wrongIn(one)).toContain(item);
    expect(one.items[item]?.constants).toContain(constant);
  });
});

test("git's connections hold against its key log, and what is printed holds no secret", async () => {
  const keys = scratch.at("keys");
  writeFileSync(keys, "");
  const args = ["verify", "tls", library, "--against", keys, "--seconds", "600", "--format", "json"];
  const running = new Running(args);
  await running.watches();
  peers.requestByGit(keys, "1.2", "1.3", "1.3");
  running.kill("SIGINT");
  const result = await running.end();
  const [one] = verifiedIn(result);
  expect(one).toMatchObject({ path: library, connections: 3, ends: 3, missed: 0, lost: 0 });
  expect(Object.keys(one?.items ?? {}).sort()).toEqual([...secrets, "random"].toSorted());
  expect(one && wrongIn(one)).toEqual([]);
  expect(result.status).toBe(0);
  const written = `${result.stdout}${result.stderr}`.toLowerCase();
  const logged = secretsIn(keys);
  expect(logged.length).toBeGreaterThan(10);
  for (const secret of logged) expect(written).not.toContain(secret.toLowerCase());
});
