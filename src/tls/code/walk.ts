import type { Condition, Dialect, Instruction, Operand, Register, Step, Test } from "./step.ts";
import {
  answer,
  type Flags,
  isPointer,
  negative,
  number,
  type Place,
  place,
  plus,
  truncate,
  unknown,
  type Value,
} from "./value.ts";

/** How a way through a function ends. Nothing is said of what happens in another function. */
export type Ending =
  | { readonly kind: "return"; readonly value: Value }
  /** The bytes that begin at `from` are copied to where the second argument points. */
  | { readonly kind: "copy"; readonly from: Place }
  /** The function asked about is called with these arguments. */
  | { readonly kind: "pass"; readonly arguments: readonly Value[] }
  | { readonly kind: "call" }
  | { readonly kind: "lost"; readonly why: string };

export interface Walk {
  readonly endings: readonly Ending[];
  /** Whether the number that was assumed was read. */
  readonly usedAssumption: boolean;
}

export interface WalkOptions {
  /** Takes the first four bytes of what the first argument points to as zero: OpenSSL's SSL_TYPE_SSL_CONNECTION. */
  readonly assumeZero?: boolean;
  /** The third argument, where the second is a buffer and this is its length in bytes. */
  readonly length?: number;
  /** The address of a function: the walk goes on behind calls of others, and ends where this one is called. */
  readonly callee?: number;
}

/** Far above what an accessor needs; they bound what a hostile function can cost. */
const limits = { steps: 4000, ways: 200, loads: 4 };

/** One way through the function. Copied at each fork. */
interface State {
  at: number;
  readonly registers: Map<string, Value>;
  /** By distance from the stack pointer at entry, in bytes. */
  readonly stack: Map<number, { readonly value: Value; readonly width: number }>;
  flags: Flags | null;
}

class Lost extends Error {}

/**
 * Follows every way through a function, without running it: where a branch depends on what is not known, both.
 *
 * @param code the function's instructions by address; a way that leaves them ends in a call
 */
export function walk(
  { lift, ...machine }: Dialect,
  code: ReadonlyMap<number, Instruction>,
  entry: number,
  { assumeZero = false, length, callee }: WalkOptions = {},
): Walk {
  let usedAssumption = false;
  const endings: Ending[] = [];
  const first: State = { at: entry, registers: new Map(), stack: new Map(), flags: null };
  for (const [index, name] of machine.arguments.entries()) first.registers.set(name, place(index));
  const [, , third] = machine.arguments;
  if (length !== undefined && third !== undefined) first.registers.set(third, number(length));
  first.registers.set(machine.stack, place("stack"));
  const ways: State[] = [first];
  let steps = 0;

  const read = (state: State, one: Operand): Value => {
    if (one.kind === "immediate") return number(one.value);
    if (one.kind === "register") return truncate(state.registers.get(one.name) ?? unknown, one.width);
    const base = one.base === null ? unknown : (state.registers.get(one.base) ?? unknown);
    const at = plus(base, number(one.add), 8);
    if (!isPointer(at)) return unknown;
    if (at.root === "stack" && at.loads.length === 0) {
      const slot = state.stack.get(at.add);
      return slot === undefined || slot.width < one.width ? unknown : truncate(slot.value, one.width);
    }
    if (at.root === "stack" || at.loads.length >= limits.loads) return unknown;
    if (assumeZero && at.root === 0 && at.loads.length === 0 && at.add === 0 && one.width <= 4) {
      usedAssumption = true;
      return number(0);
    }
    return place(at.root, [...at.loads, { offset: at.add, width: one.width }]);
  };

  /** An ending where the write is the answer: the first bytes of what is copied out. */
  const write = (state: State, to: Operand, value: Value): Ending | null => {
    if (to.kind === "immediate") throw new Lost("writes to a number");
    if (to.kind === "register") {
      state.registers.set(to.name, part(state, to, value));
      return null;
    }
    const base = to.base === null ? unknown : (state.registers.get(to.base) ?? unknown);
    const at = plus(base, number(to.add), 8);
    if (at.kind === "place" && at.root === "stack" && at.loads.length === 0) {
      for (const [other, { width }] of state.stack) {
        if (other < at.add + to.width && at.add < other + width) state.stack.delete(other);
      }
      state.stack.set(at.add, { value: truncate(value, to.width), width: to.width });
      return null;
    }
    const from = copied(value);
    if (isOutput(at) && from !== null) return { kind: "copy", from };
    throw new Lost("writes to memory");
  };

  /** What a whole register holds after its lowest bytes are written: 1 and 2 leave the rest as it was (x86). */
  const part = (state: State, to: Register, value: Value): Value => {
    const low = truncate(value, to.width);
    if (to.width >= 4) return low;
    const old = state.registers.get(to.name) ?? unknown;
    if (low.kind !== "number" || old.kind !== "number") return low.kind === "place" ? low : unknown;
    const bits = 8 * to.width;
    return number(((old.number >> BigInt(bits)) << BigInt(bits)) | low.number);
  };

  const compared = (state: State, { how, left, right, width }: Test): Flags => ({
    how,
    left: truncate(read(state, left), width),
    right: truncate(read(state, right), width),
    width,
  });

  const decide = (state: State, { question, test }: Condition): boolean | null => {
    const flags = test === undefined ? state.flags : compared(state, test);
    return flags === null ? null : answer(flags, question);
  };

  const fork = (state: State, change: (copy: State) => void): void => {
    if (ways.length + endings.length >= limits.ways) throw new Lost("too many ways through it");
    const copy = { ...state, registers: new Map(state.registers), stack: new Map(state.stack) };
    change(copy);
    ways.push(copy);
  };

  /** The way ends in another function. */
  const leave = (state: State, into: number | null): Ending => {
    if (callee !== undefined && into === callee) {
      const values = machine.arguments.map((name) => state.registers.get(name) ?? unknown);
      return { kind: "pass", arguments: values };
    }
    const [to, from] = machine.arguments.slice(0, 2).map((name) => state.registers.get(name) ?? unknown);
    const isCopy = to !== undefined && isOutput(to) && from !== undefined && isMember(from);
    return isCopy ? { kind: "copy", from } : { kind: "call" };
  };

  /** Goes on behind a call: what the other function may have changed is forgotten. */
  const skip = (state: State): void => {
    for (const [name, value] of state.registers) {
      // A place in the stack that was handed out, and what lies above it.
      if (value.kind === "place" && value.root === "stack" && machine.arguments.includes(name)) {
        for (const at of state.stack.keys()) if (at >= value.add) state.stack.delete(at);
      }
    }
    for (const name of state.registers.keys()) {
      if (!machine.preserved.includes(name)) state.registers.delete(name);
    }
    state.flags = null;
  };

  /** Does one step; an ending where the way ends with it. */
  const take = (state: State, step: Step, next: number): Ending | null => {
    switch (step.do) {
      case "set": {
        const from = read(state, step.from);
        const value =
          step.signed === true && step.to.kind === "register" ? signed(from, step.from, step.to) : from;
        return write(state, step.to, value);
      }
      case "address": {
        const base = step.of.base === null ? unknown : (state.registers.get(step.of.base) ?? unknown);
        return write(state, step.to, plus(base, number(step.of.add), 8));
      }
      case "add":
      case "subtract":
      case "and":
      case "or":
      case "xor": {
        const [left, right] = [read(state, step.left), read(state, step.right)];
        const width = step.to.kind === "immediate" ? 8 : step.to.width;
        return write(state, step.to, computed(step, left, right, width));
      }
      case "compare":
        state.flags = compared(state, step.test);
        return null;
      case "compareIf": {
        const holds = decide(state, step.if);
        if (holds === null) state.flags = null;
        else state.flags = holds ? compared(state, step.test) : { how: "given", nzcv: step.otherwise };
        return null;
      }
      case "forget":
        for (const { name } of step.to) state.registers.set(name, unknown);
        if (step.flags) state.flags = null;
        return null;
      case "select": {
        const chosen = decide(state, step.if);
        // The way on that is chosen later continues behind this instruction.
        if (chosen === null) {
          fork(state, (copy) => {
            copy.at = next;
            write(copy, step.to, read(copy, step.no));
          });
        }
        return write(state, step.to, read(state, chosen === false ? step.no : step.yes));
      }
      case "jump": {
        const taken = step.if === undefined ? true : decide(state, step.if);
        const target = step.target;
        if (taken === false) return null;
        if (target === null || !code.has(target)) {
          if (taken === true) return leave(state, target);
          endings.push(leave(state, target));
          return null;
        }
        if (taken === true) state.at = target;
        else
          fork(state, (copy) => {
            copy.at = target;
          });
        return null;
      }
      case "call":
        if (callee === undefined || step.target === callee) return leave(state, step.target);
        skip(state);
        return null;
      case "return":
        return { kind: "return", value: state.registers.get(machine.result) ?? unknown };
      case "trap":
        return { kind: "call" };
    }
  };

  /** To the end of one way. */
  const follow = (state: State): Ending => {
    for (;;) {
      steps += 1;
      if (steps > limits.steps) throw new Lost("too long");
      const instruction = code.get(state.at);
      if (instruction === undefined) return { kind: "call" };
      const known = lift(instruction);
      if (known === null) throw new Lost(`"${instruction.mnemonic} ${instruction.operands}" is not followed`);
      const next = instruction.address + instruction.size;
      state.at = next;
      for (const step of known) {
        const ending = take(state, step, next);
        if (ending !== null) return ending;
      }
    }
  };

  for (let state = ways.pop(); state !== undefined; state = ways.pop()) {
    try {
      endings.push(follow(state));
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      endings.push({ kind: "lost", why: error.message });
      if (steps > limits.steps) break;
    }
  }
  return { endings, usedAssumption };
}

/** Where the second argument points. */
const isOutput = (value: Value): boolean =>
  value.kind === "place" && value.root === 1 && value.loads.length === 0 && value.add === 0;

/** Somewhere inside what the first argument points to, or what that points to. */
const isMember = (value: Value): value is Place => isPointer(value) && value.root === 0;

/** Where a loaded value was loaded from. */
function copied(value: Value): Place | null {
  if (value.kind !== "place" || value.root !== 0 || value.add !== 0) return null;
  const last = value.loads.at(-1);
  return last === undefined ? null : place(0, value.loads.slice(0, -1), last.offset);
}

function signed(value: Value, from: Operand, to: Register): Value {
  const width = from.kind === "immediate" ? 8 : from.width;
  // A member that was read is that member, with its sign before it or zeros.
  if (value.kind === "place" && value.add === 0 && value.loads.at(-1)?.width === width) return value;
  if (value.kind !== "number") return unknown;
  return number(BigInt.asUintN(8 * to.width, BigInt.asIntN(8 * width, value.number)));
}

function computed(
  step: Extract<Step, { readonly left: Operand }>,
  left: Value,
  right: Value,
  width: number,
): Value {
  const isSame =
    step.left.kind === "register" &&
    step.right.kind === "register" &&
    step.left.name === step.right.name &&
    step.left.width === step.right.width;
  if (isSame && (step.do === "xor" || step.do === "subtract")) return number(0);
  if (step.do === "add") return plus(left, right, width);
  if (step.do === "subtract") return plus(left, negative(right), width);
  if (isSame) return left;
  // Zero masks anything; that is how a way is often closed.
  const [a, b] = [left, right].map((one) => (one.kind === "number" ? one.number : null));
  if (step.do === "and" && (a === 0n || b === 0n)) return number(0);
  if (a === null || a === undefined || b === null || b === undefined) return unknown;
  const result = step.do === "and" ? a & b : step.do === "or" ? a | b : a ^ b;
  return number(BigInt.asUintN(8 * width, result));
}
