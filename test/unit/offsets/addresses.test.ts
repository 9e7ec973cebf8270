import { dlopen } from "bun:ffi";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { architectures, repository } from "../../../assets/build/paths.ts";
import { run } from "../../../assets/build/run.ts";
import { addressings, kernelAddress } from "../../../src/offsets/pointers.ts";

/** What the eBPF programs are compiled with, for this machine; `__always_inline` comes with libbpf's headers there. */
const SOURCE = `
#include <sys/cdefs.h>
#include "offsetof.h"
__u64 address_of(__u64 pointer, __u64 known) { return kernel_address(pointer, known); }
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "addresses-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** kernel_address of bpf/offsetof.h as the programs for an architecture have it. */
async function compiled(name: string, define: string): Promise<(pointer: bigint, known: bigint) => bigint> {
  const library = join(folder, `${name}.so`);
  const flags = [
    "-O2",
    "-Wall",
    "-Werror",
    "-shared",
    "-fPIC",
    `-D${define}`,
    `-I${join(repository, "bpf")}`,
  ];
  await run(["gcc", ...flags, "-x", "c", "-", "-o", library], { stdin: new TextEncoder().encode(SOURCE) });
  const { symbols } = dlopen(library, { address_of: { args: ["u64", "u64"], returns: "u64" } });
  return symbols.address_of;
}

/** Near what rules begin and end at, of any tag; and any word at all. */
const edges = Object.values(addressings).flatMap(({ narrow, wide }) => [narrow, wide]);
const word = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc
    .tuple(
      fc.constantFrom(
        0n,
        1n << 47n,
        1n << 48n,
        1n << 52n,
        1n << 55n,
        1n << 56n,
        2n ** 64n - 0x10000n,
        ...edges,
      ),
      fc.oneof(fc.bigInt({ min: -4096n, max: 4096n }), fc.bigInt({ min: 0n, max: 1n << 47n })),
      fc.oneof(fc.constant(null), fc.nat(255)),
      fc.boolean(),
    )
    .map(([edge, distance, tag, isAligned]) => {
      const address = BigInt.asUintN(64, edge + (isAligned ? distance & ~7n : distance));
      return tag === null ? address : BigInt.asUintN(56, address) | (BigInt(tag) << 56n);
    }),
);

describe.each(architectures.map(({ name, define }) => [name, define] as const))("%s", (name, define) => {
  test("the eBPF programs and user space take the same words for pointers, and lead to the same address", async () => {
    const addressOf = await compiled(name, define);
    fc.assert(
      fc.property(word, word, (pointer, known) => {
        expect(kernelAddress(pointer, known, addressings[name]) ?? 0n).toBe(addressOf(pointer, known));
      }),
      { numRuns: 20_000 },
    );
  });

  test("no address is followed that is not canonical with the widest addresses that there are", () => {
    const widest = name === "x64" ? 57 : 53; // bits, with that which chooses the half
    fc.assert(
      fc.property(word, word, (pointer, known) => {
        const address = kernelAddress(pointer, known, addressings[name]);
        if (address === null) return;
        expect(BigInt.asUintN(64, BigInt.asIntN(widest, address))).toBe(address);
        expect(address >> 63n).toBe(1n);
        expect(address % 8n).toBe(0n);
      }),
      { numRuns: 20_000 },
    );
  });
});
