import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { Elf } from "../../../src/elf/elf.ts";
import type { Evidence } from "../../../src/offsets/evidence.ts";
import { librarySchema } from "../../../src/output/document.ts";
import { codeEvidence } from "../../../src/tls/code/code.ts";
import { loadLayouts, unpublished } from "../../../src/tls/layouts/layouts.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { truthOf, truthOfPackage } from "../../truth/read.ts";
import { seeded } from "../elf/seeded.ts";
import { debianPackage, fetchTimeout, loadSamples } from "./debian.ts";
import { loadNode, type NodeSample, nodeSamples } from "./node.ts";

/** What accessors reveal of each series, and of those behind it. */
const shared = [
  "SSL_SESSION_ST_MASTER_KEY",
  "SSL_SESSION_ST_MASTER_KEY_LENGTH",
  "SSL_SESSION_ST_CIPHER",
  "SSL_CIPHER_ST_ID",
  "SSL_CTX_ST_KEYLOG_CALLBACK",
  "BIO_ST_METHOD",
  "BIO_METHOD_ST_TYPE",
];
const old = ["VERSION", "RBIO", "WBIO", "SESSION", "SERVER"].map((name) => `SSL_ST_${name}`);
const typed = [
  ...shared,
  ...old.map((name) => name.replace("SSL_", "SSL_CONNECTION_")),
  "SSL_CONNECTION_ST_S3_CLIENT_RANDOM",
  "SSL_ST_TYPE",
];
const revealed = {
  "1.1": [...shared, ...old, "SSL_ST_S3", "SSL3_STATE_ST_CLIENT_RANDOM"],
  "3.0": [...shared, ...old, "SSL_ST_S3_CLIENT_RANDOM"],
  "3.2": typed,
};

const libraries = (["amd64", "arm64"] as const).flatMap((arch) => [
  { suite: "bullseye", arch, name: "libssl1.1", soname: "1.1", reveals: revealed["1.1"] },
  { suite: "bookworm", arch, name: "libssl3", soname: "3", reveals: revealed["3.0"] },
  { suite: "trixie", arch, name: "libssl3t64", soname: "3", reveals: revealed["3.2"] },
  { suite: "sid", arch, name: "libssl3t64", soname: "3", reveals: revealed["3.2"] },
  { suite: "experimental", arch, name: "libssl4", soname: "4", reveals: revealed["3.2"] },
]);
type Library = (typeof libraries)[number];

const pathOf = ({ suite, arch, name, soname }: Library, file: "ssl" | "crypto"): string => {
  const triple = arch === "amd64" ? "x86_64-linux-gnu" : "aarch64-linux-gnu";
  return join(debianPackage(suite, arch, name).root, `usr/lib/${triple}/lib${file}.so.${soname}`);
};

function evidenceOf(ssl: string, crypto: string): readonly Evidence[] {
  using first = Elf.open(ssl);
  using second = Elf.open(crypto);
  return codeEvidence("openssl", { ssl: first, cryptos: [second] });
}

let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = mkdtempSync(join(tmpdir(), "offsetof-code-"));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

const layouts = await loadLayouts("openssl");
const memberOf = (constant: string): string => layouts?.members[constant] ?? unpublished[constant] ?? "";

describe("the code of Debian's libraries tells what their headers say", () => {
  test.each(libraries)("$suite's $name $arch", async (library) => {
    const { version } = debianPackage(library.suite, library.arch, library.name);
    const truth = await truthOfPackage(library.suite, "openssl", version);
    const evidence = evidenceOf(pathOf(library, "ssl"), pathOf(library, "crypto"));
    const told = evidence.filter((one) => one.candidates.length > 0);
    expect(told.map((one) => [one.constant, ...one.candidates])).toEqual(
      told.map((one) => [one.constant, truth[memberOf(one.constant)] ?? -1]),
    );
    expect(told.map((one) => one.constant).sort()).toEqual([...library.reveals].sort());
  });
});

const boringssl = (["amd64", "arm64"] as const).flatMap((arch) => [
  // Its package is as it will stay.
  { suite: "bullseye", arch, truth: "boringssl-10" },
  { suite: "bookworm", arch },
  { suite: "trixie", arch },
]);
test.each(boringssl)(
  "the code of Debian's BoringSSL tells what its headers say: $suite $arch",
  async (one) => {
    const { root, version } = debianPackage(one.suite, one.arch, "android-libboringssl");
    const { reports } = await tlsReports({ root, sources: ["code", "table"] });
    const truth = "truth" in one ? truthOf(one.truth) : await truthOfPackage(one.suite, "boringssl", version);
    const told = Object.entries(reports[0]?.fields ?? {}).filter(([, field]) => field.value !== null);
    expect(told.map(([name, { member, value }]) => [name, value, member])).toEqual(
      told.map(([name, { member }]) => [name, truth[member] ?? -1, member]),
    );
    expect(told.filter(([, { evidence }]) => evidence.code !== undefined).map(([name]) => name)).toEqual([
      "SSL_ST_RBIO",
      "SSL_ST_WBIO",
      "SSL_ST_S3",
      "SSL_SESSION_ST_SECRET_LENGTH",
      "SSL_SESSION_ST_SECRET",
      "SSL_SESSION_ST_CIPHER",
      "BIO_ST_METHOD",
      "BIO_METHOD_ST_TYPE",
      "SSL_CIPHER_ST_ID",
      "BSSL__SSL3_STATE_CLIENT_RANDOM",
      "SSL_SESSION_ST_SSL_VERSION",
      "SSL_CTX_ST_KEYLOG_CALLBACK",
    ]);
    // Several layouts fit what code tells: those of 10 and 13, and those of 14 and later.
    expect(reports[0]).toMatchObject({ layout: null, match: null });
  },
);

describe("Node.js with OpenSSL inside", () => {
  /** npm's executables are large: these are for every run, all of them for OFFSETOF_NODE=all. */
  const everyRun = ["16.20.2", "18.19.0", "20.20.2"];
  const samples = nodeSamples.filter(
    ({ version }) => process.env.OFFSETOF_NODE === "all" || everyRun.includes(version),
  );

  async function reportOn(sample: NodeSample) {
    const path = await loadNode(sample);
    const { reports, diagnostics } = await tlsReports({
      scope: { kind: "files", paths: [path] },
      sources: ["code", "table"],
    });
    expect(diagnostics).toEqual([]);
    return { path, report: v.parse(librarySchema, reports[0]) };
  }

  /** The version each says of itself, as `process.versions.openssl`; x64 is asked below. */
  const versions: Readonly<Record<string, string>> = {
    "arm64-10.18.1": "1.1.1d",
    "arm64-16.20.2": "1.1.1v+quic",
    "arm64-18.20.8": "3.0.16",
    "arm64-20.20.2": "3.0.19",
    "arm64-22.23.3": "3.5.8",
  };

  test.each(samples)(
    "$arch $version",
    async (sample) => {
      const { path, report } = await reportOn(sample);
      const said =
        sample.arch === "x64"
          ? Bun.spawnSync([path, "-p", "process.versions.openssl"]).stdout.toString().trim()
          : versions[`${sample.arch}-${sample.version}`];
      expect(report).toMatchObject({ library: "openssl", version: said, version_from: "node .rodata" });
      // An independent reader of the same code.
      if (sample.arch === "x64") {
        const read = disassembled(path);
        const at = Object.entries(report.fields).find(([name]) => /_ST_SESSION$/.test(name));
        expect(at?.[1].evidence.code).toEqual([read]);
        expect(at?.[1].value).toBe(read);
      }
      const session = Object.entries(report.constants).find(([name]) => /_ST_SESSION$/.test(name))?.[1];
      const isQuic = report.version?.endsWith("+quic") === true;
      const quictls = isQuic ? 3 * 64 : 0;
      expect(session).toBe(
        ({ "1.1.1": 1296, "3.0.1": 2328 }[report.version?.slice(0, 5) ?? ""] ?? 2304) + quictls,
      );
      // Named in these programs: in +quic builds three secrets of 64 bytes lie before the exporter's.
      const exporter = Object.entries(report.fields).find(([name]) =>
        name.endsWith("_EXPORTER_MASTER_SECRET"),
      );
      const published = { "1.1.1": 956, "3.0.1": 1988 }[report.version?.slice(0, 5) ?? ""] ?? 2044;
      expect(exporter?.[1].evidence.code).toEqual([published + quictls]);
      expect(report.constants.BIO_ST_METHOD).toBe(report.version?.startsWith("1.") === true ? 0 : 8);
    },
    fetchTimeout,
  );

  test(
    "of +quic builds the published table is not believed, whatever version they name: all numbers are 0xc0 further on, or none",
    async () => {
      const quic = samples.filter(({ version }) => version.startsWith("16.") || version.startsWith("18.1"));
      expect(quic.length).toBeGreaterThan(2);
      for (const sample of quic) {
        const { report } = await reportOn(sample);
        const plain =
          report.version?.startsWith("1.1.1") === true ? 1296 : truthOf("openssl-3.0.20")["ssl_st.session"];
        expect(report.layout).toMatch(/_quic$/);
        expect(report.fields.SSL_ST_SESSION).toMatchObject({
          value: (plain ?? 0) + 0xc0,
          status: "confirmed",
          evidence: { code: [(plain ?? 0) + 0xc0] },
        });
      }
    },
    fetchTimeout,
  );

  /** What SSL_get_session adds to its argument, by binutils. */
  function disassembled(path: string): number {
    const command = [
      "objdump",
      "-d",
      "-M",
      "intel",
      "--no-show-raw-insn",
      "--disassemble=SSL_get_session",
      path,
    ];
    const text = Bun.spawnSync(command).stdout.toString();
    return Number(/mov +rax,QWORD PTR \[rdi\+(0x[0-9a-f]+)\]/.exec(text)?.[1]);
  }
});

describe("what cannot be followed is no evidence", () => {
  test("nothing is told without libcrypto, nor of a file without accessors", async () => {
    const library = libraries[1];
    if (library === undefined) throw new Error("no library");
    using ssl = Elf.open(pathOf(library, "ssl"));
    using crypto = Elf.open(pathOf(library, "crypto"));
    const alone = codeEvidence("openssl", { ssl, cryptos: [] });
    expect(alone.find((one) => one.constant === "BIO_ST_METHOD")).toEqual({
      source: "code",
      constant: "BIO_ST_METHOD",
      candidates: [],
      reason: "BIO_method_type is in a libcrypto that was not found",
    });
    const none = codeEvidence("openssl", { ssl: crypto, cryptos: [] });
    expect(none.flatMap((one) => one.candidates)).toEqual([]);
    expect(none.find((one) => one.constant === "SSL_CONNECTION_ST_RBIO")?.reason).toBe(
      "it has no symbol SSL_version",
    );
  });

  test("nothing is told by accessors that do another thing than OpenSSL's", async () => {
    const [source, library] = [join(folder, "other.c"), join(folder, "libother.so")];
    writeFileSync(
      source,
      `int SSL_version(int *s) { return *s; }
       void *SSL_get_rbio(void **s) { return s[4] ? s[2] : s[3]; }
       int SSL_get_wbio(int *s) { return s[6]; }
       void *SSL_get_session(void **s) { return (char *)s + 8; }
       int SSL_is_server(int *s) { return s[30000]; }
       unsigned SSL_CIPHER_get_id(char *c) { return *(unsigned *)(c + 23); }
       void SSL_get_client_random(void **s, char *out, long n) { *out = 1; }`,
    );
    Bun.spawnSync(["cc", "-shared", "-fPIC", "-O1", "-o", library, source]);
    const evidence = evidenceOf(library, library);
    const said = (constant: string) => {
      const one = evidence.find((each) => each.constant === constant);
      return [...(one?.candidates ?? []), one?.reason];
    };
    expect(said("SSL_ST_VERSION")).toEqual([0, undefined]);
    expect(said("SSL_ST_RBIO")[0]).toMatch(/^SSL_get_rbio goes several ways: (16 and 24|24 and 16)$/);
    expect(said("SSL_ST_WBIO")).toEqual(["SSL_get_wbio returns another thing than is known"]);
    expect(said("SSL_ST_SESSION")).toEqual(["SSL_get_session returns another thing than is known"]);
    expect(said("SSL_ST_SERVER")).toEqual(["SSL_is_server goes beyond any struct"]);
    expect(said("SSL_ST_S3_CLIENT_RANDOM")).toEqual(["SSL_get_client_random: writes to memory"]);
    expect(said("SSL_CIPHER_ST_ID")).toEqual(["SSL_CIPHER_get_id reads where C puts no such member"]);
    expect(said("SSL_SESSION_ST_CIPHER")).toEqual(["it has no symbol SSL_SESSION_get0_cipher"]);
  });

  test("a source that was not chosen loads no disassembler", () => {
    const script = `
      const { tlsReports } = await import(${JSON.stringify(join(import.meta.dir, "../../../src/tls/tls.ts"))});
      let loaded = 0;
      const original = WebAssembly.Module;
      // The scanner of code is a small one.
      WebAssembly.Module = function (bytes) { loaded += bytes.length > 1 << 14; return new original(bytes); };
      await tlsReports({ sources: ["table"] });
      const before = loaded;
      await tlsReports({ sources: ["table", "code"] });
      console.log(before, loaded);`;
    const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", script]);
    expect(stderr.toString()).toBe("");
    expect(stdout.toString()).toBe("0 1\n");
  });
});

describe("damaged libraries", () => {
  const damaged = libraries.filter(
    ({ suite, arch }) => suite === "trixie" || (suite === "bullseye" && arch === "amd64"),
  );

  /** Where the code lies in the file, by an independent reader. */
  function textOf(path: string): { offset: number; size: number } {
    const out = Bun.spawnSync(["readelf", "-SW", path]).stdout.toString();
    const [, offset = "0", size = "0"] =
      /\] \.text +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)/.exec(out) ?? [];
    return { offset: Number.parseInt(offset, 16), size: Number.parseInt(size, 16) };
  }

  test.each(damaged)(
    "$suite $arch: cut, zeroed and with flipped bits, without an exception",
    async (library) => {
      const whole = readFileSync(pathOf(library, "ssl"));
      const crypto = pathOf(library, "crypto");
      const path = join(folder, "libssl");
      const text = textOf(pathOf(library, "ssl"));
      const functions = accessorPlaces(pathOf(library, "ssl"));
      const random = seeded(5);
      let answers = 0;
      for (let round = 0; round < 250; round++) {
        let bytes = Buffer.from(whole);
        if (round % 10 === 0) bytes = bytes.subarray(0, random(whole.length));
        else if (round === 1) bytes.fill(0, text.offset, text.offset + text.size);
        else if (round === 2) bytes.fill(0xff, text.offset, text.offset + text.size);
        else if (round % 2 === 0) {
          // Random code where the accessors are.
          for (const { offset, size } of functions) {
            for (let at = 0; at < size; at++) bytes[offset + at] = random(256);
          }
        } else {
          for (const { offset, size } of functions) {
            const at = offset + random(size);
            bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
          }
          const at = random(round % 3 === 0 ? 4096 : bytes.length);
          bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        }
        writeFileSync(path, bytes);
        try {
          const evidence = evidenceOf(path, crypto);
          answers += 1;
          for (const { candidates, reason } of evidence) {
            expect(candidates.length === 1 || reason !== undefined).toBe(true);
          }
        } catch (error) {
          // Only what the reader of the file itself refuses.
          expect((error as Error).name).toBe("InputError");
        }
      }
      expect(answers).toBeGreaterThan(150);
      copyFileSync(pathOf(library, "ssl"), path);
      expect(evidenceOf(path, crypto).filter((one) => one.candidates.length === 1).length).toBeGreaterThan(
        10,
      );
    },
  );

  /** Where the accessors lie in the file, by readelf; code is mapped where it lies but for the page offset. */
  function accessorPlaces(path: string): readonly { offset: number; size: number }[] {
    const symbols = Bun.spawnSync(["readelf", "-W", "--dyn-syms", path]).stdout.toString();
    const sections = Bun.spawnSync(["readelf", "-SW", path]).stdout.toString();
    const [, address = "0", offset = "0"] =
      /\] \.text +PROGBITS +([0-9a-f]+) ([0-9a-f]+)/.exec(sections) ?? [];
    const shift = Number.parseInt(address, 16) - Number.parseInt(offset, 16);
    const names =
      "SSL_version|SSL_get_[rw]bio|SSL_get_session|SSL_is_server|SSL_get_client_random|SSL_SESSION_get_master_key";
    const rows = symbols.matchAll(new RegExp(`: ([0-9a-f]+) +(\\d+) FUNC .* (${names})@`, "g"));
    return [...rows].map(([, at = "0", size = "0"]) => ({
      offset: Number.parseInt(at, 16) - shift,
      size: Number(size),
    }));
  }
});
