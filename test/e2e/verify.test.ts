/**
 * Proves constants on live connections. The truth is of others: what the libraries' own key logs say, and for
 * `verify kernel` see test/unit/verify.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chooseLayout } from "../../src/tls/layouts/describe.ts";
import { loadLayouts } from "../../src/tls/layouts/layouts.ts";
import { loadNode, nodeSamples } from "../unit/tls/node.ts";
import { documentOf, executable, run, Scratch } from "./executable.ts";
import { certified, verifiedIn, wrongIn } from "./keylog.ts";
import { type Packages, runIn, treeWith } from "./tree.ts";

const triple = "/usr/lib/x86_64-linux-gnu";
const certificate = certified();
afterAll(() => certificate[Symbol.dispose]());

/** What is compared of sessions that a library makes with itself. */
const items = ["random", "version", "cipher_id", "fd", "server"];
const secrets12 = ["CLIENT_RANDOM"];
const handshakes = ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"];
const traffic = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"];
/** BoringSSL's objects tell no role, and it keeps no secret of the handshake. */
const boringssl = ["random", "version", "cipher_id", "fd", ...secrets12, ...traffic, "EXPORTER_SECRET"];
const openssl = [...items, ...secrets12, ...handshakes, ...traffic, "EXPORTER_SECRET"];

describe("sessions that a library makes with itself", () => {
  const system = `${triple}/libssl.so.3`;
  const verify = (...flags: string[]) => {
    const result = run([executable, "verify", "tls", system, ...flags, "--format", "json"]);
    const [one, ...others] = verifiedIn(result);
    if (one === undefined || others.length > 0) throw new Error("it was not this one library");
    return { one, status: result.status };
  };

  test.each([
    { choice: "current", bytecode: "tls_openssl_3_0" },
    { choice: "old", bytecode: "tls_openssl_3_0_old" },
  ])("of the system's libssl: every comparison holds with the $choice object", ({ choice, bytecode }) => {
    const { one, status } = verify("--bytecode", choice);
    expect(one).toMatchObject({ path: system, bytecode, connections: 4, ends: 8, missed: 0, lost: 0 });
    expect(Object.keys(one.items).sort()).toEqual(openssl.toSorted());
    expect(wrongIn(one)).toEqual([]);
    expect(one.not_compared.toSorted()).toEqual([
      "SSL_SESSION_ST_CIPHER_ID",
      "SSL_SESSION_ST_MASTER_KEY_LENGTH",
      "SSL_ST_EARLY_SECRET",
      "SSL_ST_WBIO",
    ]);
    expect(status).toBe(0);
  });

  test.each([
    { constant: "SSL_ST_S3_CLIENT_RANDOM", item: "random" },
    { constant: "SSL_ST_VERSION", item: "version" },
    { constant: "SSL_ST_SERVER", item: "server" },
    { constant: "SSL_ST_SESSION", item: "cipher_id" },
    { constant: "SSL_ST_RBIO", item: "fd" },
    { constant: "BIO_ST_NUM", item: "fd" },
    { constant: "BIO_ST_METHOD", item: "fd" },
    { constant: "BIO_METHOD_ST_TYPE", item: "fd" },
    { constant: "SSL_SESSION_ST_CIPHER", item: "cipher_id" },
    { constant: "SSL_CIPHER_ST_ID", item: "cipher_id" },
    { constant: "SSL_SESSION_ST_MASTER_KEY", item: "CLIENT_RANDOM" },
    { constant: "SSL_ST_HANDSHAKE_TRAFFIC_HASH", item: "SERVER_HANDSHAKE_TRAFFIC_SECRET" },
    { constant: "SSL_ST_HANDSHAKE_SECRET", item: "CLIENT_HANDSHAKE_TRAFFIC_SECRET" },
    { constant: "SSL_ST_CLIENT_APP_TRAFFIC_SECRET", item: "CLIENT_TRAFFIC_SECRET_0" },
    { constant: "SSL_ST_SERVER_APP_TRAFFIC_SECRET", item: "SERVER_TRAFFIC_SECRET_0" },
    { constant: "SSL_ST_EXPORTER_MASTER_SECRET", item: "EXPORTER_SECRET" },
  ])("$constant that is changed by 4: $item did not hold, and it is named", ({ constant, item }) => {
    const document = documentOf(run([executable, "tls", system, "--format", "json"]));
    const [library] = document.tls ?? [];
    const { [constant]: value } = library?.constants ?? {};
    if (library === undefined || typeof value !== "number") throw new Error(`${constant} is not known`);
    const changed = { ...library, constants: { ...library.constants, [constant]: value + 4 } };
    const constants = certificate.at("changed.json");
    writeFileSync(constants, JSON.stringify({ ...document, tls: [changed] }));
    const { one, status } = verify("--constants", constants);
    expect(status).toBe(3);
    expect(wrongIn(one)).toContain(item);
    expect(one.items[item]?.constants).toContain(constant);
  });

  const zlib = ["zlib1g", "libzstd1"];
  const cplusplus = ["libstdc++6", "libgcc-s1", "android-libboringssl"];
  const samples: readonly { name: string; path: string; packages: Packages; items: readonly string[] }[] = [
    {
      name: "Debian 11's OpenSSL",
      path: `${triple}/libssl.so.1.1`,
      packages: { bullseye: ["libc6", "libssl1.1"] },
      items: openssl,
    },
    {
      name: "Debian 13's OpenSSL",
      path: `${triple}/libssl.so.3`,
      packages: { trixie: ["libc6", ...zlib, "libssl3t64"] },
      items: openssl,
    },
    {
      name: "BoringSSL of Android 13",
      path: `${triple}/android/libssl.so.0`,
      packages: { bookworm: ["libc6", ...cplusplus] },
      items: boringssl,
    },
    {
      name: "BoringSSL of Android 14",
      path: `${triple}/android/libssl.so.0`,
      packages: { trixie: ["libc6", ...cplusplus] },
      items: boringssl,
    },
  ];
  const trees = new Map<string, Scratch>();
  beforeAll(async () => {
    for (const { name, packages } of samples) trees.set(name, await treeWith(packages));
  });
  afterAll(() => {
    for (const tree of trees.values()) tree[Symbol.dispose]();
  });

  test.each(samples)("$name", ({ name, path, items }) => {
    const result = runIn(trees.get(name)?.path ?? "", ["verify", "tls", path, "--format", "json"]);
    const [one] = verifiedIn(result);
    expect(one).toMatchObject({ path, missed: 0, lost: 0, ends: 2 * (one?.connections ?? 0) });
    expect(Object.keys(one?.items ?? {}).sort()).toEqual(items.toSorted());
    expect(one && wrongIn(one)).toEqual([]);
    expect(result.status).toBe(0);
  });
});

describe("run --verify", () => {
  test("proves the kernel's constants and those of each library, in the document and in the table", () => {
    const result = run([executable, "--verify", "--format", "json"]);
    const { kernel, tls, verify } = documentOf(result);
    expect(Object.values(verify?.kernel?.constants ?? {}).length).toBeGreaterThan(10);
    expect(verify?.kernel?.not_compared).toEqual([]);
    expect(verify?.tls?.map(({ path }) => path)).toEqual(tls?.map(({ path }) => path ?? ""));
    expect(verify?.tls?.flatMap(wrongIn)).toEqual([]);
    const isCertain = [kernel, ...(tls ?? [])].every((part) =>
      Object.values(part?.fields ?? {}).every(({ status }) => status === "confirmed" || status === "single"),
    );
    expect(result.status).toBe(isCertain ? 0 : 3);
    const { stdout } = run([executable, "run", "--verify", "--format", "table"]);
    expect(stdout).toMatch(/^VERIFIED {2}kernel · socket_reader/m);
    expect(stdout).toMatch(/^VERIFIED {2}\/.*libssl\.so\.3 {2}tls_openssl_3_0 · 4 connections · 8 ends/m);
    expect(stdout).not.toContain("WRONG");
  });

  test("with --only proves the parts that are looked at; without it, or with --get, there is no proof", () => {
    const { verify } = documentOf(run([executable, "--verify", "--only", "offset_rtt", "--format", "json"]));
    expect(Object.keys(verify ?? {})).toEqual(["kernel"]);
    expect(documentOf(run([executable, "--only", "offset_rtt", "--format", "json"])).verify).toBeUndefined();
    expect(run([executable, "--verify", "--get", "offset_rtt"])).toMatchObject({ status: 2, stdout: "" });
  });

  test("where the kernel lets no program in, the document says so", () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    using scratch = new Scratch();
    chmodSync(scratch.path, 0o755);
    copyFileSync(executable, scratch.at("offsetof"));
    const result = run([...nobody, scratch.at("offsetof"), "--verify", "--format", "json"]);
    const { verify, diagnostics } = documentOf(result);
    expect(verify).toEqual({ tls: [] });
    expect(diagnostics.filter(({ code }) => code === "E_VERIFY").length).toBeGreaterThan(0);
    expect(result.status).toBe(3);
    const refused = run([...nobody, scratch.at("offsetof"), "verify", "tls", "--format", "json"]);
    expect(refused).toMatchObject({ status: 4, stdout: "" });
    expect(JSON.parse(refused.stderr)).toEqual({ code: "E_VERIFY", message: expect.any(String) });
  });
});

test("every secret of a Bun's server and client holds against its --tls-keylog, stripped as Bun comes", async () => {
  const program = join(import.meta.dir, "../../node_modules/bun/bin/bun.exe");
  const [key, cert] = [certificate.at("key.pem"), certificate.at("cert.pem")];
  const keys = certificate.at("bun.keys");
  writeFileSync(keys, "");
  const script = join(import.meta.dir, "https.script.mjs");
  const bun = Bun.spawn([program, `--tls-keylog=${keys}`, script, key, cert], { stderr: "ignore" });
  try {
    await bun.stdout.getReader().read(); // it listens
    const against = ["--pid", `${bun.pid}`, "--against", keys, "--seconds", "3"];
    const result = run([executable, "verify", "tls", ...against, "--format", "json"]);
    const [one, ...others] = verifiedIn(result);
    if (one === undefined || others.length > 0) throw new Error("it was not this one program");
    expect(one).toMatchObject({ path: realpathSync(program), bytecode: "tls_boringssl", missed: 0, lost: 0 });
    // No symbol tells where these begin, see test/unit/tls/attach.test.ts.
    expect(one.attached.toSorted()).toEqual(["SSL_do_handshake", "SSL_read", "SSL_write"]);
    expect(one.connections).toBeGreaterThan(3);
    expect(one.ends).toBeGreaterThanOrEqual(2 * one.connections - 2);
    const read = ["random", ...secrets12, ...traffic, "EXPORTER_SECRET"];
    expect(Object.keys(one.items).toSorted()).toEqual(read.toSorted());
    expect(wrongIn(one)).toEqual([]);
    expect(one.items.EXPORTER_SECRET?.constants).toContain("SSL_CIPHER_ST_PROTOCOL_ID");
    // It gives BoringSSL no descriptor, so that where one would be is not compared.
    expect(one.not_compared).toContain("BIO_ST_NUM");
    expect([one.not_known, result.status]).toEqual([[], 0]);
  } finally {
    bun.kill();
    await bun.exited;
  }
});

describe("Node.js while it makes HTTPS requests, against its own --tls-keylog", () => {
  // A Node.js hands memory to OpenSSL, so that it has no descriptors there.
  const nodeItems = openssl.filter((item) => !["version", "cipher_id", "fd", "server"].includes(item)).sort();

  /** Watches one for a moment. @param document constants instead of the measured ones */
  async function watch(version: string, document?: (program: string) => Promise<unknown>) {
    const sample = nodeSamples.find((one) => one.version === version && one.arch === "x64");
    if (sample === undefined) throw new Error(`no sample of Node ${version}`);
    const program = await loadNode(sample);
    const [key, cert] = [certificate.at("key.pem"), certificate.at("cert.pem")];
    const keys = certificate.at(`node-${version}.keys`);
    const constants = certificate.at(`node-${version}.json`);
    if (document !== undefined) writeFileSync(constants, JSON.stringify(await document(program)));
    const script = join(import.meta.dir, "https.script.mjs");
    const node = Bun.spawn([program, `--tls-keylog=${keys}`, script, key, cert], { stderr: "ignore" });
    try {
      await node.stdout.getReader().read(); // it listens
      const against = ["--pid", `${node.pid}`, "--against", keys, "--seconds", "3"];
      // BIO_ST_NUM and the cipher's id are only in the table, which has these very versions.
      const flags = document === undefined ? ["--allow", "assumed"] : ["--constants", constants];
      while (!(await Bun.file(keys).exists())) await Bun.sleep(20);
      const result = run([executable, "verify", "tls", ...against, ...flags, "--format", "json"]);
      const [one] = verifiedIn(result);
      if (one === undefined) throw new Error("nothing was verified");
      return { status: result.status, one };
    } finally {
      node.kill();
      await node.exited;
    }
  }

  /** A document of that program with what the macros of its header say, and no more. */
  async function inHeader(program: string): Promise<unknown> {
    const document = documentOf(run([executable, "tls", program, "--source", "table", "--format", "json"]));
    const { stdout } = run([executable, "tls", program, "--allow", "assumed", "--format", "header"]);
    const macros = [...stdout.matchAll(/^#define ([A-Z0-9_]+) (0x[0-9a-f]+)$/gm)];
    const constants = Object.fromEntries(macros.map(([, name = "", value]) => [name, Number(value)]));
    return { ...document, tls: (document.tls ?? []).map((library) => ({ ...library, constants })) };
  }

  // Builds with +quic, by their eCapture-style header alone.
  test.each([
    ["12.22.12", undefined],
    ["16.20.2", inHeader],
    ["18.19.0", inHeader],
    ["18.20.8", undefined],
    ["20.20.2", undefined],
    ["22.23.3", undefined],
  ] as const)("%s: every secret of both ends", async (version, document) => {
    const { status, one } = await watch(version, document);
    expect(one).toMatchObject({ missed: 0, lost: 0 });
    // Of one connection the first end may have been over already, of one the second may not have been called any more.
    expect(one.connections).toBeGreaterThan(3);
    expect(one.ends).toBeGreaterThanOrEqual(2 * one.connections - 2);
    expect(Object.keys(one.items).sort()).toEqual(nodeItems);
    expect(wrongIn(one)).toEqual([]);
    expect(status).toBe(0);
  });

  /** A document of that program with the figures that are published for its version without its suffix. */
  async function published(program: string): Promise<unknown> {
    const document = documentOf(run([executable, "tls", program, "--source", "table", "--format", "json"]));
    const layouts = await loadLayouts("openssl");
    const [library] = document.tls ?? [];
    if (layouts === null || library === undefined || library.version === null) throw new Error("no version");
    const { layout } = chooseLayout(layouts, library.version.replace("+quic", ""));
    const { constants } = layouts.groups[layout ?? ""] ?? {};
    return { ...document, tls: [{ ...library, constants }] };
  }

  // OpenSSL 1.1.1v+quic and 3.0.12+quic: session and exporter lie 0xc0 behind what is published.
  test.each(["16.20.2", "18.19.0"])(
    "%s: the published constants do not hold, and those that are wrong are named",
    async (version) => {
      const { status, one } = await watch(version, published);
      expect(status).toBe(3);
      expect(one.connections).toBeGreaterThan(3);
      const wrong = wrongIn(one);
      expect(wrong).toContain("CLIENT_RANDOM");
      expect(wrong).toContain("EXPORTER_SECRET");
      expect(one.items.CLIENT_RANDOM?.constants).toContain("SSL_ST_SESSION");
      expect(one.items.EXPORTER_SECRET?.constants).toContain("SSL_ST_EXPORTER_MASTER_SECRET");
      expect(one.items.random?.held).toBe(one.items.random?.compared ?? 0);
    },
  );
});
