import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { assets } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";
import { executableFor, runtimeFor } from "../../lab/executable.ts";

const readelf = async (path: string, ...options: string[]): Promise<string> =>
  (await run(["readelf", "--wide", ...options, path])).stdout;

/** Names of a file's dynamic symbols, weak ones too. */
async function symbolsOf(path: string): Promise<{ asked: string[]; defined: string[] }> {
  const rows = [
    ...(await readelf(path, "--dyn-syms")).matchAll(/^ +\d+: .* (\S+) ([\w.]+)(?:@\S+)?(?: \(\d+\))?$/gm),
  ];
  const names = (isAsked: boolean) =>
    rows.flatMap(([, section, name = ""]) => ((section === "UND") === isAsked ? [name] : []));
  return { asked: names(true), defined: names(false) };
}

/** Weak in Bun, and nowhere: a linker's and a profiler's, and hooks of zstd's. */
const NOWHERE = /^(__gmon_start__|_ITM_(de)?registerTMCloneTable|ZSTD_trace_\w+|__cxa_finalize)$/;

const architectures = [
  { name: "x64", debian: "amd64" },
  { name: "arm64", debian: "arm64" },
] as const;

describe.each(architectures)("$name", ({ name, debian }) => {
  const libc = join(assets, "launcher", name, "libc.so");

  test("the musl inside has all that Bun and libbpf ask of a C library", async () => {
    const { defined } = await symbolsOf(libc);
    const has = new Set(defined);
    for (const path of [await runtimeFor(debian), join(assets, "lib", name, "libbpf.so")]) {
      const { asked } = await symbolsOf(path);
      expect(asked.length).toBeGreaterThan(50);
      const missing = asked.filter((each) => !has.has(each) && !NOWHERE.test(each));
      // musl's linker takes a name of glibc's for large files as the one without its 64 (dynlink.c: get_lfs64).
      expect(missing.filter((each) => !has.has(each.replace(/64$/, "")))).toEqual([]);
    }
  });

  test("the launcher has no relocations and asks for nothing", async () => {
    const text = await readelf(
      join(assets, "launcher", name, "launcher"),
      "--relocs",
      "--dynamic",
      "--segments",
    );
    expect(text).toContain("There are no relocations in this file");
    expect(text).toContain("There is no dynamic section");
    expect(text).not.toMatch(/RWE|INTERP/);
  });

  test("the executable has no interpreter, and its segments do not overlap", async () => {
    const text = await readelf(await executableFor(debian), "--segments");
    expect(text).not.toContain("INTERP");
    const loads = [...text.matchAll(/LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+) 0x(\w+)/g)].map((row) =>
      row.slice(1).map((number) => Number.parseInt(number, 16)),
    );
    expect(loads.length).toBeGreaterThan(6);
    for (const [index, [offset = 0, address = 0]] of loads.entries()) {
      // Of the largest page.
      expect((address - offset) % 0x1000).toBe(0);
      const [, before = 0, , size = 0] = loads[index - 1] ?? [];
      expect(address).toBeGreaterThanOrEqual(before + size);
    }
  });
});
