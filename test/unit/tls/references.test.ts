import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { installRuntime } from "../../../assets/build/runtime.ts";
import { Elf } from "../../../src/elf/elf.ts";
import type { Evidence } from "../../../src/offsets/evidence.ts";
import { codeEvidence } from "../../../src/tls/code/code.ts";
import { loadLayouts, unpublished } from "../../../src/tls/layouts/layouts.ts";
import { loadDecoder } from "../../../src/tls/machine/decoder.ts";
import { hasLoad } from "../../../src/tls/references/displacement.ts";
import { LoadedFile } from "../../../src/tls/references/loaded-file.ts";
import { opensslNames } from "../../../src/tls/references/openssl.ts";
import { referenceEvidence } from "../../../src/tls/references/references.ts";
import { Subject } from "../../../src/tls/references/subject.ts";
import { Witnesses } from "../../../src/tls/references/witnesses.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { bunLive } from "../../truth/live.ts";
import { truthOf, truthOfPackage } from "../../truth/read.ts";
import { wrongNumbers } from "../../truth/wrong.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";
import { loadNode, nodeSamples } from "./node.ts";

const repository = join(import.meta.dir, "../../..");
/** This project's own runtime: a stripped program with BoringSSL inside, and without frames. */
const bun = join(repository, "node_modules/bun/bin/bun.exe");

const folders = { amd64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" } as const;

beforeAll(loadSamples, fetchTimeout);

/** What is told, by constant. */
async function read(path: string, library: "openssl" | "boringssl" = "boringssl") {
  using elf = Elf.open(path, path, { follow: true });
  return toldIn(referenceEvidence(library, elf));
}

const toldIn = (evidence: readonly Evidence[]): ReadonlyMap<string, number> =>
  new Map(
    evidence.flatMap(({ constant, candidates: [offset, ...more] }) =>
      offset === undefined || more.length > 0 ? [] : [[constant, offset] as const],
    ),
  );

/** What the members are called of which the truth's names are upstream's. */
const members: Readonly<Record<string, string>> = {
  BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0: "bssl::SSL3_STATE.read_traffic_secret",
  BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0: "bssl::SSL3_STATE.write_traffic_secret",
};

test.each([
  { suite: "bullseye", arch: "amd64", truth: "boringssl-10", least: 8 },
  { suite: "bookworm", arch: "amd64", truth: "boringssl-13", least: 15 },
  { suite: "bookworm", arch: "arm64", truth: "boringssl-13", least: 15 },
  { suite: "trixie", arch: "amd64", truth: null, least: 15 },
  { suite: "trixie", arch: "arm64", truth: null, least: 15 },
] as const)(
  "what strings lead to in Debian's BoringSSL is what its headers say: $suite $arch",
  async ({ suite, arch, truth, least }) => {
    const { root, version } = debianPackage(suite, arch, "android-libboringssl");
    const figures = truth === null ? await truthOfPackage(suite, "boringssl", version) : truthOf(truth);
    const layouts = await loadLayouts("boringssl");
    const told = await read(join(root, "usr/lib", folders[arch], "android/libssl.so.0"));
    const memberOf = (constant: string) => members[constant] ?? layouts?.members[constant] ?? constant;
    const known = [...told].filter(([constant]) => figures[memberOf(constant)] !== undefined);
    expect(Object.fromEntries(known)).toEqual(
      Object.fromEntries(known.map(([constant]) => [constant, figures[memberOf(constant)] ?? -1])),
    );
    expect(known.length).toBeGreaterThanOrEqual(least);
  },
);

test.each([
  { suite: "bullseye", arch: "amd64", name: "libssl1.1", file: "libssl.so.1.1", least: 7 },
  { suite: "bookworm", arch: "amd64", name: "libssl3", file: "libssl.so.3", least: 9 },
  { suite: "bookworm", arch: "arm64", name: "libssl3", file: "libssl.so.3", least: 8 },
  { suite: "trixie", arch: "amd64", name: "libssl3t64", file: "libssl.so.3", least: 4 },
  { suite: "experimental", arch: "amd64", name: "libssl4", file: "libssl.so.4", least: 4 },
] as const)("and in Debian's $name of $suite $arch, whose symbols are not looked at", async (sample) => {
  const { suite, arch, name, file, least } = sample;
  const { root, version } = debianPackage(suite, arch, name);
  const figures = await truthOfPackage(suite, "openssl", version);
  const named = (await loadLayouts("openssl"))?.members;
  const told = await read(join(root, "usr/lib", folders[arch], file), "openssl");
  const memberOf = (constant: string) => named?.[constant] ?? unpublished[constant] ?? constant;
  expect(Object.fromEntries(told)).toEqual(
    Object.fromEntries([...told.keys()].map((constant) => [constant, figures[memberOf(constant)] ?? -1])),
  );
  expect(told.size).toBeGreaterThanOrEqual(least);
});

test.each(["16.20.2", "20.20.2"])("Node.js %s: secrets that no accessor tells", async (version) => {
  const sample = nodeSamples.find((one) => one.arch === "x64" && one.version === version);
  if (sample === undefined) throw new Error(`Node.js ${version} is no sample`);
  const path = await loadNode(sample);
  const told = await read(path, "openssl");
  using elf = Elf.open(path);
  // By symbols, of other functions.
  const code = toldIn(codeEvidence("openssl", { ssl: elf, cryptos: [elf] }));
  const both = [...told.keys()].filter((constant) => code.has(constant));
  expect(both.map((constant) => [constant, told.get(constant)])).toEqual(
    both.map((constant) => [constant, code.get(constant)]),
  );
  expect(both.length).toBeGreaterThan(4);
  const known = (await loadLayouts("openssl"))?.groups[
    version === "16.20.2" ? "openssl_1_1_1_quic" : "openssl_3_0_0"
  ]?.constants;
  for (const name of ["HANDSHAKE_TRAFFIC_HASH", "CLIENT_APP_TRAFFIC_SECRET", "SERVER_APP_TRAFFIC_SECRET"])
    expect([name, told.get(`SSL_ST_${name}`)]).toEqual([name, known?.[`SSL_ST_${name}`] ?? -1]);
});

test.each([
  ["x64", "16.20.2"],
  ["x64", "20.20.2"],
  ["x64", "22.23.3"],
  ["arm64", "20.20.2"],
] as const)("Node.js %s %s, whose symbols are not looked at: nothing is open", async (arch, version) => {
  const sample = nodeSamples.find((one) => one.arch === arch && one.version === version);
  if (sample === undefined) throw new Error(`Node.js ${version} is no sample`);
  const { reports } = await tlsReports({
    scope: { kind: "files", paths: [await loadNode(sample)] },
    sources: ["references", "table"],
  });
  const open = Object.entries(reports[0]?.fields ?? {}).filter(([, { value }]) => value === null);
  expect(open.map(([constant]) => constant)).toEqual([]);
  const truth = version === "22.23.3" ? "openssl-3.5.7" : version === "20.20.2" ? "openssl-3.0.20" : null;
  if (truth !== null) expect(wrongNumbers({ tls: reports }, truthOf(truth))).toEqual([]);
});

test.each([
  ["this project's own, for x86-64", async () => bun],
  ["for arm64", installRuntime],
] as const)(
  "Bun's BoringSSL, which no published layout describes, is read from its code: %s",
  async (_, file) => {
    const { reports } = await tlsReports({
      scope: { kind: "files", paths: [await file()] },
      sources: ["references", "table"],
    });
    const [report] = reports;
    expect(report).toMatchObject({ library: "boringssl", layout: null, constants: bunLive });
    const fields = Object.entries(report?.fields ?? {});
    expect(fields.filter(([, { status }]) => status === "absent").map(([constant]) => constant)).toEqual([
      "SSL_ST_VERSION",
      "SSL_SESSION_ST_SECRET_LENGTH",
      "SSL_CIPHER_ST_ID",
    ]);
    // It holds two pointers to hints, of which none is known to be what the one before was.
    expect(fields.filter(([, { status }]) => status === "unresolved").map(([constant]) => constant)).toEqual([
      "BSSL__SSL_HANDSHAKE_HINTS",
    ]);
    // bio_st is what upstream's headers of that time have.
    expect(report?.constants).toMatchObject({ BIO_ST_NUM: 40, BIO_ST_METHOD: 8, BIO_METHOD_ST_TYPE: 0 });
  },
);

test("one place in code is told of nothing, two that agree or one table are, and places that differ are not", () => {
  const witnesses = new Witnesses();
  witnesses.say("ALONE", 440, "a function");
  witnesses.say("ALONE", 440, "a function");
  witnesses.say("TWICE", 200, "a function");
  witnesses.say("TWICE", 200, "another");
  for (const [offset, where] of [
    [200, "a"],
    [200, "b"],
    [208, "c"],
  ] as const)
    witnesses.say("DIFFERS", offset, where);
  witnesses.table("TABLE", 16, "the table of ciphers");
  witnesses.say("OUTSIDE", -8, "a function");
  expect(
    witnesses.evidence().map(({ constant, candidates, reason }) => [constant, candidates, reason]),
  ).toEqual([
    ["ALONE", [], "one place in its code alone says 440 (a function)"],
    ["TWICE", [200], undefined],
    ["DIFFERS", [], "places in its code differ: 200 (a, b) and 208 (c)"],
    ["TABLE", [16], undefined],
  ]);
});

test("a function that a damaged table has begin between two instructions is looked at as well", async () => {
  const { root } = debianPackage("bookworm", "arm64", "libssl3");
  using elf = Elf.open(join(root, "usr/lib", folders.arm64, "libssl.so.3"));
  const subject = new Subject(new LoadedFile(elf), loadDecoder("aarch64"), opensslNames);
  const [entry = 0] = subject.naming("statem_clnt.c");
  for (const at of [entry, entry + 1, entry + 3]) expect(hasLoad(subject, at, 1 << 14)).toBe(false);
});
