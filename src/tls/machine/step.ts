import type { BranchQuestion } from "./value.ts";

/** A register by the name of its whole, e.g. `rdi` for `edi`; `width` in bytes. */
export interface Register {
  readonly kind: "register";
  readonly name: string;
  readonly width: number;
}

/** Memory at a register plus `add` bytes. A null `base` without `absolute` is an address that is not followed. */
export interface MemoryOperand {
  readonly kind: "memory";
  readonly base: string | null;
  readonly add: number;
  readonly width: number;
  /** Instead of a register: an address that the instruction tells, before relocation. */
  readonly absolute?: number;
  /** What is added to it: a register times `scale`. */
  readonly index?: { readonly name: string; readonly scale: number };
}

export interface Immediate {
  readonly kind: "immediate";
  readonly value: bigint;
}

export type Operand = Register | MemoryOperand | Immediate;

/** A comparison that sets the flags, or that a branch makes by itself (cbz, tbz). */
export interface Test {
  readonly how: "subtract" | "and";
  readonly left: Operand;
  readonly right: Operand;
  readonly width: number;
}

/** What a branch depends on: the comparison `test`, or without it the flags. */
export interface Condition {
  readonly question: BranchQuestion;
  readonly test?: Test;
}

/** What an instruction does, in words that both machines share. */
export type Step =
  /** Copies, the rest of a register becomes zero; `signed` fills it with the sign. */
  | { readonly do: "set"; readonly to: Operand; readonly from: Operand; readonly signed?: boolean }
  | { readonly do: "address"; readonly to: Register; readonly of: MemoryOperand }
  | {
      readonly do: "add" | "subtract" | "and" | "xor" | "or";
      readonly to: Operand;
      readonly left: Operand;
      readonly right: Operand;
    }
  /** Adds an entry of a table of jumps, times `scale`; of anything else the sum is not followed. */
  | {
      readonly do: "jumpBase";
      readonly to: Register;
      readonly left: Operand;
      readonly right: Register;
      readonly scale: number;
      readonly signed: boolean;
    }
  | { readonly do: "compare"; readonly test: Test }
  /** Compares where the condition holds; else the flags become `otherwise`. */
  | { readonly do: "compareIf"; readonly test: Test; readonly if: Condition; readonly otherwise: number }
  /** Writes something that is not followed. */
  | { readonly do: "forget"; readonly to: readonly Register[]; readonly flags: boolean }
  | {
      readonly do: "select";
      readonly to: Register;
      readonly yes: Operand;
      readonly no: Operand;
      readonly if: Condition;
    }
  /** A null target is not in the instruction, but in `via`. */
  | { readonly do: "jump"; readonly target: number | null; readonly via?: Operand; readonly if?: Condition }
  | { readonly do: "call"; readonly target: number | null; readonly via?: Operand }
  | { readonly do: "return" }
  | { readonly do: "trap" };

/** An instruction as the decoder prints it. `address` before relocation, `size` in bytes. */
export interface Instruction {
  readonly address: number;
  readonly size: number;
  readonly mnemonic: string;
  readonly operands: string;
}

/** What the walk must know of a machine. */
export interface Dialect {
  /** Registers that hold the first arguments, in order. */
  readonly arguments: readonly string[];
  readonly result: string;
  readonly stack: string;
  /** Registers that a function gives back as it got them. */
  readonly preserved: readonly string[];
  /** What the instruction does; null when it is not known. */
  readonly lift: (instruction: Instruction) => readonly Step[] | null;
  /** The registers that an instruction writes which `lift` does not know, as far as its text tells. */
  readonly written: (instruction: Instruction) => readonly Register[];
}

/** The operands of a text, which are separated by commas outside brackets. */
export const split = (operands: string): readonly string[] =>
  operands === "" ? [] : operands.split(/,\s*(?![^[]*\])/).map((one) => one.trim());
