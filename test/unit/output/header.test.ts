import { describe, expect, test } from "bun:test";
import type { TlsReport } from "../../../src/output/document.ts";
import { toHeader } from "../../../src/output/header.ts";
import { offlineReport } from "../../../src/tls/tls.ts";
import { Scratch } from "../../e2e/executable.ts";
import { document, libraryWith } from "./sample.ts";

/** What the C preprocessor makes of a text behind the header, which must not give one warning. */
async function preprocessed(header: string, text: string, flags: readonly string[] = []): Promise<string> {
  const child = Bun.spawn(["cc", "-E", "-P", "-Wall", "-Wextra", "-Werror", ...flags, "-"], {
    stdin: Buffer.from(`${header}\n${text}\n`),
    stderr: "pipe",
  });
  const [said, stdout] = await Promise.all([
    new Response(child.stderr).text(),
    new Response(child.stdout).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(said);
  return stdout.trim();
}

test("a macro for each constant that is known, none for others", async () => {
  const header = toHeader(document);
  const text = "offset_family OFFSET_FAMILY SSL_ST_RBIO offset_rtt OFFSET_RTT";
  expect(await preprocessed(header, text)).toBe("16 16 0x10 offset_rtt OFFSET_RTT");
  expect(header).toContain("// sock_common.skc_family\n#define offset_family 16\n");
  expect(header).toContain("// ssl_st->rbio\n#define SSL_ST_RBIO 0x10\n");
  expect(header).toContain("// offset_rtt is not known: guess: 1624, 1632 not told apart\n");
});

test("two macros for each function whose place is known, none for others", async () => {
  const header = toHeader(document);
  const text = "SSL_READ_ADDRESS SSL_READ_OFFSET SSL_LOG_SECRET_OFFSET";
  expect(await preprocessed(header, text)).toBe("0x35a50 0x34a50 SSL_LOG_SECRET_OFFSET");
  expect(header).toContain("// SSL_LOG_SECRET_OFFSET is not known: it has no symbol of ssl_log_secret\n");
});

/** The sample with one constant of this value, status and reason. */
const withField = (field: Pick<TlsReport["fields"][string], "value" | "status" | "reason">, path = "/a") => {
  const fields = { SSL_ST_RBIO: { member: "ssl_st.rbio", evidence: {}, ...field } };
  return { ...document, tls: [libraryWith({ path, fields })] };
};

test("what is printed though it is not certain is marked", () => {
  const header = toHeader(withField({ value: 16, status: "assumed", reason: "default" }));
  expect(header).toContain("// ssl_st->rbio\n// assumed: default\n#define SSL_ST_RBIO 0x10\n");
});

test.each(["/a\\", "/a??/", "/a*/b", "/a\n#define X 1", "/*a", "/a\\ ", "/a??/ "])(
  "no path or reason such as %p spoils a line",
  async (text) => {
    const header = toHeader(withField({ value: 16, status: "assumed", reason: text }, text));
    for (const flags of [[], ["-trigraphs", "-Wno-trigraphs"]]) {
      expect(await preprocessed(header, "SSL_ST_RBIO X", flags)).toBe("0x10 X");
    }
  },
);

/** The names that eCapture's openssl.h and openssl_masterkey.h ask for, which every `*_kern.c` up to 1.1.1 is to define. */
const ecaptureNames = [
  ...["VERSION", "SESSION", "S3", "RBIO", "WBIO"].map((name) => `SSL_ST_${name}`),
  ...["EARLY_SECRET", "HANDSHAKE_SECRET", "HANDSHAKE_TRAFFIC_HASH"].map((name) => `SSL_ST_${name}`),
  ...["CLIENT_APP", "SERVER_APP"].map((name) => `SSL_ST_${name}_TRAFFIC_SECRET`),
  ...["SSL_ST_EXPORTER_MASTER_SECRET", "SSL_SESSION_ST_MASTER_KEY", "SSL3_STATE_ST_CLIENT_RANDOM"],
  ...["SSL_SESSION_ST_CIPHER", "SSL_SESSION_ST_CIPHER_ID", "SSL_CIPHER_ST_ID"],
  ...["BIO_ST_NUM", "BIO_ST_METHOD", "BIO_METHOD_ST_TYPE"],
];

/** The values that a compiled program has of them. */
async function compiled(header: string, names: readonly string[]): Promise<Record<string, number>> {
  const rows = names.map((name) => `  printf("%s %d\\n", "${name}", ${name});`);
  const source = `${header}\n#include <stdio.h>\nint main(void) {\n${rows.join("\n")}\n}\n`;
  using folder = new Scratch();
  const flags = ["-x", "c", "-Wall", "-Wextra", "-Werror", "-o", folder.at("program"), "-"];
  const { exitCode, stderr } = Bun.spawnSync(["gcc", ...flags], { stdin: Buffer.from(source) });
  if (exitCode !== 0) throw new Error(stderr.toString());
  const said = Bun.spawnSync([folder.at("program")])
    .stdout.toString()
    .trim();
  return Object.fromEntries(
    said
      .split("\n")
      .map((line) => line.split(" "))
      .map(([name, value]) => [name, Number(value)]),
  );
}

/** The header of what the tables say of a version. */
async function headerOf(library: "openssl", version: string): Promise<string> {
  const identity = { library, version, versionFrom: "--version-text" } as const;
  const { reports } = await offlineReport(identity, ["table"]);
  return toHeader({ ...document, tls: reports.map((report) => libraryWith(report)) });
}

test.each([
  ["1.0.2u", { SSL_ST_SESSION: 0x130, SSL_ST_S3: 0x80, SSL3_STATE_ST_CLIENT_RANDOM: 0xc4, BIO_ST_NUM: 0x28 }],
  ["1.1.0l", { SSL_ST_SESSION: 0x178, SSL_ST_S3: 0x90, SSL3_STATE_ST_CLIENT_RANDOM: 0xb0, BIO_ST_NUM: 0x28 }],
])("%p has no TLS 1.3, and its header compiles where eCapture's does", async (version, known) => {
  const header = await headerOf("openssl", version);
  const values = await compiled(header, ecaptureNames);
  expect(values).toMatchObject(known);
  const tls13 = ecaptureNames.filter((name) => /^SSL_ST_.*_(SECRET|HASH)$/.test(name));
  expect(tls13.length).toBe(6);
  for (const name of tls13) {
    expect([name, values[name]]).toEqual([name, 0]);
    expect(header).toContain(`#define ${name} 0\n`);
    expect(header).toContain(`// ${name} is absent: the struct of this version has no such member\n`);
  }
});

describe("BoringSSL's header tells eCapture which kind it is", () => {
  const known = (value: number) => ({ value, status: "single", evidence: {}, member: "" }) as const;
  const absent = { value: null, status: "absent", evidence: {}, member: "", reason: "none" } as const;
  const headerWith = (fields: TlsReport["fields"]) =>
    toHeader({ ...document, tls: [libraryWith({ library: "boringssl", fields })] });
  const names = "SSL_SESSION_ST_SSL_VERSION SSL_SESSION_ST_SECRET_LENGTH SSL_ST_VERSION";

  test("Android 16: the version is the session's, and the length is not asked for", async () => {
    const header = headerWith({
      SSL_ST_VERSION: absent,
      SSL_SESSION_ST_SSL_VERSION: known(4),
      SSL_SESSION_ST_SECRET_LENGTH: absent,
    });
    // boringssl_a_16_kern.c defines no SSL_ST_VERSION.
    expect(await preprocessed(header, names)).toBe("0x4 0xFF SSL_ST_VERSION");
  });

  test("before, the session's version is no macro: it would be taken for Android 16's layout of secrets", async () => {
    const fields = {
      SSL_ST_VERSION: known(16),
      SSL_SESSION_ST_SSL_VERSION: known(4),
      SSL_SESSION_ST_SECRET_LENGTH: known(10),
    };
    const expected = "SSL_SESSION_ST_SSL_VERSION 0xa";
    expect(await preprocessed(headerWith(fields), names)).toBe(`${expected} 0x10`);
    // Nor where the connection's own is not known.
    const { SSL_ST_VERSION: _, ...others } = fields;
    expect(await preprocessed(headerWith(others), names)).toBe(`${expected} SSL_ST_VERSION`);
  });

  test("of OpenSSL it would be a member as any", async () => {
    const fields = { SSL_SESSION_ST_SSL_VERSION: known(0) };
    const header = toHeader({ ...document, tls: [libraryWith({ fields })] });
    expect(await preprocessed(header, "SSL_SESSION_ST_SSL_VERSION")).toBe("0x0");
  });
});

test("several libraries, or none, are an error that says what to do", () => {
  const two = [libraryWith({ path: "/a" }), libraryWith({ path: "/b" })];
  expect(() => toHeader({ ...document, tls: two })).toThrow(
    /^a header is of one TLS library, but 2 were found \(\/a, \/b\): name one, "offsetof tls PATH"$/,
  );
  const { kernel: _, ...host } = document;
  expect(() => toHeader({ ...host, tls: [] })).toThrow("no TLS library was found");
});
