import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { loadPackage } from "../../../assets/build/debian.ts";
import { Elf } from "../../../src/elf/elf.ts";
import { otherInside } from "../../../src/tls/find/other-libraries.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "./debian.ts";

let folder = "";
beforeAll(async () => {
  await loadSamples();
  folder = realpathSync(mkdtempSync(join(tmpdir(), "offsetof-others-")));
}, fetchTimeout);
afterAll(() => rmSync(folder, { recursive: true }));

/** A file of a Debian package, and its upstream version. */
async function fileOf(suite: string, name: string, pattern: string) {
  const { root, version } = await loadPackage(suite, name);
  const glob = new Bun.Glob(pattern).scanSync({ cwd: root, onlyFiles: true, absolute: true });
  const [path = ""] = [...glob].map((one) => realpathSync(one));
  return { path, version: version.replace(/^\d+:/, "").replace(/[-+].*$/, "") };
}

async function look(path: string) {
  const { reports, diagnostics } = await tlsReports({
    scope: { kind: "files", paths: [path] },
    sources: ["table"],
  });
  return {
    paths: reports.map((one) => one.path),
    told: diagnostics.filter(({ code }) => code.startsWith("E_")),
  };
}
const unsupported = (path: string, what: string) => ({
  paths: [],
  told: [{ code: "E_TLS_UNSUPPORTED", message: `${path}: ${what}: not supported` }],
});

test.each([
  ["NSS", "bookworm", "libnss3", "**/libssl3.so", true],
  ["wolfSSL", "bookworm", "libwolfssl35", "**/libwolfssl.so.*", true],
  ["mbedTLS", "bookworm", "libmbedtls14", "**/libmbedtls.so.*", true],
  // GnuTLS in OpenSSL's clothes: it defines SSL_new.
  ["GnuTLS's OpenSSL interface", "bookworm", "libgnutls-openssl27", "**/libgnutls-openssl.so.*", false],
  ["s2n", "bookworm", "python3-awscrt", "**/_awscrt*.so", false],
  ["Go crypto/tls", "bookworm", "hey", "usr/bin/hey", false],
])(
  "%s of %s: %s",
  async (name, suite, pack, pattern, tells) => {
    const { path, version } = await fileOf(suite, pack, pattern);
    expect(await look(path)).toEqual(unsupported(path, tells ? `${name} ${version}` : name));
  },
  fetchTimeout,
);

test(
  "GnuTLS's library with OpenSSL's functions is named as that, and not taken for OpenSSL",
  async () => {
    const { root } = await loadPackage("bookworm", "libgnutls-openssl27");
    const { diagnostics } = await tlsReports({
      root,
      scope: { kind: "machine", deep: true },
      sources: ["table"],
    });
    expect(diagnostics).toEqual([
      {
        code: "E_TLS_UNSUPPORTED",
        message: expect.stringMatching(
          /^\/usr\/lib\/.*libgnutls-openssl\.so\.27\S*: GnuTLS's OpenSSL interface: not supported$/,
        ),
      },
    ]);
  },
  fetchTimeout,
);

test("rustls in a program is known by the paths of its sources, with its version", async () => {
  const path = join(import.meta.dir, "../../../node_modules/@biomejs/cli-linux-x64/biome");
  const strings = Bun.spawnSync(["grep", "-aoE", "/rustls-[0-9.]+/src/", path]).stdout.toString();
  const version = /rustls-([\d.]+)/.exec(strings)?.[1];
  expect(await look(path)).toEqual(unsupported(path, `rustls ${version}`));
});

test(
  "a program that links GnuTLS: that library is looked at",
  async () => {
    const { path } = await fileOf("bookworm", "gnutls-bin", "usr/bin/gnutls-cli");
    const { paths, told } = await look(path);
    const library =
      /libgnutls\.so\.30 => (\S+)/.exec(Bun.spawnSync(["ldd", path]).stdout.toString())?.[1] ?? "";
    expect({ paths, told }).toEqual({ paths: [realpathSync(library)], told: [] });
  },
  fetchTimeout,
);

test(
  "a program that links NSS and OpenSSL: the one is told, the other answered",
  async () => {
    const source = join(folder, "both.c");
    const nss = await fileOf("bookworm", "libnss3", "**/libssl3.so");
    const [, found = ""] =
      /libssl\.so\.\d+ .*=> (\S+)/.exec(Bun.spawnSync(["/sbin/ldconfig", "-p"]).stdout.toString()) ?? [];
    const openssl = realpathSync(found);
    writeFileSync(source, "int main(void) { return 0; }\n");
    const program = join(folder, "both");
    const libraries = ["-Wl,--no-as-needed,--unresolved-symbols=ignore-all", nss.path, openssl];
    const rpath = `-Wl,-rpath,${dirname(nss.path)}`;
    expect(Bun.spawnSync(["cc", "-o", program, source, ...libraries, rpath]).exitCode).toBe(0);
    const { paths, told } = await look(program);
    expect(paths).toEqual([openssl]);
    expect(told.map(({ code }) => code)).toEqual(["E_TLS_UNSUPPORTED"]);
  },
  fetchTimeout,
);

test(
  "what it needs and is not there is named, and what it would be",
  async () => {
    const node = await fileOf("bookworm", "nodejs", "usr/bin/node");
    expect((await look(node.path)).told).toEqual([
      {
        code: "E_TLS_PATH",
        message: `${node.path}: no TLS library is inside; it needs libnode.so.108, not found here`,
      },
    ]);
    const module = await fileOf("bookworm", "lighttpd-mod-mbedtls", "**/mod_mbedtls.so");
    expect((await look(module.path)).told[0]?.message).toContain(
      "it needs libmbedtls.so.14 (mbedTLS: not supported)",
    );
  },
  fetchTimeout,
);

test("a libssl that defines no SSL_new is told as no library that is known", async () => {
  const source = join(folder, "empty.c");
  writeFileSync(source, "int nothing;\n");
  const path = join(folder, "libssl.so.3");
  expect(Bun.spawnSync(["cc", "-shared", "-nostdlib", "-o", path, source]).exitCode).toBe(0);
  expect((await look(path)).told[0]?.message).toStartWith(
    `${path}: a libssl by its name, but it defines no SSL_new`,
  );
});

test("none of them is seen in OpenSSL, BoringSSL or a program without TLS", () => {
  const files = samples.flatMap(({ suite, arch, name }) => {
    const { root } = debianPackage(suite, arch, name);
    return [...new Bun.Glob("**/lib{ssl,crypto}.so*").scanSync({ cwd: root, absolute: true })];
  });
  for (const path of [...files, "/usr/bin/openssl", "/bin/bash", realpathSync(process.execPath)]) {
    using elf = Elf.open(realpathSync(path));
    expect([basename(path), otherInside(elf)]).toEqual([basename(path), null]);
  }
});
