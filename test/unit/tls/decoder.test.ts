import { expect, test } from "bun:test";
import { Elf } from "../../../src/elf/elf.ts";
import { loadDecoder } from "../../../src/tls/machine/decoder.ts";

const libssl = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/** What an instruction says, without what its writers do not agree upon: spaces, zeros, segments of strings, signs. */
const plain = (text: string): string =>
  text
    .replace(/ *[#<].*/, "")
    .toLowerCase()
    .replace(/^xchg +ax,ax$/, "nop")
    .replace(/^(?:data16 |cs )*(nop|rep \w{4}).*/, "$1")
    .replace(/^((?:notrack )?(?:j\w+|call)) +(?=[0-9a-f]+$)/, "$1 0x")
    .replace(/ ptr\b|\b[ed]s:/g, "")
    .replace(/fs:(0x\w+)/, "fs:[$1]")
    .replace(/\*1\b|\+(?:0x)?0(?=\])/g, "")
    .replace(/\b0x[0-9a-f]+/g, (number) => String(BigInt.asIntN(32, BigInt(number))))
    .replace("+-", "-")
    .replaceAll(" ", "");

test("every instruction of a library's code is the one that objdump shows", () => {
  const flags = ["--disassemble", "--disassembler-options=intel", "--no-show-raw-insn", "--section=.text"];
  const { stdout } = Bun.spawnSync(["objdump", ...flags, libssl], { maxBuffer: 64 << 20 });
  const rows = [...stdout.toString().matchAll(/^ +([0-9a-f]+):\t(.+)$/gm)];
  const truth = rows.map(([, at = "", text = ""]) => [Number.parseInt(at, 16), plain(text)] as const);
  // More than the decoder takes at a time, many times over.
  expect(truth.length).toBeGreaterThan(50_000);
  const [first = 0] = truth[0] ?? [];
  const [last = 0] = truth.at(-1) ?? [];
  using elf = Elf.open(libssl, libssl, { follow: true });
  const told = loadDecoder("x86_64")
    .decode(elf.code(first, last - first), first)
    .map(({ address, mnemonic, operands }) => [address, plain(`${mnemonic} ${operands}`)] as const);
  const differing = told.flatMap(([address, text], index) => {
    const [place, said] = truth[index] ?? [];
    return address === place && text === said ? [] : [[address, text, place, said]];
  });
  expect(differing).toEqual([]);
  expect(told.length).toBe(truth.length - 1);
});

test.each([
  // By llvm-mc.
  ["the lowest number of 4 bytes", "0000b052", "mov", "w0, #-0x80000000"],
  ["the same, of 8 bytes", "e08361b2", "mov", "x0, #-0x80000000"],
  ["a fraction below zero", "0010781e", "fmov", "d0, #-0.12500000"],
  ["a fraction of none", "01f0271e", "fmov", "s1, #31.00000000"],
  ["as many digits as a vector has", "20e4006f", "movi", "v0.2d, #0x000000000000ff"],
  ["nothing in a vector", "00e4006f", "movi", "v0.2d, #0000000000000000"],
])("numbers on arm64: %s", (_, hex, mnemonic, operands) => {
  const code = Buffer.from(hex, "hex");
  expect(loadDecoder("aarch64").decode(code, 0x1000)).toEqual([
    { address: 0x1000, size: 4, mnemonic, operands },
  ]);
});

test("behind the first bytes that are no instruction nothing is told", () => {
  // ret; then 0x06, which is none in 64 bits (Intel SDM volume 2, PUSH).
  const code = Buffer.from("c306c3", "hex");
  expect(loadDecoder("x86_64").decode(code, 0)).toEqual([
    { address: 0, size: 1, mnemonic: "ret", operands: "" },
  ]);
});

test("code that is longer than a window, with more text than there is room for at a time, is decoded whole", () => {
  // INS: one byte, and the longest text of such (Intel SDM volume 2, INS).
  const code = Buffer.alloc(50_000, 0x6c);
  const told = loadDecoder("x86_64").decode(code, 0x1000);
  expect(told.length).toBe(code.length);
  expect(told.at(-1)).toEqual({
    address: 0x1000 + code.length - 1,
    size: 1,
    mnemonic: "insb",
    operands: "byte ptr [rdi], dx",
  });
  expect(new Set(told.map(({ mnemonic, operands }) => `${mnemonic} ${operands}`)).size).toBe(1);
});
