import { describe, expect, test } from "bun:test";
import { compareConnections, type Expected, surelyWatched } from "../../../src/verify/compare.ts";
import type { ReadEnd } from "../../../src/verify/connections.ts";

const RANDOM = "aa".repeat(32);
/** Constants of an OpenSSL 3.0 object; their values do not matter here, only which are known. */
const values = new Map<string, bigint | null>(
  [
    "SSL_ST_VERSION",
    "SSL_ST_SESSION",
    "SSL_ST_RBIO",
    "SSL_ST_WBIO",
    "SSL_ST_SERVER",
    "SSL_ST_S3_CLIENT_RANDOM",
    "SSL_ST_HANDSHAKE_SECRET",
    "SSL_ST_HANDSHAKE_TRAFFIC_HASH",
    "SSL_ST_CLIENT_APP_TRAFFIC_SECRET",
    "SSL_ST_SERVER_APP_TRAFFIC_SECRET",
    "SSL_ST_EXPORTER_MASTER_SECRET",
    "SSL_SESSION_ST_MASTER_KEY",
    "SSL_SESSION_ST_CIPHER",
    "SSL_SESSION_ST_CIPHER_ID",
    "SSL_CIPHER_ST_ID",
    "BIO_ST_NUM",
    "BIO_ST_METHOD",
    "BIO_METHOD_ST_TYPE",
  ].map((name) => [name, 8n]),
);
const secrets = new Map([
  ["CLIENT_TRAFFIC_SECRET_0", "c"],
  ["SERVER_TRAFFIC_SECRET_0", "s"],
]);
const session: Expected = {
  random: RANDOM,
  version: 0x0304,
  cipher_id: 0x0300_1301,
  fds: { client: 4, server: 5 },
  ends: 2,
  secrets,
};
const end = { random: RANDOM, version: 0x0304, cipher_id: 0x0300_1301, by_direction: false, secrets };
const client: ReadEnd = { ...end, fd: 4, server: false };
const server: ReadEnd = { ...end, fd: 5, server: true };
const compare = (read: readonly ReadEnd[], expected: Expected = session, known = values) =>
  compareConnections([expected], read, known);
const wrong = (read: readonly ReadEnd[], expected?: Expected) =>
  compare(read, expected).comparisons.filter(({ held }) => !held);

test("both ends as they should be: everything holds", () => {
  const { comparisons, ends, missed } = compare([client, server]);
  expect({ ends, missed }).toEqual({ ends: 2, missed: 0 });
  expect(comparisons).toHaveLength(2 * 7);
  expect(comparisons.filter(({ held }) => !held)).toEqual([]);
});

test.each([
  ["version", { version: 0x0303 }],
  ["version", { version: null }],
  ["cipher_id", { cipher_id: 0 }],
  ["CLIENT_TRAFFIC_SECRET_0", { secrets: new Map([...secrets, ["CLIENT_TRAFFIC_SECRET_0", "x"]]) }],
  ["SERVER_TRAFFIC_SECRET_0", { secrets: new Map([["CLIENT_TRAFFIC_SECRET_0", "c"]]) }],
  ["server", { server: true }],
] as const)("%s that is not what it should be at one end did not hold there", (item, change) => {
  expect(wrong([{ ...client, ...change }, server]).map((one) => one.item)).toEqual([item]);
});

test("a descriptor that is neither end's did not hold", () => {
  expect(wrong([{ ...client, fd: 6 }, server]).map(({ item }) => item)).toEqual(["fd"]);
});

test("an end that was not read is missed, and its random did not hold", () => {
  expect(compare([client])).toMatchObject({ ends: 1, missed: 1 });
  expect(wrong([client])).toEqual([{ item: "random", constants: ["SSL_ST_S3_CLIENT_RANDOM"], held: false }]);
  expect(compare([{ ...client, random: "bb".repeat(32) }])).toMatchObject({ ends: 0, missed: 2 });
});

test("of a process that is watched one end is enough, and a second one is compared as well", () => {
  const { fds, version, cipher_id, ...logged } = session;
  const watched: Expected = { ...logged, ends: 1 };
  expect(compare([client], watched)).toMatchObject({ ends: 1, missed: 0 });
  expect(compare([client, server], watched)).toMatchObject({ ends: 2, missed: 0 });
  const other = new Map([...secrets, ["SERVER_TRAFFIC_SECRET_0", "x"]]);
  expect(wrong([client, { ...server, secrets: other }], watched)).toHaveLength(1);
});

describe("constants", () => {
  const constantsOf = (item: string, known = values) =>
    compare([client, server], session, known).comparisons.find((one) => one.item === item)?.constants;

  test("are named that lead to an item: a secret's version and cipher too", () => {
    expect(constantsOf("fd")).toEqual(["SSL_ST_RBIO", "BIO_ST_NUM", "BIO_ST_METHOD", "BIO_METHOD_ST_TYPE"]);
    expect(constantsOf("CLIENT_TRAFFIC_SECRET_0")).toEqual([
      "SSL_ST_CLIENT_APP_TRAFFIC_SECRET",
      "SSL_ST_SESSION",
      "SSL_SESSION_ST_CIPHER",
      "SSL_CIPHER_ST_ID",
      "SSL_ST_VERSION",
    ]);
  });

  test("that stand for each other: one of a cipher's two numbers is enough, none is not", () => {
    const without = new Map([...values, ["SSL_CIPHER_ST_ID", null]]);
    const other = new Map([...without, ["SSL_CIPHER_ST_PROTOCOL_ID", 16n]]);
    expect(constantsOf("CLIENT_TRAFFIC_SECRET_0", without)).toBeUndefined();
    expect(constantsOf("CLIENT_TRAFFIC_SECRET_0", other)).toContain("SSL_CIPHER_ST_PROTOCOL_ID");
  });

  test.each(["SSL_ST_RBIO", "BIO_METHOD_ST_TYPE"])("where %s is absent no descriptor is compared", (name) => {
    expect(constantsOf("fd", new Map([...values, [name, null]]))).toBeUndefined();
  });

  test("that an object does not take at all: nothing is compared of what they lead to", () => {
    const without = new Map([...values].filter(([name]) => !name.includes("TRAFFIC_SECRET")));
    expect(constantsOf("CLIENT_TRAFFIC_SECRET_0", without)).toBeUndefined();
    expect(constantsOf("version", without)).toEqual(["SSL_ST_VERSION"]);
  });

  test("no label that nobody knows is compared", () => {
    const strange = { ...session, secrets: new Map([["CLIENT_EARLY_TRAFFIC_SECRET", "e"]]) };
    expect(compare([client, server], strange).comparisons.map(({ item }) => item)).not.toContain(
      "CLIENT_EARLY_TRAFFIC_SECRET",
    );
  });
});

describe("secrets by direction", () => {
  // A client reads by what is the server's: see TLS_BY_DIRECTION of bpf/tls.h.
  const reversed = new Map([
    ["CLIENT_TRAFFIC_SECRET_0", "s"],
    ["SERVER_TRAFFIC_SECRET_0", "c"],
  ]);
  const byDirection: ReadEnd = { ...client, by_direction: true, secrets: reversed };

  test("change places at the client, which its descriptor tells, or the secrets themselves", () => {
    expect(wrong([byDirection, { ...server, by_direction: true }])).toEqual([]);
    const { fds, ...logged } = session;
    expect(wrong([byDirection], { ...logged, ends: 1 })).toEqual([]);
  });

  test("do not at the server, nor where they are not by direction", () => {
    expect(wrong([client, { ...server, by_direction: true, secrets: reversed }])).toHaveLength(2);
    expect(wrong([{ ...byDirection, by_direction: false }, server])).toHaveLength(2);
  });
});

describe("which connections of a key log were watched", () => {
  const watched = (logged: string, read: string) => {
    const named = (names: string) => [...names].map((random) => ({ random }));
    return surelyWatched(named(logged), named(read))
      .map(({ random }) => random)
      .join("");
  };

  test("those from the first to the last that was read: a program may log late", () => {
    expect(watched("abcde", "bd")).toBe("bcd");
    expect(watched("abc", "cba")).toBe("abc");
    expect(watched("abc", "x")).toBe("abc");
    expect(watched("abc", "")).toBe("abc");
    expect(watched("", "a")).toBe("");
  });
});
