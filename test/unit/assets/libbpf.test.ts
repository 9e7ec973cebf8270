import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadSource } from "../../../assets/build/debian.ts";
import { sourcePackages } from "../../../assets/build/libbpf.ts";
import { assets } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";

/** Minutes are for the first run alone, which fetches. Milliseconds. */
const FETCH_TIMEOUT = 600_000;

/** Parts of glibc itself: libpthread is one file with libc from 2.34 on, and still there before and after. */
const GLIBC = ["libc.so.6", "libpthread.so.0"];
const libraries = [
  { name: "x64", machine: "X86-64", needs: [...GLIBC, "ld-linux-x86-64.so.2"] },
  { name: "arm64", machine: "AArch64", needs: [...GLIBC, "ld-linux-aarch64.so.1"] },
] as const;

const pathOf = (name: string) => join(assets, "lib", name, "libbpf.so");

async function readelf(path: string, ...options: string[]): Promise<string> {
  return (await run(["readelf", "--wide", ...options, path])).stdout;
}

interface DynamicSymbol {
  /** With its version, as readelf writes it: `btf__free@@LIBBPF_0.0.1`. */
  readonly name: string;
  readonly isWeak: boolean;
  readonly isDefined: boolean;
}

async function dynamicSymbols(path: string): Promise<DynamicSymbol[]> {
  const rows = (await readelf(path, "--dyn-syms")).matchAll(
    /^ +\d+: \S+ +\S+ (\S+) +(\S+) +\S+ +(?:\[.*\] +)?(\S+) (\S+)/gm,
  );
  return (
    [...rows]
      .map(([, type = "", bind = "", section = "", name = ""]) => ({
        name,
        type,
        isWeak: bind === "WEAK",
        isDefined: section !== "UND",
      }))
      // The names of versions stand among the symbols, too.
      .filter(({ type, name }) => type !== "OBJECT" || !/^LIBBPF_/.test(name))
  );
}

describe.each(libraries)("$name/libbpf.so", ({ name, machine, needs }) => {
  const path = pathOf(name);

  test("is for its machine, needs nothing but libc, and looks nowhere else", async () => {
    const text = await readelf(path, "--file-header", "--dynamic");
    expect(text).toMatch(new RegExp(`Machine: .*${machine}`));
    const needed = [...text.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, library = ""]) => library);
    expect(needed).not.toEqual([]);
    expect(needed.filter((library) => !needs.some((one) => one === library))).toEqual([]);
    expect(text).toContain("Library soname: [libbpf.so.1]");
    expect(text).not.toMatch(/RPATH|RUNPATH/);
  });

  test("asks for no version of libc above glibc 2.17", async () => {
    const text = await readelf(path, "--version-info");
    const versions = [...text.matchAll(/Name: GLIBC_([\d.]+)/g)].map(([, version = ""]) => version);
    expect(versions).not.toEqual([]);
    for (const version of versions) expect(Bun.semver.order(padded(version), "2.17.0")).not.toBe(1);
  });

  test("cannot be written where it runs, and all its calls are bound at once", async () => {
    const text = await readelf(path, "--segments", "--dynamic");
    expect(text).toContain("GNU_RELRO");
    expect(text).toContain("BIND_NOW");
    expect(text).toMatch(/GNU_STACK .* RW {2}/);
    expect(text).not.toMatch(/LOAD.* RWE /);
  });
});

/** `2.3` or `2.2.5` as a version of three numbers. */
const padded = (version: string) => [...version.split("."), "0"].slice(0, 3).join(".");

describe("symbols", () => {
  let scratch = "";
  let published: string[] = [];
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "offsetof-libbpf-"));
    const source = sourcePackages.find(({ name }) => name === "libbpf");
    if (source === undefined) throw new Error("libbpf is not among the source packages");
    await downloadSource(source, scratch);
    const map = await Bun.file(join(scratch, "libbpf-1.7.0/src/libbpf.map")).text();
    published = [...map.matchAll(/^(LIBBPF_\S+) \{([^}]*)\}/gm)].flatMap(([, version = "", body = ""]) =>
      [...body.matchAll(/^\t\t(\w+);/gm)].map(([, name]) => `${name}@@${version}`),
    );
  }, FETCH_TIMEOUT);
  afterAll(() => rm(scratch, { recursive: true }));

  test.each(libraries)(
    "$name exports what libbpf.map publishes, and nothing of libelf and zlib",
    async ({ name }) => {
      expect(published.length).toBeGreaterThan(300);
      const exported = (await dynamicSymbols(pathOf(name))).filter(({ isDefined }) => isDefined);
      expect(exported.map((symbol) => symbol.name).sort()).toEqual(published.sort());
    },
  );
});
