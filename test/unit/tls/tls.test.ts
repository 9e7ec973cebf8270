import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { Elf } from "../../../src/elf/elf.ts";
import { Root } from "../../../src/host/root.ts";
import { librarySchema } from "../../../src/output/document.ts";
import { diagnosticSchema } from "../../../src/output/schema-parts.ts";
import { findNeeded } from "../../../src/tls/find/search-path.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { truthOf } from "../../truth/read.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "./debian.ts";

/** The reports on a tree, checked against the document's schema. */
async function reportsOn(root: string) {
  const { reports, diagnostics } = await tlsReports({ root, sources: ["code", "table"] });
  return {
    reports: reports.map((report) => v.parse(librarySchema, report)),
    messages: diagnostics.map((one) => v.parse(diagnosticSchema, one).message),
  };
}

beforeAll(loadSamples, fetchTimeout);

const output = (command: string[], env: Record<string, string> = {}): string =>
  Bun.spawnSync(command, { env: { PATH: "/usr/bin:/bin", ...env } }).stdout.toString();

describe("the libraries of this machine", () => {
  test("are all that ldconfig knows, each once, with the version openssl tells", async () => {
    const { reports } = await tlsReports();
    const cached = output(["/sbin/ldconfig", "-p"]).matchAll(/^\tlibssl\.so\.\S+ \(.*\) => (.*)$/gm);
    const paths = reports.map((one) => one.path);
    for (const [, path = ""] of cached) expect(paths).toContain(realpathSync(path));
    expect(new Set(paths).size).toBe(paths.length);

    const linked = /libssl\S+ => (\S+)/.exec(output(["ldd", "/usr/bin/openssl"]))?.[1];
    const version = /^OpenSSL (\S+) /.exec(output(["openssl", "version"]))?.[1];
    expect(reports.find((one) => one.path === realpathSync(linked ?? ""))?.version).toBe(version ?? "");
  });
});

describe("Debian's libraries", () => {
  const openssl = samples.filter((one) => one.name !== "android-libboringssl");
  test.each(openssl)("$suite $arch $name", async ({ suite, arch, name }) => {
    const { root, version } = debianPackage(suite, arch, name);
    const { reports, messages } = await reportsOn(root);
    expect(messages).toEqual([]);
    expect(reports.length).toBe(1);
    const [report] = reports;
    const readelf = output(["readelf", "--notes", join(root, report?.path ?? "")]);
    expect(report?.build_id).toBe(/Build ID: (\S+)/.exec(readelf)?.[1] ?? "");
    expect(report?.library).toBe("openssl");
    expect(report?.version).toBe(version.replace(/-.*$/, ""));
    // 1.x says it in libssl itself, from 3.0 on only libcrypto does.
    expect(report?.version_from).toBe(
      { bullseye: "libssl.so.1.1 .rodata", experimental: "libcrypto.so.4 .rodata" }[suite] ??
        "libcrypto.so.3 .rodata",
    );
    const statusOf = (spoke: (sources: string[]) => boolean) =>
      new Set(
        Object.values(report?.fields ?? {})
          .filter(({ evidence }) => spoke(Object.keys(evidence)))
          .map((one) => one.status),
      );
    // Beside the code's members the table speaks of what lies before them; of what lies behind them it only tells.
    const described = statusOf((sources) => sources.join() === "table");
    expect(["single", "assumed"]).toEqual(expect.arrayContaining([...described]));
    expect(statusOf((sources) => sources.includes("code") && sources.includes("table"))).toEqual(
      new Set(["confirmed"]),
    );
    expect(statusOf((sources) => sources.join() === "code")).toEqual(new Set(["single"]));
    expect(Object.keys(report?.constants ?? {})).toEqual(Object.keys(report?.fields ?? {}));
    const blank = Object.values(report?.fields ?? {}).filter(({ value }) => value === null);
    expect(new Set(blank.map(({ status }) => status))).toEqual(new Set(["assumed"]));
  });

  test(
    "1.1.1w and 3.0.x: the package's own program says the same",
    async () => {
      for (const [suite, name] of [
        ["bullseye", "libssl1.1"],
        ["bookworm", "libssl3"],
      ] as const) {
        const library = debianPackage(suite, "amd64", name);
        const program = debianPackage(suite, "amd64", "openssl");
        const said = output([join(program.root, "usr/bin/openssl"), "version", "-v"], {
          LD_LIBRARY_PATH: join(library.root, "usr/lib/x86_64-linux-gnu"),
        });
        const { reports } = await reportsOn(library.root);
        expect(said).toContain(`OpenSSL ${reports[0]?.version} `);
      }
    },
    fetchTimeout,
  );

  test.each(samples.filter((one) => one.name === "android-libboringssl"))(
    "$suite $arch BoringSSL",
    async (sample) => {
      const { root } = debianPackage(sample.suite, sample.arch, sample.name);
      const { reports, messages } = await reportsOn(root);
      // No text tells which it is; what its code tells fits two layouts of 10 and 13, and several of 14.
      expect(reports).toMatchObject([
        {
          library: "boringssl",
          version: null,
          version_from: null,
          described: null,
          layout: null,
          match: null,
        },
      ]);
      expect(basename(reports[0]?.path ?? "")).toBe("libssl.so.0");
      expect(messages[0]).toContain("BoringSSL (libcrypto.so.0 .rodata)");
      const fields = Object.values(reports[0]?.fields ?? {});
      expect(fields.length).toBeGreaterThan(15);
      for (const { value, status, evidence, reason } of fields) {
        if (value === null) {
          expect(evidence.code).toBeUndefined();
          expect(status).toBe("unresolved");
          expect(reason).not.toBe("");
        } else expect(["confirmed", "single"]).toContain(status);
      }
    },
  );
});

describe("a tree made by hand", () => {
  const lib = "usr/lib/x86_64-linux-gnu";
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "offsetof-tls-"));
    cpSync(join(debianPackage("bookworm", "amd64", "libssl3").root, lib), join(folder, lib), {
      recursive: true,
    });
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const at = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    return join(folder, path);
  };
  const trixie = () => join(debianPackage("trixie", "amd64", "libssl3t64").root, lib);

  test("one file under many names is one report, at its real path", async () => {
    symlinkSync("/usr/lib", at("lib"));
    symlinkSync(`/${lib}/libssl.so.3`, at("usr/local/lib/libssl.so.3"));
    symlinkSync("libssl.so.3", at(`${lib}/libssl.so.3.0`));
    const { reports } = await reportsOn(folder);
    expect(reports.map((one) => one.path)).toEqual([`/${lib}/libssl.so.3`]);
  });

  test("NSS's libssl3.so, links for compilers and scripts are no libraries of ours", async () => {
    for (const name of [
      "libssl3.so",
      "libssl.so",
      "libssl.a",
      "libssl.so.3-gdb.py",
      "libssl.so.3.debug",
      "libssl.so.old",
    ]) {
      cpSync(at(`${lib}/libssl.so.3`), at(`${lib}/${name}`));
    }
    const { reports, messages } = await reportsOn(folder);
    expect(reports.map((one) => one.path)).toEqual([`/${lib}/libssl.so.3`]);
    expect(messages).toEqual([]);
  });

  test("the working directory is never looked into", async () => {
    const planted = at("planted");
    mkdirSync(planted);
    cpSync(at(`${lib}/libssl.so.3`), join(planted, "libssl.so.3"));
    cpSync(join(trixie(), "libcrypto.so.3"), join(planted, "libcrypto.so.3"));
    const script = `import { tlsReports } from ${JSON.stringify(join(import.meta.dir, "../../../src/tls/tls.ts"))};
      console.log(JSON.stringify((await tlsReports({ root: ${JSON.stringify(folder)} })).reports.map((one) => [one.path, one.version])));`;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { cwd: planted });
    expect(JSON.parse(stdout.toString())).toEqual([
      [`/${lib}/libssl.so.3`, expect.stringMatching(/^3\.0\./)],
    ]);
  });

  test("musl's list of folders is followed", async () => {
    writeFileSync(at("etc/ld-musl-x86_64.path"), "/opt/ssl/lib:relative\n/opt/more\n");
    renameSync(join(folder, lib), at("opt/ssl/lib"));
    const { reports } = await reportsOn(folder);
    expect(reports.map((one) => [one.path, one.version_from])).toEqual([
      ["/opt/ssl/lib/libssl.so.3", "libcrypto.so.3 .rodata"],
    ]);
  });

  test("an absolute link to the host's library leads nowhere", async () => {
    rmSync(at(`${lib}/libcrypto.so.3`));
    symlinkSync(join(trixie(), "libcrypto.so.3"), at(`${lib}/libcrypto.so.3`));
    const { reports, messages } = await reportsOn(folder);
    expect(reports).toMatchObject([{ library: "openssl", version: null, described: null }]);
    expect(messages.join()).toContain("its libcrypto.so.3 was not found");
  });

  test("a RUNPATH of $ORIGIN leads to the libcrypto ldd finds", async () => {
    // libssl's own name, as long as it is, becomes the RUNPATH (tag 29 for 14).
    const bytes = readFileSync(at(`${lib}/libssl.so.3`));
    bytes.write("$ORIGIN/..\0", bytes.indexOf("\0libssl.so.3\0") + 1, "latin1");
    using elf = Elf.open(at(`${lib}/libssl.so.3`));
    const dynamic = elf.programHeaders.find((one) => one.type === 2)?.offset ?? 0;
    for (let entry = dynamic; bytes.readUInt32LE(entry) !== 0; entry += 16) {
      if (bytes.readUInt32LE(entry) === 14) bytes.writeUInt32LE(29, entry);
    }
    writeFileSync(at("opt/app/lib/libssl.so.3"), bytes);
    renameSync(at(`${lib}/libcrypto.so.3`), at("opt/app/libcrypto.so.3"));
    rmSync(at(`${lib}/libssl.so.3`));
    writeFileSync(at("etc/ld-musl-x86_64.path"), "/opt/app/lib");
    const { reports } = await reportsOn(folder);
    expect(reports.map((one) => one.path)).toEqual(["/opt/app/lib/libssl.so.3"]);
    expect(reports[0]?.version).toMatch(/^3\.0\.\d+$/);
    const linked =
      /libcrypto\.so\.3 => (\S+)/.exec(output(["ldd", at("opt/app/lib/libssl.so.3")]))?.[1] ?? "";
    expect(realpathSync(linked)).toBe(realpathSync(at("opt/app/libcrypto.so.3")));
  });

  test("a RUNPATH hides an RPATH; what is relative or not expandable is left out", () => {
    const places = ["a", "b", "app"].map((name) => at(`opt/${name}/libcrypto.so.3`));
    for (const place of [...places, at("opt/$LIB/libcrypto.so.3")]) writeFileSync(place, "");
    const needed = (rpath: string | null, runpath: string | null) => [
      ...findNeeded(new Root(folder), { cache: [], folders: () => [].values() }, "libcrypto.so.3", {
        folder: "/opt/app",
        machine: "x86_64",
        rpath,
        runpath,
      }),
    ];
    const [a, b, app] = ["/opt/a/libcrypto.so.3", "/opt/b/libcrypto.so.3", "/opt/app/libcrypto.so.3"];
    expect(needed("/opt/a:/opt/b", null)).toEqual([a, b]);
    expect(needed("/opt/a", "/opt/b:/opt/none")).toEqual([b]);
    expect(needed(null, `$ORIGIN:\${ORIGIN}/../a`)).toEqual([app, a]);
    expect(needed(null, "opt/a::.:/opt/$LIB:$PLATFORM:/opt/b")).toEqual([b]);
    expect(needed(null, null)).toEqual([]);
  });

  test("the cache's entries are for one machine", () => {
    for (const name of ["arm", "intel"]) writeFileSync(at(`opt/${name}/libcrypto.so.3`), "");
    const cache = [
      { soname: "libcrypto.so.3", path: "/opt/arm/libcrypto.so.3", flags: 0x0a03 },
      { soname: "libcrypto.so.3", path: "/opt/intel/libcrypto.so.3", flags: 0x0303 },
    ];
    const from = { folder: "/opt", rpath: null, runpath: null };
    const needed = (machine: "x86_64" | "aarch64") => [
      ...findNeeded(new Root(folder), { cache, folders: () => [].values() }, "libcrypto.so.3", {
        ...from,
        machine,
      }),
    ];
    expect(needed("x86_64")).toEqual(["/opt/intel/libcrypto.so.3"]);
    expect(needed("aarch64")).toEqual(["/opt/arm/libcrypto.so.3"]);
  });

  test("another machine's libcrypto in an earlier folder is passed over", async () => {
    // Without a cache x86_64's folder comes first, and the arm64 libssl has no libcrypto beside it.
    const arm = join(debianPackage("trixie", "arm64", "libssl3t64").root, "usr/lib/aarch64-linux-gnu");
    cpSync(join(arm, "libcrypto.so.3"), at("usr/lib/aarch64-linux-gnu/libcrypto.so.3"));
    cpSync(join(arm, "libssl.so.3"), at("usr/local/lib/libssl.so.3"));
    const { reports } = await reportsOn(folder);
    expect(reports.map((one) => [one.path, one.version?.slice(0, 3)])).toEqual([
      [`/${lib}/libssl.so.3`, "3.0"],
      ["/usr/local/lib/libssl.so.3", "3.5"],
    ]);
  });

  test("two libcryptos it may use, of two series: the one its own nodes allow names it", async () => {
    cpSync(join(folder, lib), at("usr/local/lib"), { recursive: true });
    cpSync(join(trixie(), "libcrypto.so.3"), at(`${lib}/libcrypto.so.3`));
    // The linker takes /lib's before the one beside /usr/local/lib's libssl.
    cpSync(at(`${lib}/libcrypto.so.3`), at("lib/libcrypto.so.3"));
    const { reports, messages } = await reportsOn(folder);
    const local = reports.find((one) => one.path === "/usr/local/lib/libssl.so.3");
    expect(local).toMatchObject({ library: "openssl", version: expect.stringMatching(/^3\.0\./) });
    // Its own code fits the layout of 3.0, and every number is of that.
    const truth = truthOf("openssl-3.0.20");
    const known = Object.values(local?.fields ?? {}).filter(({ value }) => value !== null);
    expect(known.length).toBeGreaterThan(12);
    for (const { member, value } of known) expect([member, value]).toEqual([member, truth[member] ?? -1]);
    expect(messages.join()).toMatch(
      /libssl.so.3 is of OpenSSL 3.0 or 3.1 by its version nodes .* but beside it is OpenSSL 3\.5/,
    );
  });

  test("without section headers the version is found in the segments", async () => {
    for (const name of ["libssl.so.3", "libcrypto.so.3"]) {
      const bytes = readFileSync(at(`${lib}/${name}`));
      bytes.writeBigUInt64LE(0n, 40);
      bytes.fill(0, 58, 64);
      writeFileSync(at(`${lib}/${name}`), bytes);
    }
    const { reports } = await reportsOn(folder);
    expect(reports[0]?.version).toMatch(/^3\.0\.\d+$/);
    expect(reports[0]?.version_from).toBe("libcrypto.so.3 read-only segment");
    expect(reports[0]?.build_id).toMatch(/^[0-9a-f]{40}$/);
  });

  test("a bad cache and a bad library are told and hide nothing else", async () => {
    writeFileSync(at("etc/ld.so.cache"), "glibc-ld.so.cache1.1 and nothing behind");
    writeFileSync(at("lib/libssl.so.1.1"), "not a library");
    const { reports, messages } = await reportsOn(folder);
    expect(reports.map((one) => one.path)).toEqual([`/${lib}/libssl.so.3`]);
    expect(messages).toEqual([
      "/etc/ld.so.cache is not used: /etc/ld.so.cache: no table of the format glibc-ld.so.cache1.1 (at offset 0x0)",
      "/lib/libssl.so.1.1: 13 bytes are too few for an ELF header (at offset 0x0)",
    ]);
  });

  test("a path in the cache that is relative is not followed", async () => {
    const host = readFileSync("/etc/ld.so.cache");
    const path = Buffer.from(`\0/lib/x86_64-linux-gnu/libssl.so.3\0`);
    const found = host.indexOf(path);
    expect(found).toBeGreaterThan(0);
    host.write("./libssl.so.3\0", found + 1, "latin1");
    writeFileSync(at("etc/ld.so.cache"), host);
    const script = `import { tlsReports } from ${JSON.stringify(join(import.meta.dir, "../../../src/tls/tls.ts"))};
      console.log(JSON.stringify((await tlsReports({ root: ${JSON.stringify(folder)} })).reports.map((one) => one.path)));`;
    for (const copy of ["libssl.so.3", "cwd/libssl.so.3"]) cpSync(at(`${lib}/libssl.so.3`), at(copy));
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { cwd: at("cwd") });
    expect(JSON.parse(stdout.toString())).toEqual([`/${lib}/libssl.so.3`]);
  });
});

test("a relative root is refused", () => {
  expect(tlsReports({ root: "." })).rejects.toThrow("root . is relative");
});
