import { Interpreter, type Visitor } from "../machine/interpreter.ts";
import { putRegister, registerOf, type State, stateAt } from "../machine/state.ts";
import type { Dialect, Instruction } from "../machine/step.ts";
import { isPointer, number, place, unknown, type Value, type ValuePlace } from "../machine/value.ts";

/** How a way through a function ends. Nothing is said of what happens in another function. */
export type Ending =
  | { readonly kind: "return"; readonly value: Value }
  /** The bytes that begin at `from` are copied to where the second argument points. */
  | { readonly kind: "copy"; readonly from: ValuePlace }
  /** The function asked about is called with these arguments. */
  | { readonly kind: "pass"; readonly arguments: readonly Value[] }
  | { readonly kind: "call" }
  | { readonly kind: "lost"; readonly why: string };

export interface WalkedWays {
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

class Lost extends Error {}

/**
 * Follows every way through a function, without running it: where a branch depends on what is not known, both.
 *
 * @param code the function's instructions by address; a way that leaves them ends in a call
 */
export function walk(
  machine: Dialect,
  code: ReadonlyMap<number, Instruction>,
  entry: number,
  options: WalkOptions = {},
): WalkedWays {
  const accessor = new AccessorWalk(machine, code, options);
  accessor.run(first(machine, entry, options));
  const { endings, usedAssumption } = accessor;
  return { endings, usedAssumption };
}

function first(machine: Dialect, entry: number, { length }: WalkOptions): State {
  const state = stateAt(entry, machine);
  const [, , third] = machine.arguments;
  if (length !== undefined && third !== undefined) putRegister(state, third, number(length));
  return state;
}

/** What an accessor does of what matters: it loads, returns, copies out, hands on. */
class AccessorWalk implements Visitor<Ending> {
  readonly endings: Ending[] = [];
  usedAssumption = false;
  readonly reach = Number.POSITIVE_INFINITY;
  readonly #machine: Dialect;
  readonly #code: ReadonlyMap<number, Instruction>;
  readonly #options: WalkOptions;
  readonly #interpreter: Interpreter<Ending>;
  readonly #ways: State[] = [];
  #steps = 0;

  constructor(machine: Dialect, code: ReadonlyMap<number, Instruction>, options: WalkOptions) {
    this.#machine = machine;
    this.#code = code;
    this.#options = options;
    this.#interpreter = new Interpreter(machine, code, this);
  }

  run(from: State): void {
    this.#ways.push(from);
    for (let state = this.#ways.pop(); state !== undefined; state = this.#ways.pop()) {
      try {
        this.endings.push(this.#follow(state));
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        this.endings.push({ kind: "lost", why: error.message });
        if (this.#steps > limits.steps) break;
      }
    }
  }

  /** To the end of one way. */
  #follow(state: State): Ending {
    for (;;) {
      this.#steps += 1;
      if (this.#steps > limits.steps) throw new Lost("too long");
      const instruction = this.#code.get(state.at);
      if (instruction === undefined) return { kind: "call" };
      const known = this.#machine.lift(instruction);
      if (known === null) throw new Lost(`"${instruction.mnemonic} ${instruction.operands}" is not followed`);
      const next = instruction.address + instruction.size;
      state.at = next;
      for (const step of known) {
        const ending = this.#interpreter.take(state, step, next);
        if (ending !== null) return ending;
      }
    }
  }

  /** A library's own data is no member. */
  address(): Value {
    return unknown;
  }

  indexed(): Value {
    return unknown;
  }

  load(_: State, at: Value, width: number): Value {
    if (!isPointer(at) || at.root === "stack" || at.loads.length >= limits.loads) return unknown;
    if (this.#options.assumeZero === true && isFirst(at) && width <= 4) {
      this.usedAssumption = true;
      return number(0);
    }
    return place(at.root, [...at.loads, { offset: at.add, width }]);
  }

  /** An ending where the write is the answer: the first bytes of what is copied out. */
  store(_: State, at: Value, _width: number, value: Value): Ending {
    const from = copied(value);
    if (isOutput(at) && from !== null) return { kind: "copy", from };
    throw new Lost("writes to memory");
  }

  compare(): void {}

  call(state: State, target: number | null): Ending | null {
    const { callee } = this.#options;
    return callee === undefined || target === callee ? this.leave(state, target) : null;
  }

  result(): Value {
    return unknown;
  }

  /** The way ends in another function. */
  leave(state: State, into: number | null): Ending {
    const { callee } = this.#options;
    const values = this.#machine.arguments.map((name) => registerOf(state, name));
    if (callee !== undefined && into === callee) return { kind: "pass", arguments: values };
    const [to, from] = values;
    const isCopy = to !== undefined && isOutput(to) && from !== undefined && isMember(from);
    return isCopy ? { kind: "copy", from } : { kind: "call" };
  }

  targets(): readonly number[] {
    return [];
  }

  return(_: State, value: Value): Ending {
    return { kind: "return", value };
  }

  trap(): Ending {
    return { kind: "call" };
  }

  fork(state: State): void {
    if (this.#ways.length + this.endings.length >= limits.ways) throw new Lost("too many ways through it");
    this.#ways.push(state);
  }

  end(ending: Ending): void {
    this.endings.push(ending);
  }
}

/** The very first bytes of what the first argument points to. */
const isFirst = ({ root, loads, add }: ValuePlace): boolean => root === 0 && loads.length === 0 && add === 0;

/** Where the second argument points. */
const isOutput = (value: Value): boolean =>
  value.kind === "place" && value.root === 1 && value.loads.length === 0 && value.add === 0;

/** Somewhere inside what the first argument points to, or what that points to. */
const isMember = (value: Value): value is ValuePlace => isPointer(value) && value.root === 0;

/** Where a loaded value was loaded from. */
function copied(value: Value): ValuePlace | null {
  if (value.kind !== "place" || value.root !== 0 || value.add !== 0) return null;
  const last = value.loads.at(-1);
  return last === undefined ? null : place(0, value.loads.slice(0, -1), last.offset);
}
