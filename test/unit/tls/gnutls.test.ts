/** GnuTLS: what each source says of Debian's, against what the headers of their source packages say. */
import { describe, expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { loadPackage } from "../../../assets/build/debian.ts";
import { functionNames } from "../../../ffi/gnutls.ts";
import type { Source } from "../../../src/offsets/evidence.ts";
import type { LibraryReport } from "../../../src/output/document.ts";
import { identityNamed } from "../../../src/tls/identify/version-text.ts";
import { loadLayouts } from "../../../src/tls/layouts/layouts.ts";
import { offlineReport, tlsReports } from "../../../src/tls/tls.ts";
import { type Truth, truthOf, truthOfPackage } from "../../truth/read.ts";
import { fetchTimeout } from "./debian.ts";

/** This machine's own. */
const own = realpathSync("/usr/lib/x86_64-linux-gnu/libgnutls.so.30");
const ownVersion =
  /^Version: (.*)$/m.exec(Bun.spawnSync(["dpkg-query", "-s", "libgnutls30"]).stdout.toString())?.[1] ?? "";

async function reportOf(path: string, ...sources: Source[]): Promise<LibraryReport> {
  const { reports } = await tlsReports({ scope: { kind: "files", paths: [path] }, sources });
  const [report, ...others] = reports;
  if (report === undefined || others.length > 0) throw new Error(`${path} is not one library`);
  return report;
}

/** Constants with what was said of them, where that is another thing than the truth. */
const wrongIn = ({ fields }: LibraryReport, truth: Truth) =>
  Object.entries(fields).flatMap(([constant, { value, member }]) =>
    value === null || value === truth[member] ? [] : [[constant, value, truth[member]]],
  );
const unknownIn = ({ fields }: LibraryReport) =>
  Object.entries(fields).flatMap(([constant, { value, reason }]) =>
    value === null ? [[constant, reason]] : [],
  );

test(
  "measured at work, all is known, and confirmed by the table of its version",
  async () => {
    const truth = await truthOfPackage("bookworm", "gnutls", ownVersion);
    const report = await reportOf(own, "probe");
    expect(report).toMatchObject({ library: "gnutls", version: ownVersion.replace(/-.*/, "") });
    expect(wrongIn(report, truth)).toEqual([]);
    expect(unknownIn(report)).toEqual([]);
    expect(Object.keys(report.fields)).toHaveLength(13);
    const all = await reportOf(own, "probe", "code", "references", "table");
    expect(all).toMatchObject({ layout: "gnutls_3_7_7", described: "gnutls_3_7_7", match: "exact" });
    expect(new Set(Object.values(all.fields).map(({ status }) => status))).toEqual(new Set(["confirmed"]));
  },
  fetchTimeout,
);

const suites = [
  ["bullseye", "libgnutls30", "gnutls_3_7_0"],
  ["bookworm", "libgnutls30", "gnutls_3_7_7"],
  // A patch of Debian's adds a member: the layout of its version's text is another.
  ["trixie", "libgnutls30t64", "gnutls_3_8_9_debian"],
  ["sid", "libgnutls30t64", "gnutls_3_8_13"],
] as const;

describe.each(suites)("%s", (suite, name, layout) => {
  test.each(["amd64", "arm64"] as const)(
    "%s: read without being run, all is known and true",
    async (architecture) => {
      const { root, version } = await loadPackage(suite, name, architecture);
      const truth = await truthOfPackage(suite, "gnutls", version);
      const [path = ""] = new Bun.Glob("usr/lib/*/libgnutls.so.30").scanSync({ cwd: root, absolute: true });
      const report = await reportOf(realpathSync(path), "code", "references", "table");
      expect(wrongIn(report, truth)).toEqual([]);
      expect(report.version).toBe(version.replace(/-.*/, ""));
      expect(report.layout).toBe(layout);
      expect(unknownIn(report)).toEqual([]);
    },
    fetchTimeout,
  );
});

test("references and code alone: no number is wrong, and the secrets of TLS 1.3 are all told", async () => {
  const truth = await truthOfPackage("bookworm", "gnutls", ownVersion);
  const report = await reportOf(own, "code", "references");
  expect(wrongIn(report, truth)).toEqual([]);
  const open = unknownIn(report).map(([constant]) => constant);
  expect(open.toSorted()).toEqual([
    "GNUTLS_SESSION_INT_SECURITY_PARAMETERS",
    "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_CLIENT_RANDOM",
    "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET",
  ]);
});

test("the published layouts agree with the headers, where there are headers", async () => {
  const layouts = await loadLayouts("gnutls");
  for (const [version, layout] of [
    ["3.7.1", "gnutls_3_7_0"],
    ["3.7.9", "gnutls_3_7_7"],
    ["3.8.9", "gnutls_3_8_9_debian"],
    ["3.8.13", "gnutls_3_8_13"],
  ] as const) {
    const truth = truthOf(`gnutls-${version}`);
    const figures = Object.entries(layouts?.groups[layout]?.constants ?? {});
    expect(figures).toHaveLength(13);
    for (const [constant, offset] of figures)
      expect([version, constant, offset]).toEqual([
        version,
        constant,
        truth[layouts?.members[constant] ?? ""] ?? null,
      ]);
  }
});

test("a version by its text has the table's figures, those of the nearest older one where it is not published", async () => {
  const said = async (text: string) => (await offlineReport(identityNamed(text), ["table"])).reports[0];
  expect(await said("gnutls 3.7.11")).toMatchObject({
    library: "gnutls",
    described: "gnutls_3_7_7",
    match: "exact",
  });
  expect(await said("gnutls 3.8.12")).toMatchObject({ described: "gnutls_3_8_7", match: "nearest" });
  expect(await said("gnutls 3.6.11")).toMatchObject({ described: null, match: null });
});

const findingsSchema = v.record(
  v.string(),
  v.record(v.string(), v.object({ candidates: v.array(v.number()), reason: v.optional(v.string()) })),
);

test("a function that is missing costs what it alone tells, and the reason names it", () => {
  const keys = ["E_CKEY", "HS_CKEY", "HS_SKEY", "AP_CKEY", "AP_SKEY", "AP_EXPKEY"];
  const costs: Readonly<Record<string, readonly string[]>> = {
    gnutls_session_set_keylog_function: keys.map((key) => `GNUTLS_SESSION_INT_KEY_PROTO_TLS13_${key}`),
    gnutls_session_get_master_secret: ["GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET"],
    gnutls_psk_allocate_client_credentials: ["GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY"],
    gnutls_protocol_get_name: ["SECURITY_PARAMETERS_ST_PVERSION", "VERSION_ENTRY_ST_ID"],
    gnutls_mac_get_name: ["GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF", "MAC_ENTRY_ST_ID"],
  };
  expect(Object.keys(costs).filter((name) => !functionNames.includes(name))).toEqual([]);
  const program = join(import.meta.dir, "gnutls.program.ts");
  const { stdout, stderr } = Bun.spawnSync([process.execPath, program, own, ...Object.keys(costs)]);
  expect(stderr.toString()).toBe("");
  const found = v.parse(findingsSchema, JSON.parse(stdout.toString()));
  const { "": whole = {} } = found;
  for (const [name, lost] of Object.entries(costs)) {
    const left = found[name] ?? {};
    for (const [constant, { candidates }] of Object.entries(whole)) {
      expect(candidates).toHaveLength(1);
      const expected = lost.includes(constant) ? [] : candidates;
      expect([name, constant, left[constant]?.candidates]).toEqual([name, constant, expected]);
      if (lost.includes(constant)) expect(left[constant]?.reason).toBe(`it has no ${name}`);
    }
  }
});
