import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { assets } from "../../../assets/build/paths.ts";
import { bakedObjects, pickSocketReader, pickTls } from "../../../src/bytecode/pick.ts";
import { loadLayouts } from "../../../src/tls/layouts/layouts.ts";

const NEW = [6, 1, 0] as const;
const pickedFor = (version: string | null, constants: Record<string, number | null>, library = "openssl") =>
  pickTls({ library, version, constants }, NEW, "auto").bytecode;

test("every object that can be picked is there, for both machines", () => {
  expect(bakedObjects.length).toBe(14);
  for (const name of bakedObjects)
    for (const arch of ["x64", "arm64"])
      expect(existsSync(join(assets, "bpf", arch, `${name}.o`))).toBe(true);
});

test("of each published layout the object of its versions", async () => {
  const layouts = await loadLayouts("openssl");
  const expected: [RegExp, string][] = [
    [/^openssl_1_(0_2|1_0)/, "tls_openssl_1_0"],
    [/^openssl_1_1_1/, "tls_openssl_1_1"],
    [/^openssl_3_[01]_/, "tls_openssl_3_0"],
    [/^openssl_3_[2-9]_/, "tls_openssl_3_2"],
  ];
  for (const [version, group] of Object.entries(layouts?.versions ?? {})) {
    const object = expected.find(([pattern]) => pattern.test(group))?.[1];
    expect([version, pickedFor(version, layouts?.groups[group]?.constants ?? {})]).toEqual([
      version,
      object ?? "none",
    ]);
  }
});

describe("what was measured goes before the version", () => {
  test.each<[string | null, Record<string, number | null>, string | null]>([
    ["3.0.2", { SSL_CONNECTION_ST_RBIO: 72, SSL_ST_RBIO: null }, "tls_openssl_3_2"],
    ["3.5.0", { SSL_ST_S3_CLIENT_RANDOM: 352 }, "tls_openssl_3_0"],
    ["3.0.0", { SSL3_STATE_ST_CLIENT_RANDOM: 184, SSL_ST_S3_CLIENT_RANDOM: null }, "tls_openssl_1_1"],
    [null, { SSL3_STATE_ST_CLIENT_RANDOM: 184 }, "tls_openssl_1_1"],
    [null, { SSL_CONNECTION_ST_VERSION: 72 }, "tls_openssl_3_2"],
    ["1.1.1w", {}, "tls_openssl_1_1"],
    ["1.1.1", {}, "tls_openssl_1_1"],
    ["1.1.0l", {}, "tls_openssl_1_0"],
    ["3.1.4+quic", {}, "tls_openssl_3_0"],
    ["3.2.0-alpha1", {}, "tls_openssl_3_0"],
    ["4.0.3", {}, "tls_openssl_3_2"],
    ["0.9.8zh", {}, null],
    [null, { SSL_ST_RBIO: 16 }, null],
    ["dev", {}, null],
  ])("%p with %j: %p", (version, constants, object) => {
    expect(pickedFor(version, constants)).toBe(object);
  });
});

test("libraries without a program have none, and the reason", () => {
  expect(pickedFor(null, {}, "boringssl")).toBe("tls_boringssl");
  expect(pickedFor(null, {}, "gnutls")).toBe("tls_gnutls");
  expect(pickTls({ library: "aws-lc", version: "1.30.0", constants: {} }, NEW, "auto")).toEqual({
    bytecode: null,
    bytecode_reason: "no program reads connections of library aws-lc",
  });
});

test.each<[readonly [number, number, number], "auto" | "current" | "old", string]>([
  [[7, 2, 0], "auto", "socket_reader"],
  [[5, 8, 0], "auto", "socket_reader"],
  [[5, 7, 19], "auto", "socket_reader_old"],
  [[4, 19, 0], "auto", "socket_reader_old"],
  [[4, 19, 0], "current", "socket_reader"],
  [[7, 2, 0], "old", "socket_reader_old"],
])("on Linux %j, %s: %s", (kernel, choice, object) => {
  expect(pickSocketReader(kernel, choice).bytecode).toBe(object);
});
