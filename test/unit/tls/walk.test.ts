import { expect, test } from "bun:test";
import type { Machine } from "../../../src/elf/elf.ts";
import { type Ending, type WalkOptions, walk } from "../../../src/tls/code/walk.ts";
import { arm64 } from "../../../src/tls/machine/arm64.ts";
import { loadDecoder } from "../../../src/tls/machine/decoder.ts";
import { x86 } from "../../../src/tls/machine/x86.ts";

const entry = 0x1000;

/** How the ways through hand-assembled code end. */
function endings(machine: Machine, hex: string, options: WalkOptions = {}): readonly Ending[] {
  const code = Buffer.from(hex.replaceAll(" ", ""), "hex");
  const list = loadDecoder(machine).decode(code, entry);
  const dialect = machine === "x86_64" ? x86 : arm64;
  return walk(dialect, new Map(list.map((one) => [one.address, one])), entry, options).endings;
}

const loaded = (offset: number, width: number) => ({
  kind: "return",
  value: { kind: "place", root: 0, loads: [{ offset, width }], add: 0 },
});
const returned = (number: bigint) => ({ kind: "return", value: { kind: "number", number } });
const unfollowed = { kind: "return", value: { kind: "unknown" } };

test.each([
  ["mov rax, [rdi+0x918]; ret", "488b8718090000 c3", [loaded(0x918, 8)]],
  ["mov eax, [rdi+0x38]; ret", "8b4738 c3", [loaded(0x38, 4)]],
  [
    "a frame: push rbp; mov rbp, rsp; mov [rbp-8], rdi; mov rax, [rbp-8]; mov rax, [rax+0x10]; pop rbp; ret",
    "55 4889e5 48897df8 488b45f8 488b4010 5d c3",
    [loaded(0x10, 8)],
  ],
  ["its half: mov [rsp-8], rdi; mov eax, [rsp-8]; ret", "48897c24f8 8b4424f8 c3", [unfollowed]],
  [
    "its other half: mov [rsp-8], rdi; mov dword [rsp-4], 0; mov rax, [rsp-8]; ret",
    "48897c24f8 c74424fc00000000 488b4424f8 c3",
    [unfollowed],
  ],
  [
    "a null check: test rdi, rdi; je +4; mov rax, [rdi+0x10]; ret; xor eax, eax; ret",
    "4885ff 7405 488b4710 c3 31c0 c3",
    [loaded(0x10, 8)],
  ],
  ["the lowest byte of a pointer: movzx eax, dil; ret", "400fb6c7 c3", [unfollowed]],
  ["an index: mov rax, [rdi+rsi*8]; ret", "488b04f7 c3", [unfollowed]],
  ["a variable: mov rax, [rip+0]; ret", "488b0500000000 c3", [unfollowed]],
  ["a thread's: mov rax, fs:[0x28]; ret", "64488b042528000000 c3", [unfollowed]],
  ["another function: jmp +0x100", "e900010000", [{ kind: "call" }]],
  ["8 bits of two: mov eax, 0x1ff; mov al, 1; ret", "b8ff010000 b001 c3", [returned(0x101n)]],
])("x86-64: %s", (_, hex, expected) => {
  expect(endings("x86_64", hex)).toEqual(expected as Ending[]);
});

test.each([
  ["ldr x0, [x0, #0x10]; ret", "000840f9 c0035fd6", [loaded(16, 8)]],
  ["ldr w0, [x0, #0x38]; ret", "003840b9 c0035fd6", [loaded(56, 4)]],
  [
    "a frame: stp x29, x30, [sp, #-16]!; mov x29, sp; ldr x0, [x0]; ldp x29, x30, [sp], #16; ret",
    "fd7bbfa9 fd030091 000040f9 fd7bc1a8 c0035fd6",
    [loaded(0, 8)],
  ],
  [
    "a null check: cbz x0, +12; ldr x0, [x0, #8]; ret; mov x0, #0; ret",
    "600000b4 000440f9 c0035fd6 000080d2 c0035fd6",
    [loaded(8, 8)],
  ],
  ["an index: ldr x0, [x0, x1]; ret", "006861f8 c0035fd6", [unfollowed]],
  ["another function: b +0x100", "40000014", [{ kind: "call" }]],
])("arm64: %s", (_, hex, expected) => {
  expect(endings("aarch64", hex)).toEqual(expected as Ending[]);
});

test("where a branch is open, both ways are followed", () => {
  // mov rax, [rdi+0x20]; test rax, rax; jne +5; mov rax, [rdi+0x18]; ret
  const both = endings("x86_64", "488b4720 4885c0 7504 488b4718 c3");
  expect(both).toHaveLength(2);
  expect(both).toContainEqual(loaded(0x20, 8) as Ending);
  expect(both).toContainEqual(loaded(0x18, 8) as Ending);
});

test("the type of a plain connection closes the other ways", () => {
  // mov eax, [rdi]; test eax, eax; je +3; xor eax, eax; ret; mov eax, [rdi+0x48]; ret
  const hex = "8b07 85c0 7403 31c0 c3 8b4748 c3";
  expect(endings("x86_64", hex)).toHaveLength(2);
  expect(endings("x86_64", hex, { assumeZero: true })).toEqual([loaded(0x48, 4) as Ending]);
});

test.each([
  ["an unknown instruction: cpuid", "0fa2 c3", '"cpuid " is not followed'],
  ["a loop without end: jmp -2", "ebfe", "too long"],
  ["a write: mov [rdi], rsi; ret", "488937 c3", "writes to memory"],
  [
    "twenty open branches: test cl, cl; jne +0, …; ret",
    `${"84c97500".repeat(20)}c3`,
    "too many ways through it",
  ],
])("%s ends the walk", (_, hex, why) => {
  expect(endings("x86_64", hex)).toContainEqual({ kind: "lost", why });
});

test("a copy tells where it begins", () => {
  const from = { kind: "place", root: 0, loads: [], add: 0x50 };
  // add rdi, 0x50; xchg is not needed: lea rax, [rdi+0x50]; mov rdi, rsi; mov rsi, rax; call +0
  expect(endings("x86_64", "488d4750 4889f7 4889c6 e800010000 c3")).toEqual([
    { kind: "copy", from } as Ending,
  ]);
  // mov rax, [rdi+0x50]; mov [rsi], rax; ret
  expect(endings("x86_64", "488b4750 488906 c3")).toEqual([{ kind: "copy", from } as Ending]);
});

test("behind a call nothing it may have changed is known", () => {
  // The callee asked about is far away, so that this call is of another: push rbx; mov rbx, rdi; call; then
  const asked = { callee: 0x9000 };
  // mov rax, [rbx+8]; pop rbx; ret
  expect(endings("x86_64", "53 4889fb e800010000 488b4308 5b c3", asked)).toEqual([loaded(8, 8) as Ending]);
  // mov rax, [rdi+8]; pop rbx; ret
  expect(endings("x86_64", "53 4889fb e800010000 488b4708 5b c3", asked)).toEqual([unfollowed as Ending]);
  // mov [rsp-8], rdi before it, lea rsi, [rsp-16] handed to it, mov rax, [rsp-8] after it
  const hex = "48897c24f8 488d7424f0 e800010000 488b4424f8 c3";
  expect(endings("x86_64", hex, asked)).toEqual([unfollowed as Ending]);
});
