import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "../../../src/elf/input.ts";
import { parseCache, readCache } from "../../../src/tls/ldcache.ts";
import { seeded } from "../elf/seeded.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "offsetof-ldcache-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const ldconfig = (...args: string[]): string => {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["/sbin/ldconfig", ...args]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  return stdout.toString();
};

/** What `ldconfig -p` prints of a cache: `soname (…) => path` a line. */
const printed = (cache: string): { soname: string; path: string }[] =>
  [...ldconfig("-p", "-C", cache).matchAll(/^\t(\S+) \(.*\) => (.*)$/gm)].map(
    ([, soname = "", path = ""]) => ({
      soname,
      path,
    }),
  );

/** A cache of this machine's libraries in one of ldconfig's formats; no link of the system is touched (-X). */
function written(format: "new" | "compat" | "old"): string {
  const file = join(folder, format);
  ldconfig("-X", "-c", format, "-C", file);
  return file;
}

describe("ld.so.cache reads as ldconfig prints it", () => {
  test("the machine's own", () => {
    const entries = readCache("/etc/ld.so.cache");
    expect(entries.length).toBeGreaterThan(10);
    expect(entries.map(({ soname, path }) => ({ soname, path }))).toEqual(printed("/etc/ld.so.cache"));
  });

  test.each(["new", "compat"] as const)("format %s", (format) => {
    const file = written(format);
    const magic = readFileSync(file).toString("latin1", 0, 11);
    expect(magic).toBe(format === "new" ? "glibc-ld.so" : "ld.so-1.7.0");
    expect(readCache(file).map(({ soname, path }) => ({ soname, path }))).toEqual(printed(file));
  });

  test("format old alone is refused", () => {
    const file = written("old");
    expect(() => readCache(file)).toThrow(`${file}: no table of the format glibc-ld.so.cache1.1`);
  });
});

describe("a damaged cache gives answers or clear errors", () => {
  const attempt = (bytes: Buffer): number | null => {
    try {
      return parseCache(bytes, "cache").length;
    } catch (error) {
      if (error instanceof InputError && error.message.startsWith("cache: ")) return null;
      throw error;
    }
  };

  test.each(["new", "compat"] as const)("format %s: cut, and with flipped bits", (format) => {
    const whole = readFileSync(written(format));
    const count = parseCache(whole, "cache").length;
    const random = seeded(3);
    for (let at = 0; at < 1000; at++) {
      const length = at < 200 ? at : random(whole.length);
      const answer = attempt(whole.subarray(0, length));
      expect(answer === null || answer <= count).toBe(true);
    }
    const damaged = Buffer.from(whole);
    const answers = Array.from({ length: 2000 }, (_, index) => {
      const at = random(index % 2 === 0 ? 96 : whole.length);
      const old = damaged[at] ?? 0;
      damaged[at] = old ^ (1 << random(8));
      const answer = attempt(damaged);
      damaged[at] = old;
      return answer;
    });
    expect(answers).toContain(null);
    expect(answers).toContain(count);
  });
});
