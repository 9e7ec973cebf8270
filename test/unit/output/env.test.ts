import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { documentSchema } from "../../../src/output/document.ts";
import { shellWord, toEnv } from "../../../src/output/env.ts";
import { toHeader } from "../../../src/output/header.ts";
import { document, libraryWith } from "./sample.ts";

/** What a shell prints when it runs a script. */
function runIn(shell: string, script: string): string {
  const { stdout, stderr, success } = Bun.spawnSync([shell, "-c", `set -eu; ${script}`], {
    env: { LC_ALL: "C" },
  });
  if (!success) throw new Error(`${shell}: ${stderr}`);
  return stdout.toString();
}

describe.each(["dash", "bash"])("%s", (shell) => {
  test("reads back any text that a word was made of", () => {
    // One shell for many texts; no variable can hold a zero byte.
    const text = fc.string({ unit: "binary" }).map((each) => each.replaceAll("\0", ""));
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        const script = texts.map((each) => `v=${shellWord(each)}; printf '%s\\000' "$v"`).join("\n");
        expect(runIn(shell, script)).toBe(texts.map((each) => `${each}\0`).join(""));
      }),
      { numRuns: 60 },
    );
  });

  test.each(["it's", "$(id)`id`", "a\nb\n", "~/*?[a]", "", "-n", "#", "\\", "!!", 'a"b', "a b", "''"])(
    "reads back %p as a path and runs nothing of it",
    (path) => {
      const env = toEnv({ ...document, tls: [libraryWith({ path })] }, { exported: false });
      const script = `eval "$ENV_TEXT"; printf '%s|%s' "$TLS_0_PATH" "$OFFSET_FAMILY"`;
      expect(runIn(shell, `ENV_TEXT=${shellWord(env)}; ${script}`)).toBe(`${path}|16`);
    },
  );
});

test("only constants that are known, in capitals", () => {
  const { kernel, ...host } = document;
  expect(toEnv({ ...host, ...(kernel && { kernel }), tls: [] }, { exported: false })).toBe(
    "OFFSET_FAMILY=16\nTLS_COUNT=0\n",
  );
});

test.each(["X=1; id", "$(id)", "a b", "x\ny", "1x", ""])("a document has no constant named %p", (name) => {
  const field = { value: 1, member: "a.b", status: "single", evidence: {} } as const;
  const fields = { [name]: field };
  const { success } = v.safeParse(documentSchema, { ...document, tls: [libraryWith({ fields })] });
  const constants = { [name]: 1 };
  const other = v.safeParse(documentSchema, { ...document, tls: [libraryWith({ constants })] });
  expect([success, other.success]).toEqual([false, false]);
  expect(v.safeParse(documentSchema, document).success).toBe(true);
});

test("--export exports each", () => {
  const lines = toEnv(document, { exported: true }).trimEnd().split("\n");
  expect(lines.filter((line) => !line.startsWith("export "))).toEqual([]);
  expect(lines).toContain("export SSL_ST_RBIO=16");
  expect(lines).toContain("export SSL_READ_OFFSET=215632");
  expect(lines.filter((line) => line.includes("LOG_SECRET"))).toEqual([]);
});

test("of several libraries each constant says whose it is, and no name stands twice", () => {
  const second = libraryWith({
    path: "/b",
    version: null,
    constants: { SSL_ST_RBIO: 24, SSL_ST_WBIO: null },
    functions: {},
  });
  const lines = toEnv({ ...document, tls: [libraryWith({ path: "/a" }), second] }, { exported: false })
    .trimEnd()
    .split("\n");
  expect(lines.slice(1)).toEqual([
    "TLS_COUNT=2",
    "TLS_0_PATH=/a",
    "TLS_0_LIBRARY=openssl",
    "TLS_0_VERSION=3.0.22",
    "TLS_0_SSL_ST_RBIO=16",
    "TLS_0_SSL_READ_ADDRESS=219728",
    "TLS_0_SSL_READ_OFFSET=215632",
    "TLS_1_PATH=/b",
    "TLS_1_LIBRARY=openssl",
    "TLS_1_SSL_ST_RBIO=24",
  ]);
});

test("a function that begins with an underscore does so neither in a shell nor in a header", () => {
  const functions = { _gnutls_one: { address: 16, offset: 8, status: "single", evidence: {} } } as const;
  const tls = [libraryWith({ library: "gnutls", functions })];
  expect(toEnv({ ...document, tls }, { exported: false })).toContain("\nGNUTLS_ONE_OFFSET=8\n");
  expect(toHeader({ ...document, tls })).toContain("\n#define GNUTLS_ONE_OFFSET 0x8\n");
});
