import { expect, test } from "bun:test";
import * as v from "valibot";
import { exitCodeOf } from "../../../src/commands/print.ts";
import { type Document, documentSchema } from "../../../src/output/document.ts";
import { toJson } from "../../../src/output/json.ts";
import { keepOnly } from "../../../src/output/selection.ts";
import { toTable } from "../../../src/output/table.ts";
import { jsonOf } from "../../schema.ts";
import { document, libraryWith } from "./sample.ts";

test("the sample is a valid document and survives JSON", () => {
  expect(v.parse(documentSchema, jsonOf("document", toJson(document)))).toEqual(document);
});

test("the table shows every constant with offset, status, member and reason", () => {
  const lines = toTable(document).split("\n");
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
  expect(row("SSL_read")).toEqual(["SSL_read", "0x35a50", "0x34a50", "single"]);
  expect(row("ssl_log_secret")?.slice(-2)).toEqual(["unresolved", "it has no symbol of ssl_log_secret"]);
  expect(lines).toContain("W_LOCKDOWN_UNKNOWN  securityfs is not mounted");
});

test("a path cannot send control characters to the terminal", () => {
  const text = toTable(document);
  expect(text).not.toContain("\x1b");
  expect(text).toContain("/usr/lib/lib\\x1b[2Jssl.so.3");
});

test("a library's line says whose it is, where it lies and who uses it", () => {
  const text = (more: Parameters<typeof libraryWith>[0]) =>
    toTable({ ...document, tls: [libraryWith({ path: "/a", ...more })] });
  expect(text({})).toContain("TLS  /a\n");
  expect(text({ root: "/proc/7/\x1broot", deleted: true, used_by: [7, 812] })).toMatch(
    /TLS {2}\/a \(deleted\) in \/proc\/7\/\\x1broot\n.* used by 7 812\n/,
  );
  expect(text({ path: null })).toContain("TLS  no file\n");
});

test("colour changes nothing but colours", () => {
  const coloured = toTable(document, { colour: true, width: 200 });
  expect(coloured).toContain("\x1b[32mconfirmed");
  expect(Bun.stripANSI(coloured)).toBe(toTable(document));
});

test("one uncertain constant or a failed part makes the document incomplete", () => {
  const known: Document = { ...document };
  delete known.kernel;
  expect(exitCodeOf(document)).toBe(3);
  expect(exitCodeOf(known)).toBe(0);
  expect(exitCodeOf({ ...known, diagnostics: [{ code: "E_KERNEL", message: "no" }] })).toBe(3);
  // A function does where it was asked for.
  expect(exitCodeOf(keepOnly(known, ["SSL_read"]), known)).toBe(0);
  expect(exitCodeOf(keepOnly(known, ["ssl_log_secret"]), known)).toBe(3);
});

test("what was verified stands behind it: what is wrong, missed or lost leaps to the eye", () => {
  const verified: Document = {
    ...document,
    verify: {
      kernel: {
        bytecode: "socket_reader",
        attached: ["raw_tp:x"],
        constants: {
          offset_dport: { compared: 4, held: 4 },
          offset_rtt: { compared: 4, held: 1, mismatch: { socket: "tcp4", expected: "1680", got: null } },
        },
        not_compared: ["offset_ino"],
        not_seen: { udp4: { sockets: 8, reason: "kprobe:x is not there" } },
      },
      tls: [
        {
          path: "/a\x1b",
          bytecode: "tls_openssl_3_0",
          attached: ["SSL_read"],
          connections: 2,
          ends: 3,
          missed: 1,
          events: 9,
          lost: 5,
          items: { fd: { compared: 3, held: 2, constants: ["SSL_ST_RBIO", "BIO_ST_NUM"] } },
          not_compared: ["SSL_ST_WBIO", "BIO_ST_METHOD"],
          not_known: ["BIO_ST_METHOD"],
        },
      ],
    },
  };
  expect(exitCodeOf(verified)).toBe(3);
  const text = toTable(verified);
  for (const line of [
    /^VERIFIED {2}kernel · socket_reader · raw_tp:x$/m,
    /^offset_dport +4 of 4 +held$/m,
    /^offset_rtt +1 of 4 +WRONG +tcp4: nothing, not 1680$/m,
    /^offset_ino +- +not compared$/m,
    /^udp4 +8 +not seen +kprobe:x is not there$/m,
    /^VERIFIED {2}\/a\\x1b {2}tls_openssl_3_0 · 2 connections · 3 ends · 9 events · 1 ends MISSED · 5 events LOST$/m,
    /^fd +2 of 3 +WRONG +SSL_ST_RBIO BIO_ST_NUM$/m,
    /^- +- +not compared +SSL_ST_WBIO$/m,
    /^- +- +not known +BIO_ST_METHOD$/m,
  ])
    expect(text).toMatch(line);
});

test("a column of reasons is there where one has a reason, and only there", () => {
  const rbio = { value: 16, status: "single", member: "ssl_st.rbio", evidence: {} } as const;
  const text = (reason?: string) =>
    toTable({
      ...document,
      tls: [libraryWith({ fields: { SSL_ST_RBIO: reason === undefined ? rbio : { ...rbio, reason } } })],
    });
  expect(text()).toMatch(/^CONSTANT +OFFSET +STATUS +MEMBER\nSSL_ST_RBIO +16 +single +ssl_st\.rbio$/m);
  expect(text("because")).toMatch(/^CONSTANT +OFFSET +STATUS +MEMBER +REASON\nSSL_ST_RBIO .* because$/m);
});

test("the worst stands first, and what several share is told once", () => {
  const fields = (document.kernel?.fields ?? {}) as NonNullable<Document["kernel"]>["fields"];
  const base = fields.offset_family;
  if (base === undefined || document.kernel === undefined) throw new Error("the sample changed");
  const as = (status: "confirmed" | "unresolved" | "conflict", reason?: string) => ({
    ...base,
    status,
    ...(reason === undefined ? {} : { reason }),
  });
  const kernel = {
    ...document.kernel,
    fields: {
      a: as("confirmed"),
      b: as("unresolved", "no kprobes"),
      c: as("confirmed"),
      d: as("conflict", "two say two"),
      e: as("unresolved", "other"),
      f: as("unresolved", "no kprobes"),
    },
  };
  const lines = toTable({ ...document, kernel }).split("\n");
  const rows = lines.filter((line) => /^[a-f] /.test(line)).map((line) => [line[0], line.split(/ {2,}/)[4]]);
  expect(rows).toEqual([
    ["d", "two say two"],
    ["b", "no kprobes"],
    ["f", '"'],
    ["e", "other"],
    ["a", undefined],
    ["c", undefined],
  ]);
});
