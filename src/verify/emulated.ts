/**
 * A program at an instruction costs a process two interrupts where the kernel steps over that instruction, and one where it does
 * what the instruction does itself: emulates it (arch/x86/kernel/uprobes.c). A guest of KVM on AMD leaves the guest at each step: 19 µs
 * a call instead of 2.
 */

/** Bytes of a function that are looked at: what compilers put before its first branch or push has not more. */
export const LOOKED_AT = 64;

/**
 * Instructions that functions begin with, which leave the first argument (rdi) as it is and go on behind themselves. A row is all
 * bytes of an instruction as hex digits; none is the beginning of another.
 */
export const passedOver = [
  "f30f1efa", // endbr64
  "4883ec..", // sub $N, %rsp
  "4881ec........",
  "64488b042528000000", // mov %fs:0x28, %rax, and where that goes: against overflows of the stack
  "48894424..",
  "48898424........",
  "31(?:c0|c9|d2|db|ed|f6)", // xor of a register with itself
  "4531(?:c0|c9|d2|db|e4|ed|f6|ff)",
  "b[89abde]........", // mov $N
  "41b[89a-f]........",
  "(?:4.)?89[c-f][0-689a-e]", // mov of a register to another one than rdi
  "4863(?:[cde].|f[0-7])", // movslq, likewise
  "(?:4[8c])?8b(?:[0-2][7f]|37|(?:[4-6][7f]|77)..|(?:[89a][7f]|b7)........)", // mov N(%rdi), likewise
  "(?:4.)?85[c-f].", // test of registers
  "f6(?:07|47..|87........)..", // testb $N, N(%rdi)
  "80(?:3f|7f..|bf........)..", // cmpb $N, N(%rdi)
  "(?:48)?83(?:3f|7f..|bf........)..", // cmp $N, N(%rdi)
] as const;

/** Instructions that the kernel emulates: push of a register, jumps, nop. Not calls, which shadow stacks have to be told of. */
export const emulated = ["(?:41)?5[0-7]", "7.", "0f8.", "e9", "eb", "90"] as const;

const straight = new RegExp(`^(?:${passedOver.join("|")})*(?=${emulated.join("|")})`);

/**
 * How many bytes behind the beginning of a function of x86-64 an instruction stands that the kernel emulates, and that every call of
 * the function comes by with its first argument still in its register; 0 where none is found: the beginning does in any case.
 *
 * @param code of the function, {@link LOOKED_AT} bytes from its first on; fewer where the file has no more
 */
export const emulatedPlace = (code: Uint8Array): number =>
  (straight.exec(Buffer.from(code).toString("hex"))?.[0].length ?? 0) / 2;
