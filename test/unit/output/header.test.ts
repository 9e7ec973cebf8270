import { expect, test } from "bun:test";
import type { TlsReport } from "../../../src/output/document.ts";
import { toHeader } from "../../../src/output/header.ts";
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

test("several libraries, or none, are an error that says what to do", () => {
  const two = [libraryWith({ path: "/a" }), libraryWith({ path: "/b" })];
  expect(() => toHeader({ ...document, tls: two })).toThrow(
    /^a header is of one TLS library, but 2 were found \(\/a, \/b\): name one, "offsetof tls PATH"$/,
  );
  const { kernel: _, ...host } = document;
  expect(() => toHeader({ ...host, tls: [] })).toThrow("no TLS library was found");
});
