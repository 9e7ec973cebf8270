import { expect, test } from "bun:test";
import { reached } from "../../../src/bytecode/reach.ts";

/** Instructions by their opcodes, as the kernel's Documentation/bpf/standardization/instruction-set.rst encodes them. */
const one = (code: number, registers = 0, offset = 0, immediate = 0): number[] => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8(registers, 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return [...bytes];
};
const put = (register: number, value: number) => one(0xb7, register, 0, value);
const skipIfZero = (register: number, by = 1) => one(0x15, register, by, 0);
const exit = one(0x95);
const call = one(0x85, 0, 0, 1);
/** Which of the instructions are reached, by their index. */
const indexes = (code: readonly number[][], known: ReadonlyMap<number, bigint | null> = new Map()) =>
  [...reached(new Uint8Array(code.flat()), known)].map((at) => at / 8).sort((a, b) => a - b);

test.each([
  ["a number decides", [put(1, 0), skipIfZero(1), call, exit], [0, 1, 3]],
  ["another number decides otherwise", [put(1, 1), skipIfZero(1), call, exit], [0, 1, 2, 3]],
  ["what is not known decides nothing", [skipIfZero(1), call, exit], [0, 1, 2]],
  ["a call leaves nothing known of R1", [put(1, 0), call, skipIfZero(1), call, exit], [0, 1, 2, 3, 4]],
  ["and all of R6", [put(6, 0), call, skipIfZero(6), call, exit], [0, 1, 2, 4]],
  ["a copy is the same number", [put(6, 0), one(0xbf, 0x61), skipIfZero(1), call, exit], [0, 1, 2, 4]],
  ["a bit that is masked", [put(1, 2), one(0x57, 1, 0, 1), skipIfZero(1), call, exit], [0, 1, 2, 4]],
  ["32 bits", [put(1, -1), one(0xb4, 1, 0, 0), one(0x16, 1, 1, 0), call, exit], [0, 1, 2, 4]],
  ["memory is not known", [put(1, 0), one(0x79, 0xa1, -8), skipIfZero(1), call, exit], [0, 1, 2, 3, 4]],
  [
    "ways that join with other numbers",
    [skipIfZero(2, 2), put(1, 1), one(0x05, 0, 1), put(1, 0), skipIfZero(1), call, exit],
    [0, 1, 2, 3, 4, 5, 6],
  ],
  ["a load of 64 bits has two parts", [one(0x18, 1), one(0), skipIfZero(1), call, exit], [0, 2, 3, 4]],
  ["a jump beyond the end", [one(0x05, 0, 100)], [0]],
  ["a loop", [put(1, 0), one(0x05, 0, -2)], [0, 1]],
] as const)("%s", (_, code, expected) => {
  expect(indexes(code as never)).toEqual([...expected]);
});

test("what a loader writes decides in place of what is there", () => {
  const code = [put(1, 1), skipIfZero(1), call, exit];
  expect(indexes(code, new Map([[0, 0n]]))).toEqual([0, 1, 3]);
  expect(indexes(code, new Map([[0, null]]))).toEqual([0, 1, 2, 3]);
});
