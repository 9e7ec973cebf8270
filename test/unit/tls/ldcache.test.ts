import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError, InputFile } from "../../../src/input/input.ts";
import { cacheIn, parseCache } from "../../../src/tls/find/ldcache.ts";
import { seeded } from "../elf/seeded.ts";

/** The entries of a cache file. */
function readCache(path: string) {
  using file = InputFile.open(path);
  return cacheIn(file);
}

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

  test("a folder whose name is not ASCII", () => {
    const libraries = join(folder, "söhne");
    mkdirSync(libraries);
    copyFileSync("/lib/x86_64-linux-gnu/libssl.so.3", join(libraries, "libssl.so.3"));
    const [conf, file] = [join(folder, "conf"), join(folder, "utf8")];
    writeFileSync(conf, `${libraries}\n`);
    ldconfig("-X", "-f", conf, "-C", file);
    expect(readCache(file).map((one) => one.path)).toContain(join(libraries, "libssl.so.3"));
    expect(readCache(file).map(({ soname, path }) => ({ soname, path }))).toEqual(printed(file));
  });

  test("format old alone is refused", () => {
    const file = written("old");
    expect(() => readCache(file)).toThrow(`${file}: no table of the format glibc-ld.so.cache1.1`);
  });
});

describe("what is wrong in a cache is told with its offset", () => {
  // The header is 48 bytes, an entry 24: flags, soname at 4, path at 8; counts stand at 20.
  test.each([
    ["a soname inside the table", 52, 48, "cache: a string outside the string table (at offset 0x34)"],
    ["a path behind the end", 56, 0x7fffffff, "cache: a string outside the string table (at offset 0x38)"],
    ["more entries than bytes", 20, 0xffffffff, "cache: 4294967295 entries beyond the end"],
    ["another machine's byte order", 28, 3, "cache: a big-endian ld.so cache (at offset 0x1c)"],
    ["another format", 17, 0x39392e39, "cache: no table of the format glibc-ld.so.cache1.1 (at offset 0x0)"],
  ])("%s", (_, at, value, message) => {
    const bytes = readFileSync(written("new"));
    bytes.writeUInt32LE(value, at);
    expect(() => parseCache(bytes, "cache")).toThrow(message);
  });

  /** A cache of so many entries, whose strings begin one behind the other, before the same end. */
  const overlapping = (count: number, text: Buffer): Buffer => {
    const whole = readFileSync(written("new"));
    const head = Buffer.from(whole.subarray(0, 48));
    head.writeUInt32LE(count, 20);
    const entries = Buffer.alloc(count * 24);
    const strings = head.length + entries.length;
    for (let index = 0; index < count; index++) {
      entries.writeUInt32LE(strings + index, index * 24 + 4);
      entries.writeUInt32LE(strings + index, index * 24 + 8);
    }
    return Buffer.concat([head, entries, text, Buffer.alloc(1)]);
  };

  test("a string longer than any path: it is not read to its end, entry for entry", () => {
    const cache = overlapping(1000, Buffer.alloc(8 << 20, "x"));
    expect(() => parseCache(cache, "cache")).toThrow(
      "cache: a string of 4096 bytes or more, or without an end",
    );
    const whole = overlapping(1000, Buffer.alloc(4095, "x"));
    expect(() => parseCache(whole, "cache")).toThrow("cache: strings that overlap too much");
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
