import { expect, test } from "bun:test";
import { Btf } from "../../../src/btf/btf.ts";
import { btfOf } from "../../../src/btf/encode.ts";
import { parsePath, placeOf } from "../../../src/btf/member.ts";
import { readKernelBtf } from "../../../src/kernel/fields/type-information.ts";
import { seeded } from "../elf/seeded.ts";
import { dumpOf, randomMembers } from "./random.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";

test("2,000 random members of this kernel lie where bpftool says, bit-fields included", () => {
  const btf: Btf = readKernelBtf(KERNEL_BTF);
  const members = randomMembers(dumpOf(KERNEL_BTF), 2000, seeded(20261126));
  expect(members.some(({ bitSize }) => bitSize !== null)).toBe(true);
  const different = members.filter(({ path, bitOffset, bitSize }) => {
    const parsed = parsePath(path);
    const place = parsed === null ? "no path" : placeOf(btf, parsed);
    return typeof place === "string" || place.bitOffset !== bitOffset || place.bitSize !== bitSize;
  });
  expect(different).toEqual([]);
});

test.each([
  "sock",
  "sock.",
  ".sk",
  "sock sk",
  "sock.a-b",
  "sock.a[]",
  "sock.a[-1]",
  "sock.a[1]b",
  "enum x.y",
  "a.b\n",
])("%p is no path of a member", (text) => {
  expect(parsePath(text)).toBeNull();
});

// As no compiler writes it: to look through each member anew took 40 ** 16 steps.
test("an anonymous struct that holds itself many times ends, without the member", () => {
  const members = Array.from({ length: 40 }, () => ({ name: "", type: 2, bitOffset: 0, bitSize: null }));
  const bytes = btfOf([
    { kind: "struct", name: "outer", size: 8, members },
    { kind: "struct", name: "", size: 8, members },
  ]);
  const btf = new Btf(bytes, { path: "made" });
  const path = parsePath("outer.missing");
  expect(path && placeOf(btf, path)).toBe("outer has no member missing");
});
