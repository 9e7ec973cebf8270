import { Interpreter, type Visitor } from "../machine/interpreter.ts";
import {
  forgetOther,
  putRegister,
  type Registers,
  registerOf,
  type State,
  share,
  slotOf,
  stateAt,
} from "../machine/state.ts";
import type { Dialect, MemoryOperand } from "../machine/step.ts";
import {
  isPointer,
  number,
  place,
  type TableEntry,
  unknown,
  type Value,
  type ValuePlace,
} from "../machine/value.ts";
import type { Code } from "./functions.ts";
import type { LoadedFile } from "./loaded-file.ts";

/** What a function does at `at`, as far as it concerns what it was given. Widths in bytes. */
export type Event =
  | {
      readonly kind: "call";
      readonly at: number;
      /** A number: the address of the function; a place: where the function's address was read. */
      readonly target: Value;
      readonly arguments: readonly Value[];
    }
  | { readonly kind: "load"; readonly at: number; readonly from: ValuePlace; readonly width: number }
  /** A load at `from` plus something that varies. */
  | { readonly kind: "indexed"; readonly at: number; readonly from: ValuePlace; readonly width: number }
  | {
      readonly kind: "store";
      readonly at: number;
      readonly to: ValuePlace;
      readonly width: number;
      readonly value: Value;
    }
  | { readonly kind: "compare"; readonly at: number; readonly left: Value; readonly right: Value }
  /** A jump by a table, whose index this is. */
  | { readonly kind: "switch"; readonly at: number; readonly on: Value }
  | { readonly kind: "return"; readonly at: number; readonly value: Value };

/**
 * Bounds on what following a function can cost: instructions of all ways; how often the same place is visited with other values, and how
 * often after that with what differs forgotten; ways; loads behind each other; entries of a table of jumps.
 */
const limits = { steps: 15_000, visits: 4, joins: 2, ways: 2000, loads: 6, entries: 128, same: 24 };

/** Arguments of a call that are looked for in the stack, behind those in registers. */
const stacked = 8;

export interface TraceOptions {
  /** Arguments whose numbers are known, by their index. */
  readonly given?: ReadonlyMap<number, number>;
  readonly steps?: number;
  /**
   * How often the same place is visited with other values. Where many ways meet, each with an error of its own, it has to be more than
   * usual.
   */
  readonly visits?: number;
}

/** Whether the same is known of two values. Two values of which nothing is known count as the same. */
export const isSame = (one: Value, other: Value): boolean => {
  if (one === other) return true;
  if (one.kind === "number") return other.kind === "number" && one.number === other.number;
  if (one.kind === "place")
    return (
      other.kind === "place" &&
      one.root === other.root &&
      one.add === other.add &&
      one.loads.length === other.loads.length &&
      one.loads.every((load, index) => {
        const { offset, width } = other.loads[index] ?? load;
        return load.offset === offset && load.width === width;
      })
    );
  return one.kind === other.kind && one.kind === "unknown";
};

const isAlike = (one: Event, other: Event): boolean => {
  if (one.kind === "call" && other.kind === "call")
    return (
      isSame(one.target, other.target) &&
      one.arguments.every((value, index) => isSame(value, other.arguments[index] ?? unknown))
    );
  if (one.kind === "load" && other.kind === "load") return isSame(one.from, other.from);
  if (one.kind === "indexed" && other.kind === "indexed") return isSame(one.from, other.from);
  if (one.kind === "store" && other.kind === "store")
    return isSame(one.to, other.to) && isSame(one.value, other.value);
  if (one.kind === "compare" && other.kind === "compare")
    return isSame(one.left, other.left) && isSame(one.right, other.right);
  if (one.kind === "switch" && other.kind === "switch") return isSame(one.on, other.on);
  return one.kind === "return" && other.kind === "return" && isSame(one.value, other.value);
};

/**
 * What a function does with its arguments, found by following its ways without running it. Where a branch depends on what is not
 * known both are followed; where ways meet with the same in their registers one goes on. Not all ways are followed: what is told
 * happens, what is not told may happen too.
 */
export function trace(
  image: LoadedFile,
  machine: Dialect,
  code: Code,
  options: TraceOptions = {},
): readonly Event[] {
  return new Trace(image, machine, code, options).run();
}

/** Whether the same is known of two sets of registers. */
function areSame(some: Registers, others: Registers): boolean {
  if (some === others) return true;
  for (let at = Math.max(some.length, others.length) - 1; at >= 0; at--)
    if (!isSame(some[at] ?? unknown, others[at] ?? unknown)) return false;
  return true;
}

type Ended = "ended";

class Trace implements Visitor<Ended> {
  /**
   * Bytes of what lies in the stack that a call which is given its address may write: EVP_MAX_MD_SIZE, as that is a secret, a span or a
   * descriptor. What lies further on was put aside by the function itself, and stays.
   */
  readonly reach = 64;
  readonly #image: LoadedFile;
  readonly #machine: Dialect;
  readonly #code: Code;
  readonly #most: number;
  readonly #visits: number;
  readonly #first: State;
  readonly #interpreter: Interpreter<Ended>;
  readonly #ways: State[] = [];
  readonly #events = new Map<number, Event[]>();
  readonly #seen = new Map<number, Registers[]>();
  #at = 0;

  constructor(
    image: LoadedFile,
    machine: Dialect,
    code: Code,
    { given, steps = limits.steps, visits = limits.visits }: TraceOptions,
  ) {
    this.#image = image;
    this.#machine = machine;
    this.#code = code;
    this.#most = steps;
    this.#visits = visits;
    this.#interpreter = new Interpreter(machine, code.instructions, this);
    this.#first = stateAt(code.entry, machine);
    for (const [index, value] of given ?? []) {
      const name = machine.arguments[index];
      if (name !== undefined) putRegister(this.#first, name, number(value));
    }
  }

  run(): readonly Event[] {
    this.#ways.push(this.#first);
    let steps = 0;
    for (let state = this.#ways.pop(); state !== undefined; state = this.#ways.pop()) {
      steps += this.#follow(state, this.#most - steps);
      if (steps >= this.#most) break;
    }
    return [...this.#events.values()].flat();
  }

  /** Follows one way to its end; how many instructions it had. */
  #follow(state: State, most: number): number {
    for (let count = 0; ; count++) {
      if (count >= most) return count;
      if (this.#code.heads.has(state.at) && this.#wasHere(state)) return count;
      const one = this.#code.lifted(state.at);
      if (one === null) return count;
      this.#at = state.at;
      state.at = one.next;
      for (const step of one.steps) if (this.#interpreter.take(state, step, one.next) !== null) return count;
    }
  }

  /**
   * Whether a way came by with the same in its registers. Where several did with different things, what differs is forgotten, which
   * leads out of a loop that counts.
   */
  #wasHere(state: State): boolean {
    const seen = this.#seen.get(state.at) ?? [];
    this.#seen.set(state.at, seen);
    const isKnown = (): boolean => seen.some((one) => areSame(one, state.registers));
    if (isKnown() || seen.length >= this.#visits + limits.joins) return true;
    if (seen.length >= this.#visits) {
      forgetOther(state, seen, isSame);
      if (isKnown()) return true;
    }
    share(state);
    seen.push(state.registers);
    return false;
  }

  #tell(event: Event): void {
    const told = this.#events.get(event.at);
    if (told === undefined) this.#events.set(event.at, [event]);
    else if (told.length < limits.same && !told.some((one) => isAlike(one, event))) told.push(event);
  }

  address(address: number): Value {
    return number(address);
  }

  load(_: State, at: Value, width: number): Value {
    if (at.kind === "number") return width === 8 ? place(`global ${Number(at.number)}`) : unknown;
    if (!isPointer(at)) return unknown;
    this.#tell({ kind: "load", at: this.#at, from: at, width });
    if (at.root === "stack" || at.loads.length >= limits.loads) return unknown;
    return place(at.root, [...at.loads, { offset: at.add, width }]);
  }

  indexed(_: State, base: Value, index: Value, { add, width, index: by }: MemoryOperand): Value {
    if (base.kind === "number") {
      if (index.kind === "place") this.#tell({ kind: "switch", at: this.#at, on: index });
      const table = Number(base.number) + add;
      return by?.scale === width || (width < 4 && by?.scale === 1)
        ? { kind: "entry", table, width, signed: width === 4, scale: 1, base: 0 }
        : unknown;
    }
    for (const [one, other] of [
      [base, index],
      [index, base],
    ] as const) {
      if (!isPointer(one) || one.root === "stack" || (isPointer(other) && one === index)) continue;
      if (one === index && by?.scale !== 1) continue;
      this.#tell({ kind: "indexed", at: this.#at, from: { ...one, add: one.add + add }, width });
    }
    return unknown;
  }

  store(_: State, at: Value, width: number, value: Value): null {
    if (isPointer(at) && at.root !== "stack")
      this.#tell({ kind: "store", at: this.#at, to: at, width, value });
    return null;
  }

  compare(_: State, left: Value, right: Value): void {
    if (left.kind === "place" || right.kind === "place")
      this.#tell({ kind: "compare", at: this.#at, left, right });
  }

  call(state: State, target: number | null, via: Value): null {
    this.#callTo(state, target, via, stacked);
    return null;
  }

  result(): Value {
    return place(`result ${this.#at}`);
  }

  /** @param onStack how many of the arguments that lie in the stack are told as well */
  #callTo(state: State, target: number | null, via: Value, onStack: number): void {
    const values = this.#machine.arguments.map((name) => registerOf(state, name));
    const top = registerOf(state, this.#machine.stack);
    for (let index = 0; index < onStack && top.kind === "place"; index++)
      values.push(slotOf(state, top.add + 8 * index, 8));
    this.#tell({
      kind: "call",
      at: this.#at,
      target: target === null ? via : number(target),
      arguments: values,
    });
  }

  leave(state: State, target: number | null, via: Value): Ended {
    this.#callTo(state, target, via, 0);
    return "ended";
  }

  targets(_: State, via: Value): readonly number[] {
    return via.kind === "entry" ? this.#entriesOf(via) : [];
  }

  /** Tables have no length: an entry that leads out of the function ends one. */
  #entriesOf({ table, width, signed, scale, base }: TableEntry): readonly number[] {
    const found = new Set<number>();
    for (let index = 0; index < limits.entries; index++) {
      const at = table + index * width;
      const read = width === 8 ? this.#image.pointer(at) : this.#image.number(at, width, signed);
      if (read === null) break;
      const target = base + read * scale;
      if (!this.#code.instructions.has(target)) break;
      found.add(target);
    }
    return [...found];
  }

  return(_: State, value: Value): Ended {
    this.#tell({ kind: "return", at: this.#at, value });
    return "ended";
  }

  trap(): Ended {
    return "ended";
  }

  fork(state: State): void {
    if (this.#ways.length < limits.ways) this.#ways.push(state);
  }

  end(): void {}
}
