import { computed, signed } from "./compute.ts";
import {
  copyOf,
  forgetCalled,
  held,
  putRegister,
  registerOf,
  type State,
  setRegister,
  setSlot,
  slotOf,
} from "./state.ts";
import type { Condition, Dialect, Instruction, MemoryOperand, Operand, Step, Test } from "./step.ts";
import {
  answer,
  isPointer,
  moved,
  type ProcessorFlags,
  plus,
  truncate,
  unknown,
  type Value,
} from "./value.ts";

/**
 * What to make of all that an instruction does outside of the function's own registers and stack. An ending that it returns ends the
 * way.
 */
export interface Visitor<Ending> {
  /** The value that stands for an address that the instruction itself contains. */
  readonly address: (address: number) => Value;
  /** The value that is read from memory other than the stack; `at` is unknown where the address cannot be followed. */
  readonly load: (state: State, at: Value, width: number) => Value;
  /** The value that is read at a base plus an index. */
  readonly indexed: (state: State, base: Value, index: Value, memory: MemoryOperand) => Value;
  readonly store: (state: State, at: Value, width: number, value: Value) => Ending | null;
  readonly compare: (state: State, left: Value, right: Value) => void;
  /** A call: of `target`, or where that is null of the function that `via` leads to. Without an ending the way goes on behind the call. */
  readonly call: (state: State, target: number | null, via: Value) => Ending | null;
  /** How many bytes a called function writes at most, from a place in the stack that it was handed. */
  readonly reach: number;
  /** What the function that was called last gave back. */
  readonly result: () => Value;
  /** A jump to where none of the function's instructions is, or by a value. */
  readonly leave: (state: State, target: number | null, via: Value) => Ending;
  /** Where a jump by a value leads inside the function; empty where that is not known. */
  readonly targets: (state: State, via: Value) => readonly number[];
  readonly return: (state: State, value: Value) => Ending;
  readonly trap: () => Ending;
  /** Another way that is to be followed too. */
  readonly fork: (state: State) => void;
  /** The way from a branch not taken ends at once, the other goes on. */
  readonly end: (ending: Ending) => void;
}

/** Does what instructions say with what is known, without running anything. */
export class Interpreter<Ending> {
  readonly #machine: Dialect;
  readonly #code: ReadonlyMap<number, Instruction>;
  readonly #visitor: Visitor<Ending>;

  /** @param code the function's instructions by address */
  constructor(machine: Dialect, code: ReadonlyMap<number, Instruction>, visitor: Visitor<Ending>) {
    this.#machine = machine;
    this.#code = code;
    this.#visitor = visitor;
  }

  /** Does one step of an instruction; `next` is the address of the one behind. An ending where the way ends with it. */
  take(state: State, step: Step, next: number): Ending | null {
    switch (step.do) {
      case "set":
        return this.#set(state, step);
      case "address":
        return this.#write(state, step.to, this.#addressOf(state, step.of));
      case "add":
      case "subtract":
      case "and":
      case "or":
      case "xor": {
        const [left, right] = [this.#read(state, step.left), this.#read(state, step.right)];
        const width = step.to.kind === "immediate" ? 8 : step.to.width;
        return this.#write(state, step.to, computed(step, left, right, width));
      }
      case "jumpBase": {
        const [base, entry] = [this.#read(state, step.left), registerOf(state, step.right.name)];
        const { scale, signed } = step;
        const isTable = entry.kind === "entry";
        const scaled = isTable
          ? { ...entry, scale: entry.scale * scale, signed: signed || entry.signed }
          : unknown;
        return this.#write(state, step.to, isTable ? plus(scaled, base, 8) : unknown);
      }
      case "compare":
        state.flags = this.#compared(state, step.test);
        return null;
      case "compareIf":
        return this.#compareIf(state, step);
      case "forget":
        for (const { name } of step.to) putRegister(state, name, unknown);
        if (step.flags) state.flags = null;
        return null;
      case "select":
        return this.#select(state, step, next);
      case "jump":
        return this.#jump(state, step);
      case "call":
        return this.#call(state, step);
      case "return":
        return this.#visitor.return(state, registerOf(state, this.#machine.result));
      case "trap":
        return this.#visitor.trap();
    }
  }

  /** An address in memory, as far as it is a base plus a number. */
  #addressOf(state: State, { base, absolute, index, add }: MemoryOperand): Value {
    if (index !== undefined) return unknown;
    if (absolute !== undefined) return this.#visitor.address(absolute);
    return base === null ? unknown : moved(registerOf(state, base), add);
  }

  #read(state: State, one: Operand): Value {
    if (one.kind !== "memory") return held(state, one);
    const { base, absolute, index, width } = one;
    if (index !== undefined) {
      const from = base === null ? this.#visitor.address(absolute ?? 0) : registerOf(state, base);
      return this.#visitor.indexed(state, from, registerOf(state, index.name), one);
    }
    const at = this.#addressOf(state, one);
    if (isPointer(at) && at.root === "stack" && at.loads.length === 0) return slotOf(state, at.add, width);
    return this.#visitor.load(state, at, width);
  }

  #write(state: State, to: Operand, value: Value): Ending | null {
    if (to.kind === "register") {
      setRegister(state, to, value);
      return null;
    }
    if (to.kind === "immediate") return this.#visitor.store(state, unknown, 0, value);
    const at = this.#addressOf(state, to);
    if (at.kind === "place" && at.root === "stack" && at.loads.length === 0) {
      setSlot(state, at.add, to.width, value);
      return null;
    }
    return this.#visitor.store(state, at, to.width, value);
  }

  #set(state: State, { to, from, signed: isSigned }: Extract<Step, { do: "set" }>): Ending | null {
    const read = this.#read(state, from);
    const value = isSigned === true && to.kind === "register" ? signed(read, from, to) : read;
    return this.#write(state, to, value);
  }

  #compared(state: State, { how, left, right, width }: Test): ProcessorFlags {
    const one = truncate(this.#read(state, left), width);
    const other = truncate(this.#read(state, right), width);
    this.#visitor.compare(state, one, other);
    return { how, left: one, right: other, width };
  }

  #decide(state: State, { question, test }: Condition): boolean | null {
    const flags = test === undefined ? state.flags : this.#compared(state, test);
    return flags === null ? null : answer(flags, question);
  }

  #compareIf(state: State, step: Extract<Step, { do: "compareIf" }>): null {
    const holds = this.#decide(state, step.if);
    if (holds === null) state.flags = null;
    else state.flags = holds ? this.#compared(state, step.test) : { how: "given", nzcv: step.otherwise };
    return null;
  }

  #fork(state: State, change: (copy: State) => void): void {
    const copy = copyOf(state);
    change(copy);
    this.#visitor.fork(copy);
  }

  #select(state: State, step: Extract<Step, { do: "select" }>, next: number): Ending | null {
    const chosen = this.#decide(state, step.if);
    // The way that is chosen later goes on behind this instruction.
    if (chosen === null) {
      this.#fork(state, (copy) => {
        copy.at = next;
        this.#write(copy, step.to, this.#read(copy, step.no));
      });
    }
    return this.#write(state, step.to, this.#read(state, chosen === false ? step.no : step.yes));
  }

  #jump(state: State, { target, via, if: condition }: Extract<Step, { do: "jump" }>): Ending | null {
    const taken = condition === undefined ? true : this.#decide(state, condition);
    if (taken === false) return null;
    if (target !== null && this.#code.has(target)) {
      if (taken === true) state.at = target;
      else
        this.#fork(state, (copy) => {
          copy.at = target;
        });
      return null;
    }
    const by = via === undefined ? unknown : this.#read(state, via);
    const [first, ...others] = target === null ? this.#visitor.targets(state, by) : [];
    if (first !== undefined) {
      for (const other of others)
        this.#fork(state, (copy) => {
          copy.at = other;
        });
      state.at = first;
      return null;
    }
    const ending = this.#visitor.leave(state, target, by);
    if (taken === true) return ending;
    this.#visitor.end(ending);
    return null;
  }

  #call(state: State, { target, via }: Extract<Step, { do: "call" }>): Ending | null {
    const ending = this.#visitor.call(state, target, via === undefined ? unknown : this.#read(state, via));
    if (ending !== null) return ending;
    forgetCalled(state, this.#machine, this.#visitor.reach);
    putRegister(state, this.#machine.result, this.#visitor.result());
    return null;
  }
}
