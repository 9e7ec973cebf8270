import { expect, test } from "bun:test";
import * as v from "valibot";
import { exitCodeOf } from "../../../src/commands/print.ts";
import { type Document, documentSchema } from "../../../src/output/document.ts";
import { toJson } from "../../../src/output/json.ts";
import { toTable } from "../../../src/output/table.ts";
import { jsonOf } from "../../schema.ts";
import { document, libraryWith } from "./sample.ts";

test("the sample is a valid document and survives JSON", () => {
  expect(v.parse(documentSchema, jsonOf("document", toJson(document)))).toEqual(document);
});

test("the table shows every constant with offset, status, member and reason", () => {
  const lines = toTable(document, { colour: false }).split("\n");
  const row = (name: string) => lines.find((line) => line.startsWith(`${name} `))?.split(/ {2,}/);
  expect(row("offset_family")).toEqual(["offset_family", "16", "confirmed", "sock_common.skc_family"]);
  expect(row("offset_rtt")).toEqual([
    "offset_rtt",
    "-",
    "unresolved",
    "tcp_sock.srtt_us",
    "guess: 1624, 1632 not told apart",
  ]);
  expect(row("SSL_ST_RBIO")).toEqual(["SSL_ST_RBIO", "16", "single", "ssl_st.rbio"]);
  expect(lines).toContain("W_LOCKDOWN_UNKNOWN  securityfs is not mounted");
});

test("a path cannot send control characters to the terminal", () => {
  const text = toTable(document, { colour: false });
  expect(text).not.toContain("\x1b");
  expect(text).toContain("/usr/lib/lib\\x1b[2Jssl.so.3");
});

test("a library's line says whose it is, where it lies and who uses it", () => {
  const text = (more: Parameters<typeof libraryWith>[0]) =>
    toTable({ ...document, tls: [libraryWith({ path: "/a", ...more })] }, { colour: false });
  expect(text({})).toContain("TLS  /a\n");
  expect(text({ root: "/proc/7/\x1broot", deleted: true, used_by: [7, 812] })).toMatch(
    /TLS {2}\/a \(deleted\) in \/proc\/7\/\\x1broot\n.* used by 7 812\n/,
  );
  expect(text({ path: null })).toContain("TLS  no file\n");
});

test("colour changes nothing but colours", () => {
  const coloured = toTable(document, { colour: true });
  expect(coloured).toContain("\x1b[32mconfirmed");
  expect(Bun.stripANSI(coloured)).toBe(toTable(document, { colour: false }));
});

test("one uncertain constant or a failed part makes the document incomplete", () => {
  const known: Document = { ...document };
  delete known.kernel;
  expect(exitCodeOf(document)).toBe(3);
  expect(exitCodeOf(known)).toBe(0);
  expect(exitCodeOf({ ...known, diagnostics: [{ code: "E_KERNEL", message: "no" }] })).toBe(3);
});
