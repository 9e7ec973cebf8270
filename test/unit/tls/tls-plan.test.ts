import { beforeAll, expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Elf } from "../../../src/elf/elf.ts";
import { Root } from "../../../src/host/root.ts";
import { filesToLoad } from "../../../src/tls/probe/probe.ts";
import { tlsPlans } from "../../../src/tls/tls-plan.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "./debian.ts";

beforeAll(loadSamples, fetchTimeout);

const own = samples.filter(({ arch, name }) => arch === "amd64" && name.startsWith("libssl"));
const fileOf = (suite: string, name: string): string => {
  const { root } = debianPackage(suite, "amd64", name);
  const [path = ""] = [...new Bun.Glob("usr/lib/x86_64-linux-gnu/libssl.so.*").scanSync({ cwd: root })];
  return realpathSync(join(root, path));
};
const libcryptoOf = (path: string): string =>
  join(dirname(path), basename(path).replace("libssl", "libcrypto"));
const reasonOf = (path: string): string | null => {
  using ssl = Elf.open(path, path);
  using crypto = Elf.open(libcryptoOf(path), path);
  using tree = new Root("/");
  const places = new Map([
    [ssl.identity, { root: tree, path, container: null, deleted: false }],
    [crypto.identity, { root: tree, path: libcryptoOf(path), container: null, deleted: false }],
  ]);
  const seenAs = (place: { path: string }) => ({ tree, path: place.path });
  const trust = { places, seenAs, isNamed: () => false, proc: "/proc" };
  const loadable = filesToLoad({ ssl, cryptos: [crypto] }, trust);
  return "reason" in loadable ? loadable.reason : null;
};

test.each(own.map(({ suite, name }) => [suite, name] as const))(
  "a library of %s is refused for the C library it needs exactly where the dynamic linker refuses it",
  (suite, name) => {
    const path = fileOf(suite, name);
    const { stdout } = Bun.spawnSync(["ldd", path, libcryptoOf(path)]);
    const lacking = [...stdout.toString().matchAll(/version `GLIBC_([\d.]+)' not found/g)].map(
      ([, version = ""]) => version,
    );
    const said = /^it needs GLIBC_([\d.]+), this machine's C library is ([\d.]+)$/.exec(reasonOf(path) ?? "");
    const newest = lacking.sort(Bun.semver.order).at(-1);
    expect(said?.[1]).toBe(newest as string);
    if (newest !== undefined)
      expect(Bun.spawnSync(["ldd", "--version"]).stdout.toString()).toContain(` ${said?.[2]}\n`);
  },
);

test("where some library is too new, one is", () => {
  const refused = own.filter(({ suite, name }) =>
    reasonOf(fileOf(suite, name))?.startsWith("it needs GLIBC_"),
  );
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(own.length);
});

test("a file that others could have written is told so, a program cannot be loaded, and each source may be left out", async () => {
  const path = fileOf("bookworm", "libssl3");
  const copy = `/tmp/offsetof-plan-${process.pid}-${basename(path)}`;
  await Bun.write(copy, Bun.file(path));
  Bun.spawnSync(["chmod", "0666", copy]);
  try {
    const scope = { kind: "files", paths: [copy, process.execPath] } as const;
    const { reports } = await tlsPlans(["probe", "table"], { scope });
    const [program, library] = [
      reports.find((one) => one.path !== copy),
      reports.find((one) => one.path === copy),
    ];
    expect(library?.sources.probe).toEqual({ would: false, reason: expect.stringContaining("chmod go-w") });
    expect(library?.sources.code).toEqual({ would: false, reason: "not among the sources that may speak" });
    expect(program?.library).toBe("boringssl");
    expect(program?.sources.probe).toEqual({
      would: false,
      reason: expect.stringContaining("it is a program"),
    });
  } finally {
    Bun.spawnSync(["rm", copy]);
  }
});
