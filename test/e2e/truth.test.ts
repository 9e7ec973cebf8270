import { beforeAll, describe, expect, test } from "bun:test";
import { truthOf } from "../truth/read.ts";
import { fetchTimeout } from "../unit/tls/debian.ts";
import { loadNode, nodeSamples } from "../unit/tls/node.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

/**
 * A program with OpenSSL 3.0 inside: what its accessors do not reveal is only in the table, whose version is exact, where
 * nobody asks what its strings lead to.
 */
const sample = nodeSamples.find(({ arch, version }) => arch === "x64" && version === "20.20.2");
let node = "";
beforeAll(async () => {
  if (sample === undefined) throw new Error("no sample");
  node = await loadNode(sample);
}, fetchTimeout);

const truth = truthOf("openssl-3.0.20");
const assumed = {
  SSL_SESSION_ST_CIPHER_ID: truth["ssl_session_st.cipher_id"],
  BIO_ST_NUM: truth["bio_st.num"],
};
const [constant, number] = ["SSL_SESSION_ST_CIPHER_ID", assumed.SSL_SESSION_ST_CIPHER_ID];
const offsetof = (...args: string[]): Run => run([executable, ...args]);
const ofNode = (...args: string[]): Run => offsetof("tls", node, "--source", "probe,code,table", ...args);

describe("what only a table says", () => {
  test("is null with its number in the evidence, and the run ends with 3", () => {
    const result = ofNode();
    const [library] = documentOf(result).tls ?? [];
    expect(result.status).toBe(3);
    expect(library).toMatchObject({ match: "exact", layout: "openssl_3_0_0", described: "openssl_3_0_0" });
    const blank = Object.entries(library?.fields ?? {}).filter(([, { value }]) => value === null);
    expect(blank.map(([name, { status, evidence }]) => [name, status, evidence])).toEqual(
      Object.entries(assumed)
        .map(([name, offset]) => [name, "assumed", { table: [offset ?? -1] }])
        .sort((a, b) => (String(a[0]) > String(b[0]) ? -1 : 1)),
    );
    // All else is as the headers of that version say.
    for (const { value, member } of Object.values(library?.fields ?? {}))
      if (value !== null && truth[member] !== undefined)
        expect([member, value]).toEqual([member, truth[member]]);
  });

  test.each<[format: string, args: readonly string[], told: RegExp]>([
    ["header", ["--format", "header"], /#define SSL_SESSION_ST_CIPHER_ID 0x300\n/],
    ["env", ["--format", "env"], /^SSL_SESSION_ST_CIPHER_ID=768$/m],
    ["table", ["--format", "table"], /SSL_SESSION_ST_CIPHER_ID +768 +assumed/],
    ["get", ["--get", constant], /^768\n$/],
    ["only", ["--only", constant], /"value": 768/],
  ])(
    "%s: not told, and ends with 3; told with --allow assumed, and ends with 0, since its version is exact",
    (_, args, told) => {
      expect(number).toBe(768);
      const plain = ofNode(...args);
      expect(plain.stdout).not.toMatch(told);
      expect(plain.status).toBe(3);
      const allowed = ofNode(...args, "--allow", "assumed");
      expect(allowed.stdout).toMatch(told);
      expect(allowed.status).toBe(0);
    },
  );

  test("is not baked; with --allow assumed it is", () => {
    using scratch = new Scratch();
    const extract = (...args: string[]) =>
      offsetof(
        ...["bytecode", "extract", "--for", node, "--source", "probe,code,table"],
        ...["-o", scratch.at("tls.o"), ...args],
      );
    const plain = extract();
    expect([plain.status, plain.stdout]).toEqual([1, ""]);
    expect(plain.stderr).toContain("is not known: SSL_SESSION_ST_CIPHER_ID");
    const part = extract("--allow-missing");
    expect(part.status).toBe(3);
    expect(JSON.parse(part.stdout).constants).toMatchObject({ [constant]: null, SSL_ST_RBIO: 16 });
    const allowed = extract("--allow", "assumed");
    expect(allowed.status).toBe(0);
    expect(JSON.parse(allowed.stdout).constants).toMatchObject({ [constant]: number });
  });

  test("a document that tells it does not get it into an object either, nor one of before these rules", async () => {
    using scratch = new Scratch();
    const document = ofNode("--allow", "assumed").stdout;
    await Bun.write(scratch.at("a.json"), document);
    await Bun.write(scratch.at("b.json"), document.replace(/"format_version": "2/, '"format_version": "1'));
    const extract = (file: string, ...args: string[]) =>
      offsetof(
        "bytecode",
        "extract",
        "--for",
        node,
        "--constants",
        scratch.at(file),
        "-o",
        scratch.at("tls.o"),
        ...args,
      );
    expect(extract("a.json").stderr).toContain("is not known: SSL_SESSION_ST_CIPHER_ID");
    expect(extract("a.json", "--allow", "assumed").status).toBe(0);
    expect(extract("b.json").stderr).toContain("must be a document of format_version 2");
  });
});

describe("nothing known is not success", () => {
  test.each(["json", "table", "env", "header"])("%s: a library without a constant ends with 3", (format) => {
    expect(offsetof("tls", "--version-text", "aws-lc 1.30.0", "--format", format).status).toBe(3);
  });
});

test("a member that its version does not have is absent, which is no gap", () => {
  const result = offsetof("tls", "--version-text", "openssl 1.0.2u");
  const [library] = documentOf(result).tls ?? [];
  expect(library?.fields.SSL_ST_EARLY_SECRET).toMatchObject({ value: null, status: "absent" });
  expect(result.status).toBe(0);
  const ask = [
    "tls",
    "--version-text",
    "openssl 1.0.2u",
    "--only",
    "SSL_ST_EARLY_SECRET",
    "--format",
    "header",
  ];
  const alone = offsetof(...ask);
  expect(alone.stdout).toContain("#define SSL_ST_EARLY_SECRET 0");
  expect(alone.status).toBe(0);
});
