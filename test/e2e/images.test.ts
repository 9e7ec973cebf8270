/** Trees that do not run here. Truth is what headers of the very builds say, by a compiler. */
import { beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  realpathSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type LoadedPackage, loadPackage } from "../../assets/build/debian.ts";
import { truthOfPackage } from "../truth/read.ts";
import { fetchTimeout } from "../unit/tls/debian.ts";
import { documentOf, executable, type Run, run, Scratch } from "./executable.ts";

const lib = "usr/lib/x86_64-linux-gnu";
const tls = (...args: string[]): Run => run([executable, "tls", "--format", "json", ...args]);

let ssl: LoadedPackage;
let others: {
  readonly library: "openssl" | "gnutls";
  readonly suite: string;
  readonly from: LoadedPackage;
}[];
beforeAll(async () => {
  ssl = await loadPackage("bookworm", "libssl3");
  others = [
    { library: "openssl", suite: "bookworm", from: ssl },
    { library: "openssl", suite: "trixie", from: await loadPackage("trixie", "libssl3t64", "arm64") },
    { library: "gnutls", suite: "bookworm", from: await loadPackage("bookworm", "libgnutls30") },
  ];
}, fetchTimeout);

/** Both libraries of a package in a folder. */
function put({ root }: LoadedPackage, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of ["libssl.so.3", "libcrypto.so.3"])
    copyFileSync(join(root, lib, name), join(folder, name));
}
const pathsIn = (result: Run): (string | null)[] => (documentOf(result).tls ?? []).map(({ path }) => path);
const codesIn = (result: Run): string[] => documentOf(result).diagnostics.map(({ code }) => code);

test("--root: what lies where a root's linkers look, of either architecture, as its headers say, and nothing is executed", async () => {
  for (const { library, suite, from } of others) {
    using root = new Scratch();
    cpSync(from.root, root.path, { recursive: true, verbatimSymlinks: true });
    const truth = await truthOfPackage(suite, library, from.version);
    const [one, ...more] = documentOf(tls("--root", root.path)).tls ?? [];
    expect(more).toEqual([]);
    expect(one).toMatchObject({ library, root: root.path, used_by: [] });
    expect(one?.path).toMatch(/^\/(usr\/)?lib\//);
    let known = 0;
    for (const { member, value, evidence } of Object.values(one?.fields ?? {})) {
      expect(Object.keys(evidence)).not.toContain("probe");
      if (value === null || truth[member] === undefined) continue;
      known += 1;
      expect([suite, member, value]).toEqual([suite, member, truth[member]]);
    }
    expect(known).toBeGreaterThan(9);
  }
  // The same file, named as this machine's own, is measured at work.
  const path = join(ssl.root, lib, "libssl.so.3");
  const sources = Object.values(documentOf(tls(path)).tls?.[0]?.fields ?? {}).flatMap(({ evidence }) =>
    Object.keys(evidence),
  );
  expect(sources).toContain("probe");
});

describe("a root's own list of folders", () => {
  test.each<[name: string, files: Readonly<Record<string, string>>]>([
    ["musl's", { "etc/ld-musl-x86_64.path": "/lib\n/opt/own:/usr/lib\n" }],
    ["ldconfig's, where nobody made the cache", { "etc/ld.so.conf": "# ours\n/opt/own\n" }],
    [
      "ldconfig's, by files that it includes",
      {
        "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
        "etc/ld.so.conf.d/a[b]c.conf": "hwcap 0 nosegneg\n/opt/own # of a vendor\n",
      },
    ],
    [
      "ldconfig's, by a relative name and a file of one letter",
      {
        "etc/ld.so.conf": "include ld.so.conf.d/[!b].conf\n",
        "etc/ld.so.conf.d/a.conf": "/opt/own=libc6\n",
        "etc/ld.so.conf.d/b.conf": "/opt/other\n",
      },
    ],
  ])("%s", (_, lists) => {
    using root = new Scratch();
    put(ssl, root.at("opt/own"));
    put(ssl, root.at("opt/other"));
    mkdirSync(root.at("etc/ld.so.conf.d"), { recursive: true });
    expect(codesIn(tls("--root", root.path))).toContain("E_TLS_ROOT");
    for (const [path, text] of Object.entries(lists)) writeFileSync(root.at(path), text);
    const result = tls("--root", root.path, "--source", "table");
    expect(pathsIn(result)).toEqual(["/opt/own/libssl.so.3"]);
    expect(documentOf(result).tls?.[0]?.version).toBe(ssl.version.replace(/-.*/, ""));
  });
});

test("a folder that is named: all in and below it, a program with TLS inside too; a file of a root by its path there", () => {
  using root = new Scratch();
  put(ssl, root.at("app/vendor"));
  copyFileSync(process.execPath, root.at("app/server"));
  const result = tls(root.at("app"), "--source", "table");
  expect(documentOf(result).tls?.map(({ path, root: at }) => [path, at])).toEqual([
    ["/server", root.at("app")],
    ["/vendor/libssl.so.3", root.at("app")],
  ]);
  const [one] = documentOf(tls("--root", root.path, "/app/vendor/libssl.so.3")).tls ?? [];
  expect(one).toMatchObject({ path: "/app/vendor/libssl.so.3", version: ssl.version.replace(/-.*/, "") });
  // Nothing that a link inside leads out of it to.
  symlinkSync(join(ssl.root, lib), root.at("app/out"));
  expect(pathsIn(tls(root.at("app"), "--source", "table"))).toHaveLength(2);
  const refused = tls("--root", root.path, "/app/out/libssl.so.3");
  expect([refused.status, codesIn(refused)]).toEqual([3, expect.arrayContaining(["E_TLS_PATH"])]);
  mkdirSync(root.at("nothing"));
  expect(documentOf(tls(root.at("nothing"))).diagnostics).toContainEqual({
    code: "E_TLS_PATH",
    message: `${root.at("nothing")}: no library or program lies in or below it`,
  });
});

test("a hostile root: links that leave it, FIFOs, huge files, loops; what is true in it is told all the same", () => {
  using root = new Scratch();
  put(ssl, root.at(lib));
  const host = realpathSync(join(ssl.root, lib));
  const up = "../".repeat(40);
  for (const [name, target] of [
    ["libssl.so.4", `${host}/libssl.so.3`],
    ["libssl.so.5", `${up}${host.slice(1)}/libssl.so.3`],
    ["libssl.so.6", "libssl.so.6"],
    ["libssl.so.7", "/proc/self/root/etc/passwd"],
    ["libssl.so.8", "/dev/zero"],
  ] as const)
    symlinkSync(target, root.at(`${lib}/${name}`));
  symlinkSync(up + host.slice(1), root.at("usr/local"));
  symlinkSync("/lib", root.at("lib"));
  symlinkSync("/usr/lib/../lib64", root.at("lib64"));
  run(["mkfifo", root.at(`${lib}/libssl.so.9`), root.at("usr/pipe")]);
  writeFileSync(root.at(`${lib}/libssl.so.10`), "\x7fELF");
  truncateSync(root.at(`${lib}/libssl.so.10`), 2 ** 42);
  mkdirSync(root.at("etc/ld.so.conf.d"), { recursive: true });
  run(["mkfifo", root.at("etc/ld.so.cache"), root.at("etc/ld.so.conf.d/fifo.conf")]);
  writeFileSync(root.at("etc/ld-musl-x86_64.path"), "");
  truncateSync(root.at("etc/ld-musl-x86_64.path"), 2 ** 40);
  const many = "include /etc/ld.so.conf /etc/ld.so.conf.d/* /*/*/*/*/*/*/*/*\n";
  writeFileSync(root.at("etc/ld.so.conf"), many + "/nowhere\n".repeat(5000));
  writeFileSync(
    root.at("etc/ld.so.conf.d/stars.conf"),
    `include ${"/*a".repeat(12)} ${"*a".repeat(2000)}b\n`,
  );
  writeFileSync(root.at(`etc/ld.so.conf.d/${"a".repeat(250)}`), "/nowhere\n");
  mkdirSync(root.at("proc"));
  const inside = ["unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec "$@"', root.path];
  const result = run([
    ...inside,
    executable,
    "tls",
    "--root",
    root.path,
    "--format",
    "json",
    "--source",
    "code",
  ]);
  expect(pathsIn(result)).toEqual([`/${lib}/libssl.so.3`]);
  expect(documentOf(result).tls?.[0]?.version).toBe(ssl.version.replace(/-.*/, ""));
  const said = documentOf(result).diagnostics.map(({ message }) => message);
  for (const name of ["/etc/ld.so.cache", "/etc/ld-musl-x86_64.path", "/etc/ld.so.conf.d/fifo.conf"])
    expect(said).toContainEqual(expect.stringContaining(`${name} is not used: `));
  expect(said).toContainEqual(expect.stringContaining("/etc/ld.so.conf is not used: more than 1024 folders"));
  expect(said).toContainEqual(expect.stringContaining("libssl.so.10 not read: more than 16 GiB"));

  const out = run([
    ...inside,
    ...[executable, "tls", "--root", root.path, "--format", "json", "/proc/1/root/etc/passwd"],
  ]);
  expect([out.status, documentOf(out).tls]).toEqual([3, []]);

  // As a folder: also what is too deep, and more libraries than are held open.
  mkdirSync(root.at("deep/".repeat(150)), { recursive: true });
  mkdirSync(root.at("many"));
  for (let number = 0; number < 300; number++)
    writeFileSync(root.at(`many/libssl.so.${number}`), Buffer.alloc(20_000, "\x7fELF"));
  const folder = tls(root.path, "--source", "table", "--deadline", "600000");
  const codes = codesIn(folder);
  expect(codes).toEqual(expect.arrayContaining(["E_TLS_MANY", "W_TLS_WALK"]));
  expect(pathsIn(folder)).toContain(`/${lib}/libssl.so.3`);
});

test.each([
  [["--root", "/", "--pid", "1"]],
  [["--root", "/", "--version-text", "openssl 3.0.12"]],
  [["--root", ""]],
])("%p is wrong usage", (args) => {
  expect(run([executable, "tls", ...args]).status).toBe(2);
});

test.each([["/nowhere"], [executable]])("--root %s is none", (path) => {
  const result = tls("--root", path);
  expect([result.status, documentOf(result).tls]).toEqual([3, []]);
  expect(codesIn(result)).toContain("E_TLS_ROOT");
});
