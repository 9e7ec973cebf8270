/** Where programs attach. The truth is binutils' reading of symbols and sections. */
import { beforeAll, describe, expect, test } from "bun:test";
import { Elf } from "../../../src/elf/elf.ts";
import { functionSymbols, functionsOf } from "../../../src/tls/attach-points.ts";
import { functionsIn, names } from "./binutils.ts";
import { debianPackage, fetchTimeout, loadSamples, samples } from "./debian.ts";
import { loadNode, nodeSamples } from "./node.ts";

beforeAll(loadSamples, fetchTimeout);

/** What is told of a library's functions by symbols alone. */
function bySymbols(path: string, library: "openssl" | "boringssl", version: string | null = null) {
  using elf = Elf.open(path, path, { follow: true });
  return functionsOf({ library, version }, elf, functionSymbols(library, elf), new Map());
}

describe("functions begin where binutils says", () => {
  test.each(samples)("$suite $arch $name", ({ suite, arch, name }) => {
    const { root } = debianPackage(suite, arch, name);
    const library = name === "android-libboringssl" ? "boringssl" : "openssl";
    for (const file of new Bun.Glob("**/libssl.so.*").scanSync({ cwd: root, absolute: true })) {
      const truth = functionsIn(file);
      const told = bySymbols(file, library);
      expect(Object.keys(told)).toEqual(names);
      expect(Object.keys(truth).length).toBe(library === "openssl" ? 5 : 3);
      for (const [one, { address, offset, status, reason }] of Object.entries(told)) {
        const [from, at] = truth[one] ?? [];
        expect([one, address, offset]).toEqual([one, from ?? null, at ?? null]);
        if (from === undefined) expect([one, reason]).toEqual([one, expect.any(String)]);
        const isNone = library === "boringssl" && one.endsWith("_ex");
        expect([one, status]).toEqual([
          one,
          from !== undefined ? "single" : isNone ? "absent" : "unresolved",
        ]);
      }
    }
  });

  test.each(nodeSamples.filter(({ version }) => version === "20.20.2"))(
    "Node.js $version $arch, the key log's too, which is in the full table alone",
    async (sample) => {
      const path = await loadNode(sample);
      const truth = functionsIn(path);
      expect(Object.keys(truth).toSorted()).toEqual(names.toSorted());
      for (const [one, { address, offset }] of Object.entries(bySymbols(path, "openssl")))
        expect([one, address, offset]).toEqual([one, ...(truth[one] ?? [])]);
    },
  );
});

test("what a release does not have yet is absent, and told as such by its version alone", () => {
  const path = Bun.which("true") ?? "";
  const status = (version: string) => {
    const { SSL_read_ex: one, SSL_read: other } = bySymbols(path, "openssl", version);
    return [one?.status, other?.status];
  };
  expect(status("1.0.2u")).toEqual(["absent", "unresolved"]);
  expect(status("1.1.1")).toEqual(["unresolved", "unresolved"]);
});

test("sources that agree confirm, sources that differ are a conflict, and what is no code is no function", () => {
  const path = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
  using elf = Elf.open(path, path, { follow: true });
  const [at = 0] = functionsIn(path).SSL_read ?? [];
  const judged = (symbol: number, ...references: number[]) => {
    const said = (...addresses: number[]) => new Map([["SSL_read", { addresses }]]);
    const library = { library: "openssl", version: null } as const;
    return functionsOf(library, elf, said(symbol), said(...references)).SSL_read;
  };
  expect(judged(at, at)).toMatchObject({ status: "confirmed", address: at });
  expect(judged(at, at + 16)).toMatchObject({ status: "conflict", address: null, offset: null });
  // The ELF header.
  expect(judged(16, 16)).toMatchObject({ status: "unresolved", address: null, offset: null });
});
