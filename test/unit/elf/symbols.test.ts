import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Elf } from "../../../src/elf/elf.ts";
import { findFunctions } from "../../../src/elf/symbols.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "../tls/debian.ts";

beforeAll(loadSamples, fetchTimeout);

/** The functions in a file's symbol tables, by name, as binutils reads them. */
function readelf(path: string): Map<string, { address: number; size: number }> {
  const text = Bun.spawnSync(["readelf", "-W", "--symbols", path]).stdout.toString();
  const rows = text.matchAll(/: ([0-9a-f]+) +(\d+) FUNC +(?:GLOBAL|WEAK|LOCAL) +\S+ +\d+ ([\w.]+)/g);
  return new Map(
    [...rows].map(([, at = "", size = "", name = ""]) => [
      name,
      { address: Number.parseInt(at, 16), size: Number(size) },
    ]),
  );
}

describe("functions are found where readelf finds them", () => {
  test.each(samples)("$suite $arch $name", ({ suite, arch, name }) => {
    const { root } = debianPackage(suite, arch, name);
    for (const file of new Bun.Glob("**/lib{ssl,crypto}.so.*").scanSync({ cwd: root, absolute: true })) {
      const expected = readelf(file);
      expect(expected.size).toBeGreaterThan(100);
      using elf = Elf.open(file);
      const found = findFunctions(elf, [...expected.keys()]);
      for (const [symbol, { address, size }] of expected) {
        expect([symbol, ...(found.get(symbol) ?? [])]).toEqual([symbol, { address, size }]);
      }
      // Imported, and of no file.
      expect(findFunctions(elf, ["memcpy", "SSL_get_rbi", "no_such_function"]).size).toBe(0);
    }
  });
});

test("code lies where the file is executable, and nowhere else", () => {
  const { root } = debianPackage("bookworm", "amd64", "libssl3");
  using elf = Elf.open(join(root, "usr/lib/x86_64-linux-gnu/libssl.so.3"));
  const [symbol] = findFunctions(elf, ["SSL_get_session"]).get("SSL_get_session") ?? [];
  // mov rax, [rdi+0x918]
  expect(elf.code(symbol?.address ?? 0, 7).toString("hex")).toBe("488b8718090000");
  expect(() => elf.code(0, 16)).toThrow("no code of 16 bytes at 0x0");
  expect(() => elf.code(Number.MAX_VALUE, 16)).toThrow("no code");
});

test("a function that is no dynamic symbol is found in the full table", () => {
  const folder = mkdtempSync(join(tmpdir(), "offsetof-symbols-"));
  try {
    const [source, program] = [join(folder, "a.c"), join(folder, "a")];
    writeFileSync(
      source,
      "int SSL_version(int *s) { return s[18]; } int main(void) { return SSL_version(0); }",
    );
    Bun.spawnSync(["cc", "-O1", "-o", program, source]);
    using elf = Elf.open(program);
    const expected = readelf(program).get("SSL_version");
    expect(expected?.size).toBeGreaterThan(0);
    expect(findFunctions(elf, ["SSL_version"]).get("SSL_version")).toEqual(expected && [expected]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("strings full of the same name are refused", () => {
  const { root } = debianPackage("bookworm", "amd64", "libssl3");
  const bytes = readFileSync(join(root, "usr/lib/x86_64-linux-gnu/libcrypto.so.3"));
  const folder = mkdtempSync(join(tmpdir(), "offsetof-symbols-"));
  const path = join(folder, "hostile");
  try {
    using whole = Elf.open(join(root, "usr/lib/x86_64-linux-gnu/libcrypto.so.3"));
    const strings = whole.sections().find((one) => one.name === ".dynstr");
    if (strings === undefined) throw new Error("no .dynstr");
    bytes.fill("a\0", strings.offset, strings.offset + strings.size);
    // The dynamic symbols become a full table (SHT_SYMTAB), which the file has none of.
    const index = whole.sections().findIndex((one) => one.name === ".dynsym");
    bytes.writeUInt32LE(2, Number(bytes.readBigUInt64LE(40)) + index * 64 + 4);
    writeFileSync(path, bytes);
    using elf = Elf.open(path);
    expect(() => findFunctions(elf, ["a"])).toThrow("hostile: the same names more than 10000 times");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
