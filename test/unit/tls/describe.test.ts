import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { layoutFiles, readMeasured, withMeasured } from "../../../assets/build/layouts.ts";
import {
  chooseLayout,
  describe as describedBy,
  type TableField,
  tableFields,
  unknownFields,
} from "../../../src/tls/layouts/describe.ts";
import { knownLibraries, type Layouts, loadLayouts } from "../../../src/tls/layouts/layouts.ts";
import { layoutsSchema } from "../../../src/tls/layouts/layouts-schema.ts";
import { compareReleases, parseRelease } from "../../../src/tls/layouts/release.ts";
import { truthOf } from "../../truth/read.ts";

const repository = join(import.meta.dir, "../../..");
const published: unknown = JSON.parse(readFileSync(join(repository, "assets/build/published.json"), "utf8"));

const load = async (library: string): Promise<Layouts> => {
  const layouts = await loadLayouts(library);
  if (layouts === null) throw new Error(`no layouts of ${library}`);
  return layouts;
};
const openssl = await load("openssl");
const boringssl = await load("boringssl");
const gnutls = await load("gnutls");

const { layouts: dated } = JSON.parse(
  readFileSync(join(repository, "assets/build/boringssl-by-date.json"), "utf8"),
) as { layouts: { seen_in_commits_of: string[]; layout: Record<string, number> }[] };

describe("the embedded layouts", () => {
  test("are what the generator writes from the published figures", async () => {
    const files = await layoutFiles(published);
    expect(Object.keys(files)).toEqual(["openssl.json", "boringssl.json", "gnutls.json"]);
    for (const [name, text] of Object.entries(files)) {
      expect(readFileSync(join(repository, "assets/layouts", name), "utf8")).toBe(text);
    }
  });

  test("what was measured is in them already: adding it again changes nothing", async () => {
    const measured = await readMeasured();
    expect(withMeasured(openssl, measured.openssl)).toEqual(openssl);
    expect(withMeasured(boringssl, measured.boringssl)).toEqual(boringssl);
    expect(withMeasured(gnutls, measured.gnutls)).toEqual(gnutls);
  });

  test("every group says up to which version it was checked, and by whom", () => {
    for (const [group, { checked_up_to }] of Object.entries(openssl.groups)) {
      const { version, by } = checked_up_to;
      expect([version, openssl.versions[version]]).toEqual([version, group]);
      expect(by).toBe(openssl.measured[version] ?? "the published version map");
      // There is no newer one of it.
      const release = parseRelease(version);
      const newer = Object.keys(openssl.versions).filter((text) => {
        const other = parseRelease(text);
        return release && other && compareReleases(other, release) > 0 && openssl.versions[text] === group;
      });
      expect(newer).toEqual([]);
    }
    // No text tells which BoringSSL it is.
    const releases = Object.values(boringssl.groups).map(({ checked_up_to }) => checked_up_to.version);
    expect(releases.slice(0, 6)).toEqual([
      "Android 13",
      "Android 14",
      "boringssl_a_15",
      "boringssl_a_16",
      "boringssl na",
      "Android 10",
    ]);
    // Behind them are upstream's, by date.
    expect(releases.slice(6)).toEqual(dated.map(({ seen_in_commits_of: seen }) => seen.at(-1) ?? ""));
    expect(boringssl.measured).toEqual({});
  });

  test("hold every published constant, in its order, and every version", async () => {
    const groupSchema = v.object({
      constants: v.record(v.string(), v.number()),
      members: v.record(v.string(), v.string()),
    });
    const input = v.parse(
      v.object({ groups: v.record(v.string(), groupSchema), version_map: v.record(v.string(), v.string()) }),
      published,
    );
    const groups = { ...openssl.groups, ...boringssl.groups, ...gnutls.groups };
    const own = await readMeasured();
    const measuredHere = Object.values(own).flatMap((each) => Object.keys(each.groups));
    const byDate = dated.map(
      ({ seen_in_commits_of: [first = ""] }) => `boringssl_${first.replaceAll("-", "_")}`,
    );
    expect(Object.keys(groups).sort()).toEqual(
      [...Object.keys(input.groups), ...measuredHere, ...byDate].sort(),
    );
    for (const [name, { constants, members }] of Object.entries(input.groups)) {
      // Behind them are those that eCapture has a mark for, or nothing.
      const all = Object.entries(groups[name]?.constants ?? {});
      const embedded = all.slice(0, Object.keys(constants).length);
      expect(embedded.map(([constant]) => constant)).toEqual(Object.keys(constants));
      expect(all.slice(embedded.length).map(([, offset]) => offset)).toEqual(
        name === "boringssl_a_16" ? [null, null] : [],
      );
      for (const [constant, offset] of embedded) {
        // Published as 0 without a member: there is no such member.
        const absent = constants[constant] === 0 && members[constant] === undefined;
        expect([name, constant, offset]).toEqual([
          name,
          constant,
          absent ? null : (constants[constant] ?? -1),
        ]);
      }
      const named = { ...openssl.members, ...boringssl.members, ...gnutls.members };
      for (const [constant, member] of Object.entries(members)) {
        expect(named[constant]).toBe(member.replace("->", ".").replace(/ \(.*\)/, ""));
      }
    }
    for (const [name, { versions: embedded, measured }] of Object.entries({ openssl, gnutls })) {
      const versions = Object.entries(input.version_map).filter(([text]) => text.startsWith(`${name} `));
      // Beside those that this project measured, which contradict none of them.
      const theirs = versions.map(([text, group]) => [text.slice(name.length + 1), group]);
      const ours = Object.keys(measured).map((text) => [text, embedded[text]]);
      expect(embedded).toEqual(Object.fromEntries([...ours, ...theirs]));
    }
    expect(openssl.attribution).toContain("eCapture");
  });

  // No run checks them.
  test.each(knownLibraries)("those of %s are what their schema says", async (library) => {
    const layouts = await loadLayouts(library);
    expect(v.parse(layoutsSchema, layouts)).toEqual(layouts as Layouts);
  });

  test("a file that names a group it does not hold is refused", () => {
    const bad = { ...openssl, versions: { "3.0.0": "openssl_9" } };
    expect(() => v.parse(layoutsSchema, bad)).toThrow("a version names a group that is not there");
  });

  test("there are none of AWS-LC", async () => {
    expect(await loadLayouts("aws-lc")).toBeNull();
  });
});

describe("the layout for a version", () => {
  test.each([
    ["3.0.19", "openssl_3_0_0", "exact"],
    ["1.1.1w", "openssl_1_1_1j", "exact"],
    ["3.2.1", "openssl_3_2_0", "exact"],
    ["3.2.3", "openssl_3_2_3", "exact"],
    ["4.0.1", "openssl_3_5_0", "exact"],
    // Numeric order: not 3.2.1's.
    ["3.2.10", "openssl_3_2_4", "nearest"],
    ["3.0.22", "openssl_3_0_0", "exact"],
    ["3.0.23", "openssl_3_0_0", "nearest"],
    ["3.0.100", "openssl_3_0_0", "nearest"],
    ["1.0.2zg", "openssl_1_0_2a", "nearest"],
    ["3.6.5", "openssl_3_5_0", "exact"],
    ["3.6.4", "openssl_3_5_0", "nearest"],
    ["4.0.3", "openssl_3_5_0", "exact"],
    // A suffix is another build.
    ["1.1.1c+quic", "openssl_1_1_1b", "nearest"],
    ["3.0.12+quic", "openssl_3_0_0_quic", "exact"],
    ["3.0.7+quic", "openssl_3_0_0_quic", "exact"],
    ["3.0.22+quic", "openssl_3_0_0", "nearest"],
    ["1.1.1k FIPS", "openssl_1_1_1j", "nearest"],
    // So is another one: it is not that of +quic.
    ["3.0.12-fips", "openssl_3_0_12", "nearest"],
    ["1.1.1v FIPS", "openssl_1_1_1j", "nearest"],
    ["3.3.2-beta1", "openssl_3_3_0", "nearest"],
    // A bare 1.1.1 is a release of its own, not 1.1.1a.
    ["1.1.1", "openssl_1_1_1", "exact"],
    ["1.1.1+quic", "openssl_1_1_1", "nearest"],
  ] as const)("%s is %s, %s", (version, layout, match) => {
    const choice = chooseLayout(openssl, version);
    expect({ layout: choice.layout, match: choice.match }).toEqual({ layout, match });
    expect(choice.reason === undefined).toBe(match === "exact");
  });

  test.each([
    "1.0.1e",
    "0.9.8zh",
    "2.0.0",
    "3.7.0",
    "4.1.0",
    "5.0.0",
    "3.5.0-beta1",
    "4",
    "toString",
    "__proto__",
  ])("%s has none", (version) => {
    const choice = chooseLayout(openssl, version);
    expect(choice).toMatchObject({ layout: null, match: null });
    expect(choice.reason).toContain(version);
  });

  test("a newer one is never taken", () => {
    expect(chooseLayout(openssl, "1.0.2-beta3").reason).toBe(
      "1.0.2-beta3 is older than all that are published of its series",
    );
    expect(chooseLayout(openssl, "3.2.10").reason).toBe(
      "3.2.10 is not published, the nearest older 3.2.6 is used (openssl_3_2_4, measured on OpenSSL 3.2.6 30 Sep 2025, checked up to 3.2.6)",
    );
  });
});

describe("what the table says", () => {
  const said = (version: string) => {
    const choice = chooseLayout(openssl, version);
    if (choice.layout === null) throw new Error(choice.reason);
    return tableFields(openssl, choice, version);
  };
  const of = (version: string, constant: string) =>
    said(version).find((one) => one.field.constant === constant)?.evidence;

  // Compiled from the headers of Debian's packages: a reader that has nothing to do with the table.
  test.each(["1.1.1w", "3.0.20", "3.0.22", "3.5.7", "3.6.3", "4.0.2"])("is true of %s", (version) => {
    compare(said(version), truthOf(`openssl-${version}`));
  });
  test.each(["10", "13", "14"])("is true of Android %s's BoringSSL", (release) => {
    const choice = { layout: `boringssl_a_${release}`, match: "exact" } as const;
    const fields = tableFields(boringssl, choice, "");
    const absent = fields.filter(({ evidence }) => evidence.absent);
    compare(
      fields.filter((one) => !absent.includes(one)),
      truthOf(`boringssl-${release}`),
    );
    expect(absent.map(({ field }) => field.constant)).toEqual(
      release === "10" ? ["BSSL__SSL_HANDSHAKE_HINTS"] : [],
    );
  });

  function compare(fields: readonly TableField[], truth: Readonly<Record<string, number>>): void {
    expect(fields.map(({ field, evidence }) => [field.member, ...evidence.candidates])).toEqual(
      fields.map(({ field }) => [field.member, truth[field.member] ?? -1]),
    );
    expect(fields.length).toBeGreaterThan(19);
  }

  test("no number where the struct has no such member", () => {
    expect(of("1.0.2u", "SSL_ST_EARLY_SECRET")).toEqual({
      source: "table",
      constant: "SSL_ST_EARLY_SECRET",
      candidates: [],
      match: "exact",
      absent: true,
      reason: "the struct of this version has no such member",
    });
    expect(of("1.0.2u", "SSL_ST_VERSION")?.candidates).toEqual([0]);
  });

  test("a figure is disputed where builds of one version differ", () => {
    expect(of("3.0.12", "SSL_ST_SESSION")?.disputed).toContain("2328");
    expect(of("3.0.12", "SSL_ST_RBIO")).toEqual({
      source: "table",
      constant: "SSL_ST_RBIO",
      candidates: [16],
      match: "exact",
    });
    for (const version of ["1.1.1w+quic", "3.0.15+quic"]) {
      for (const constant of ["SSL_ST_SESSION", "SSL_ST_EXPORTER_MASTER_SECRET"])
        expect(of(version, constant)?.disputed).toContain("0xc0");
      expect(of(version, "SSL_ST_RBIO")?.disputed).toBeUndefined();
    }
    // Measured on such a build.
    expect(of("1.1.1v+quic", "SSL_ST_SESSION")).toMatchObject({ candidates: [1296 + 0xc0], match: "exact" });
    expect(of("1.1.1v+quic", "SSL_ST_SESSION")?.disputed).toBeUndefined();
    expect(of("3.0.13", "SSL_ST_SESSION")?.disputed).toBeUndefined();
  });

  test("a variant that cannot be told has names and no numbers", () => {
    const fields = unknownFields(boringssl, "which one cannot be told", new Map());
    expect(fields.map((one) => one.field.constant)).toContain("BSSL__SSL_HANDSHAKE_HINTS");
    expect(fields.flatMap((one) => one.evidence.candidates)).toEqual([]);
    expect(new Set(fields.map((one) => one.evidence.reason))).toEqual(new Set(["which one cannot be told"]));
  });
});

describe("the layout that describes a library", () => {
  const named = (version: string | null) =>
    version === null
      ? ({ layout: null, match: null, reason: "no version" } as const)
      : chooseLayout(openssl, version);
  const by = (version: string | null, measured: Record<string, number>) => {
    const { layout, match } = describedBy(
      openssl,
      named(version),
      version,
      new Map(Object.entries(measured)),
    );
    return [layout, match];
  };

  test("is its version's, where nothing measured differs", () => {
    expect(by("3.0.22", {})).toEqual(["openssl_3_0_0", "exact"]);
    expect(by("3.0.22", { SSL_ST_SESSION: 2328 })).toEqual(["openssl_3_0_0", "exact"]);
    expect(by("3.0.99", { SSL_ST_SESSION: 2328 })).toEqual(["openssl_3_0_0", "nearest"]);
  });

  test("is the one that all measured values fit, where there is no version, or its version's does not", () => {
    const measured = { SSL_ST_RBIO: 16, SSL_ST_SESSION: 2328, SSL_SESSION_ST_CIPHER: 760 };
    expect(by(null, measured)).toEqual(["openssl_3_0_0", "fit"]);
    // 3.0.12's published group has another session.
    expect(by("3.0.12", measured)).toEqual(["openssl_3_0_0", "fit"]);
    expect(by(null, {})).toEqual([null, null]);
    // Several fit.
    expect(by(null, { BIO_ST_METHOD: 8 })).toEqual([null, null]);
  });

  test("is never of another kind than was measured, nor a newer one", () => {
    // The connection of 3.0 beside the text of 3.5, and the other way round.
    expect(by("3.5.7", { SSL_ST_RBIO: 16 })).toEqual([null, null]);
    expect(by("3.0.22", { SSL_CONNECTION_ST_RBIO: 72 })).toEqual([null, null]);
    expect(by("3.5.7", { SSL_ST_RBIO: 16, SSL_ST_SESSION: 2328 })).toEqual(["openssl_3_0_0", "fit"]);
    const ofNewest = Object.entries(openssl.groups.openssl_3_5_0?.constants ?? {}).flatMap(
      ([name, offset]) => (offset === null ? [] : [[name, offset] as const]),
    );
    expect(by(null, Object.fromEntries(ofNewest))).toEqual(["openssl_3_5_0", "fit"]);
    expect(by("3.2.0", Object.fromEntries(ofNewest))).toEqual(["openssl_3_2_0", "exact"]);
  });

  test("where none describes it, its fields are those of the kind that was measured", () => {
    const names = (measured: Record<string, number>) =>
      unknownFields(openssl, "no version", new Map(Object.entries(measured))).map(
        ({ field }) => field.constant,
      );
    expect(names({ SSL_ST_RBIO: 16 })).toContain("SSL_ST_SESSION");
    expect(names({ SSL_CONNECTION_ST_RBIO: 72 })).toContain("SSL_CONNECTION_ST_SESSION");
    expect(names({ SSL_CONNECTION_ST_RBIO: 72 })).not.toContain("SSL_ST_SESSION");
    expect(names({})).not.toContain("SSL_ST_SESSION");
  });
});
