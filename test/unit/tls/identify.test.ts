import { describe, expect, test } from "bun:test";
import { decide, notSupported, signaturesIn, weigh } from "../../../src/tls/identify/identify.ts";

const read = (...texts: string[]) => signaturesIn(Buffer.from(`\0${texts.join("\0")}\0`, "latin1"));

describe("version texts", () => {
  test.each([
    ["OpenSSL 1.1.1w  11 Sep 2023", "1.1.1w"],
    ["OpenSSL 1.1.1  11 Sep 2018", "1.1.1"],
    ["OpenSSL 3.0.10 1 Aug 2023", "3.0.10"],
    ["OpenSSL 1.1.1v+quic  1 Aug 2023", "1.1.1v+quic"],
    ["OpenSSL 3.0.15+quic 3 Sep 2024", "3.0.15+quic"],
    ["OpenSSL 3.5.7 9 Jun 2026", "3.5.7"],
    ["OpenSSL 1.0.2zg  7 Feb 2023", "1.0.2zg"],
    ["OpenSSL 1.0.2k-fips  26 Jan 2017", "1.0.2k-fips"],
    ["OpenSSL 1.1.1k  FIPS 25 Mar 2021", "1.1.1k FIPS"],
    ["OpenSSL 1.1.1-pre9 (beta) 21 Aug 2018", "1.1.1-pre9 (beta)"],
    ["OpenSSL 3.5.0-beta1 25 Mar 2025", "3.5.0-beta1"],
    ["OpenSSL 3.6.0-dev  xx XXX xxxx", "3.6.0-dev"],
    ["OpenSSL 3.0.12 Oct 24, 2023", "3.0.12"],
    ["SSLv3 part of OpenSSL 1.0.2u  20 Dec 2019", "1.0.2u"],
  ])("%s", (text, version) => {
    expect(read("x", text, "y")).toEqual([{ library: "openssl", version, text }]);
  });

  test.each([
    ["BoringSSL", "boringssl", null],
    ["OpenSSL 1.1.1 (compatible; BoringSSL)", "boringssl", null],
    ["OpenSSL 1.1.1 (compatible; AWS-LC 1.30.1)", "aws-lc", "1.30.1"],
    ["AWS-LC FIPS 2.0.13", "aws-lc", "2.0.13"],
    ["LibreSSL 3.8.2", "libressl", "3.8.2"],
    ["Tongsuo 8.4.0", "tongsuo", "8.4.0"],
    ["BabaSSL 8.3.2", "tongsuo", "8.3.2"],
    ["OpenSSL Default Provider", "openssl", null],
    ["external/boringssl+/ssl/ssl_lib.cc", "boringssl", null],
    ["aws-lc-sys-0.20.1/aws-lc/ssl/ssl_lib.cc", "aws-lc", null],
  ] as const)("%s is %s", (text, library, version) => {
    expect(read(text)).toEqual([{ library, version, text }]);
  });

  test.each([
    "OpenSSL 3.0.22",
    "OpenSSL 3.0.22 is needed",
    "needs OpenSSL 3.0.22 25 Aug 2026 or newer",
    "built with OpenSSL 3.0.22 25 Aug 2026",
    "OpenSSL 3.0.22 25 Aug 2026 (Library: OpenSSL 3.0.22 25 Aug 2026)",
    "OpenSSL 3.0 25 Aug 2026",
    "OpenSSL PKCS12 1 Aug 2023",
    "BoringSSL is a fork",
    "the BoringSSL",
    "3.0.22",
    `${"x".repeat(200)} part of OpenSSL 1.0.2u  20 Dec 2019`,
  ])("%s is not one", (text) => {
    expect(read(text)).toEqual([]);
  });

  test("an unterminated text is not one", () => {
    expect(signaturesIn(Buffer.from("\0OpenSSL 3.0.22 25 Aug 2026"))).toEqual([]);
  });
});

describe("what the texts tell together", () => {
  const found = (from: string, ...texts: string[]) => read(...texts).map((one) => ({ ...one, from }));

  test("one version, told twice, is sure", () => {
    const texts = ["OpenSSL 1.1.1w  11 Sep 2023"];
    expect(decide([...found("libssl", ...texts), ...found("libcrypto", ...texts)])).toEqual({
      library: "openssl",
      version: "1.1.1w",
      versionFrom: "libssl",
    });
  });

  test("two versions are none", () => {
    const identity = decide(found("libcrypto", "OpenSSL 3.0.22 25 Aug 2026", "OpenSSL 3.5.7 9 Jun 2026"));
    expect(identity).toMatchObject({ library: "openssl", version: null, versionFrom: null });
    expect(identity.reason).toContain("OpenSSL 3.5.7 9 Jun 2026 (libcrypto)");
  });

  test("a fork with OpenSSL's text in it is not OpenSSL", () => {
    expect(decide(found("libcrypto", "OpenSSL 1.1.1h  22 Sep 2020", "Tongsuo 8.3.2"))).toMatchObject({
      library: "tongsuo",
      version: "8.3.2",
    });
  });

  test("a library that is known by name alone is not supported", () => {
    expect(notSupported(decide(found("libcrypto", "LibreSSL 3.8.2")))).toBe("LibreSSL 3.8.2: not supported");
    expect(notSupported(decide(found("libcrypto", "BoringSSL")))).toBeNull();
  });

  test("two libraries in one file are none", () => {
    const identity = decide(found("program", "OpenSSL 3.0.22 25 Aug 2026", "AWS-LC FIPS 2.0.13"));
    expect(identity).toMatchObject({ library: "unknown", version: null });
  });

  const nodes = { defined: "OPENSSL_3.0.0", needed: "OPENSSL_3.0.3", from: "3.0.0", before: "3.2.0" };

  test("libssl's nodes choose among libcryptos' texts, and what they rule out is told", () => {
    const texts = found("libcrypto", "OpenSSL 3.0.22 25 Aug 2026", "OpenSSL 3.5.7 9 Jun 2026");
    const identity = weigh(texts, nodes, "libssl.so.3");
    expect(identity).toMatchObject({ library: "openssl", version: "3.0.22", nodes });
    expect(identity.contradictions).toEqual([
      "libssl.so.3 is of OpenSSL 3.0 or 3.1 by its version nodes (it defines OPENSSL_3.0.0 and needs OPENSSL_3.0.3 of libcrypto), but beside it is OpenSSL 3.5.7 9 Jun 2026 (libcrypto)",
    ]);
  });

  test("a libcrypto of a library without such nodes is not libssl's", () => {
    const identity = weigh(found("libcrypto", "BoringSSL"), nodes, "libssl.so.3");
    expect(identity).toMatchObject({ library: "openssl", version: null });
    expect(identity.reason).toContain("but beside it is BoringSSL (libcrypto)");
  });

  test("no text is no library", () => {
    expect(decide([])).toMatchObject({ library: "unknown", version: null, reason: expect.any(String) });
  });
});
