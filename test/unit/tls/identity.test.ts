import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { type LoadedPackage, loadPackage } from "../../../assets/build/debian.ts";
import { librarySchema } from "../../../src/output/document.ts";
import { diagnosticSchema } from "../../../src/output/schema-parts.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { truthOfPackage } from "../../truth/read.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";

const lib = "usr/lib/x86_64-linux-gnu";
let headers: LoadedPackage;
let folder = "";
beforeAll(async () => {
  await loadSamples();
  headers = await loadPackage("bookworm", "libssl-dev");
}, fetchTimeout);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-identity-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What is said of one file, checked against the document's schema. */
async function look(path: string) {
  const { reports, diagnostics } = await tlsReports({
    scope: { kind: "files", paths: [path] },
    sources: ["code", "table"],
  });
  return {
    reports: reports.map((report) => v.parse(librarySchema, report)),
    diagnostics: diagnostics.map((one) => v.parse(diagnosticSchema, one)),
    messages: diagnostics.map(({ message }) => message).join("\n"),
  };
}

const packageOf = (suite: string) =>
  debianPackage(suite, "amd64", suite === "bookworm" ? "libssl3" : "libssl3t64");
const from = (suite: string, file: "libssl.so.3" | "libcrypto.so.3") =>
  join(packageOf(suite).root, lib, file);

/** libssl of one suite beside libcrypto of another. */
function pair(ssl: string, crypto: string): string {
  copyFileSync(from(ssl, "libssl.so.3"), join(folder, "libssl.so.3"));
  copyFileSync(from(crypto, "libcrypto.so.3"), join(folder, "libcrypto.so.3"));
  return join(folder, "libssl.so.3");
}

const known = (
  fields: Readonly<Record<string, { member: string; value: number | null; evidence: object }>>,
) => Object.entries(fields).filter(([, { value }]) => value !== null);

describe("libssl of one series beside libcrypto of another", () => {
  const [v30, v35, v36] = ["bookworm", "trixie", "sid"];
  const series = { [v30]: "OpenSSL 3.0 or 3.1", [v35]: "OpenSSL 3.5", [v36]: "OpenSSL 3.6" };

  /** No constant of the struct that its libssl does not have, and none of what a table alone says. */
  async function ownOnly(path: string, ssl: string) {
    const said = await look(path);
    const [report] = said.reports;
    expect(report).toMatchObject({ library: "openssl", version: null, version_from: null, described: null });
    const fields = known(report?.fields ?? {});
    expect(fields.length).toBeGreaterThan(5);
    const wrong = ssl === v30 ? /^SSL_CONNECTION_ST_/ : /^SSL_ST_(?!TYPE$)/;
    expect(fields.filter(([name]) => wrong.test(name))).toEqual([]);
    const truth = await truthOfPackage(ssl, "openssl", packageOf(ssl).version);
    for (const [, { member, value }] of fields)
      expect([member, value]).toEqual([member, truth[member] ?? -1]);
    // Its struct was found by its code: a table may only have joined it.
    expect(fields.filter(([, { evidence }]) => "code" in evidence).length).toBeGreaterThan(5);
    expect(said.messages).toContain(`libssl.so.3 is of ${series[ssl]} by its version nodes`);
    return said;
  }

  test.each([
    [v30, v35],
    [v30, v36],
    [v35, v36],
  ])("%s with %s: what libcrypto says contradicts, and chooses nothing", async (ssl, crypto) => {
    const { messages } = await ownOnly(pair(ssl, crypto), ssl);
    const text = /^OpenSSL 3\.\d+\.\d+ \d+ [A-Z][a-z]{2} \d{4}$/m.exec(
      Bun.spawnSync(["strings", from(crypto, "libcrypto.so.3")]).stdout.toString(),
    );
    expect(messages).toContain(`but beside it is ${text?.[0]} (libcrypto.so.3 .rodata)`);
  });

  test.each([
    [v35, v30, "OPENSSL_3.2.0"],
    [v36, v30, "OPENSSL_3.2.0"],
    [v36, v35, "OPENSSL_3.6.0"],
  ])("%s with %s: that one lacks %s, so that nothing could be linked", async (ssl, crypto, node) => {
    const said = await ownOnly(pair(ssl, crypto), ssl);
    expect(said.messages).toMatch(
      new RegExp(`libcrypto.so.3 cannot be its libcrypto: it defines no [^;]*\\b${node}`),
    );
    const symbols = Bun.spawnSync(["readelf", "-VW", from(crypto, "libcrypto.so.3")]).stdout.toString();
    expect(symbols).not.toContain(node);
  });

  test("a text of a later series written into its libcrypto", async () => {
    const path = pair(v30, v30);
    const bytes = readFileSync(join(folder, "libcrypto.so.3"));
    const text = /OpenSSL 3\.0\.\d+ \d+ [A-Z][a-z]{2} \d{4}(?=\0)/.exec(bytes.toString("latin1"));
    const at = text?.index ?? -1;
    bytes.fill(0, at, bytes.indexOf(0, at)).write("OpenSSL 3.5.7 9 Jun 2026", at);
    writeFileSync(join(folder, "libcrypto.so.3"), bytes);
    const { messages } = await ownOnly(path, v30);
    expect(messages).toContain("OpenSSL 3.5.7 9 Jun 2026 (libcrypto.so.3 .rodata)");
  });

  test("none beside it at all: still OpenSSL, by its nodes", async () => {
    // A tree of its own, so that this machine's libcrypto is not found.
    mkdirSync(join(folder, lib), { recursive: true });
    copyFileSync(from(v35, "libssl.so.3"), join(folder, lib, "libssl.so.3"));
    const { reports, diagnostics } = await tlsReports({ root: folder, sources: ["code", "table"] });
    expect(reports).toMatchObject([{ library: "openssl", version: null }]);
    expect(known(reports[0]?.fields ?? {}).length).toBeGreaterThan(5);
    expect(diagnostics.map(({ message }) => message).join()).toMatch(
      /libssl.so.3 is of OpenSSL 3.5 by its version nodes .*; its libcrypto.so.3 was not found/,
    );
  });
});

describe("OpenSSL linked into a program that never asks for its version", () => {
  /** A client as small ones are, with `texts` in it that a program may have. */
  function client(
    name: string,
    { texts = [], strip = false }: { texts?: string[]; strip?: boolean } = {},
  ): string {
    const source = join(folder, `${name}.c`);
    const program = join(folder, name);
    writeFileSync(
      source,
      `#include <openssl/ssl.h>
       #include <stdio.h>
       int main(void) {
         SSL *s = SSL_new(SSL_CTX_new(TLS_client_method()));
         ${texts.map((text) => `puts(${JSON.stringify(text)});`).join("\n")}
         return SSL_connect(s) <= 0 || SSL_get_rbio(s) == 0 || SSL_get_session(s) == 0 || SSL_version(s) == 0;
       }`,
    );
    const include = ["usr/include", "usr/include/x86_64-linux-gnu"].map(
      (at) => `-I${join(headers.root, at)}`,
    );
    const archives = ["libssl.a", "libcrypto.a"].map((file) => join(headers.root, lib, file));
    const command = ["cc", "-O2", ...(strip ? ["-s"] : []), ...include, "-o", program, source, ...archives];
    const { exitCode, stderr } = Bun.spawnSync([...command, "-ldl", "-lpthread"]);
    if (exitCode !== 0) throw new Error(stderr.toString());
    const strings = Bun.spawnSync(["strings", program]).stdout.toString();
    expect(strings).not.toMatch(/^OpenSSL \d/m);
    return program;
  }
  const version = () => headers.version.replace(/-.*$/, "");

  test("with symbols: measured by its code, its version by the providers' text", async () => {
    const path = client("plain");
    const { reports } = await look(path);
    expect(reports).toMatchObject([
      { path, library: "openssl", version: version(), version_from: "plain .rodata" },
    ]);
    const measured = known(reports[0]?.fields ?? {}).filter(([, { evidence }]) => "code" in evidence);
    expect(measured.map(([name]) => name)).toEqual(expect.arrayContaining(["SSL_ST_RBIO", "SSL_ST_SESSION"]));
  });

  test("with another text that looks like a version: none, and measured all the same", async () => {
    const { reports, messages } = await look(client("twofold", { texts: ["4.1.0"] }));
    expect(reports).toMatchObject([{ library: "openssl", version: null, described: null }]);
    expect(messages).toMatch(/several texts look like its version: (4\.1\.0, 3\.0\.\d+|3\.0\.\d+, 4\.1\.0)/);
    expect(reports[0]?.constants.SSL_ST_RBIO).toBe(16);
  });

  test("stripped: the same library and version, by what is left", async () => {
    const { reports } = await look(client("bare", { strip: true, texts: ["libcurl/7.88.1", "1.2.13"] }));
    expect(reports).toMatchObject([{ library: "openssl", version: version() }]);
  });

  test.each([
    ["boringssl", ["external/ssl/ssl/ssl_lib.cc", "external/ssl/ssl/ssl_credential.cc"]],
    ["boringssl", ["external/ssl/src/ssl/ssl_lib.cc", "external/ssl/src/crypto/fipsmodule/bn/add.cc.inc"]],
    ["boringssl", ["external/ssl/ssl/ssl_lib.cc", "external/ssl/crypto/fipsmodule/ec/p256-nistz.c.inc"]],
    ["boringssl", ["external/boringssl+/ssl/ssl_lib.cc"]],
    ["boringssl", ["external/boringssl/src/ssl/ssl_lib.cc"]],
    ["aws-lc", ["deps/ssl/ssl_lib.cc", "deps/ssl/ssl_transfer_asn1.cc"]],
    ["aws-lc", ["aws-lc-sys-0.20.1/aws-lc/ssl/ssl_lib.cc"]],
    ["libressl", ["ssl_lib.c", "tls13_legacy.c"]],
    ["tongsuo", ["ssl/ssl_lib.c", "ssl/statem_ntls/ntls_statem_lib.c", "ssl/statem/statem_lib.c"]],
    ["openssl", ["../ssl/ssl_lib.c", "../ssl/statem/statem_lib.c"]],
    ["unknown", ["external/ssl/ssl/ssl_lib.cc", "net/crypto/fipsmodule/x.cc"]],
  ] as const)("%s by the paths of its sources: %p", async (library, paths) => {
    // A stand-in: what such a program has of it is these texts alone.
    const source = join(folder, "sources.c");
    const program = join(folder, "sources");
    const filler = "const char filler[600000] = {1};";
    writeFileSync(
      source,
      `#include <stdio.h>\n${filler}\nint main(void) { ${paths.map((path) => `puts("${path}");`).join(" ")} return filler[0]; }`,
    );
    expect(Bun.spawnSync(["cc", "-o", program, source]).exitCode).toBe(0);
    const { reports } = await look(program);
    expect(reports).toMatchObject([{ library, version: null }]);
  });
});
