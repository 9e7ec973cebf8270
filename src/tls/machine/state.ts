import type { Dialect, Operand, Register } from "./step.ts";
import { type Flags, number, place, truncate, unknown, type Value } from "./value.ts";

/** What lies in the stack at one place. `width` in bytes. */
interface Slot {
  readonly value: Value;
  readonly width: number;
}

/** One way through a function, at one instruction. Copied at each fork. */
export interface State {
  /** Address of the next instruction. */
  at: number;
  readonly registers: Map<string, Value>;
  /** By distance from the stack pointer at entry, in bytes. */
  readonly stack: Map<number, Slot>;
  flags: Flags | null;
}

/** As a function finds things when it is called: arguments and stack pointer are places of their own. */
export function stateAt(entry: number, machine: Dialect): State {
  const state: State = { at: entry, registers: new Map(), stack: new Map(), flags: null };
  for (const [index, name] of machine.arguments.entries()) state.registers.set(name, place(index));
  state.registers.set(machine.stack, place("stack"));
  return state;
}

export const copyOf = (state: State): State => ({
  ...state,
  registers: new Map(state.registers),
  stack: new Map(state.stack),
});

/** The whole of a register. */
export const registerOf = ({ registers }: State, name: string): Value => registers.get(name) ?? unknown;

/** What a register or an immediate number holds. */
export const held = (state: State, one: Exclude<Operand, { readonly kind: "memory" }>): Value =>
  one.kind === "immediate" ? number(one.value) : truncate(registerOf(state, one.name), one.width);

/** Writes the lowest bytes of a register: 1 and 2 leave the rest as it was (x86), more clear it. */
export function setRegister(state: State, to: Register, value: Value): void {
  const low = truncate(value, to.width);
  state.registers.set(to.name, to.width >= 4 ? low : merged(registerOf(state, to.name), low, to.width));
}

function merged(old: Value, low: Value, width: number): Value {
  if (low.kind !== "number" || old.kind !== "number") return low.kind === "place" ? low : unknown;
  const bits = 8 * width;
  return number(((old.number >> BigInt(bits)) << BigInt(bits)) | low.number);
}

/** What was put at a distance from the stack pointer at entry; unknown where not all of `width` bytes were. */
export function slotOf({ stack }: State, at: number, width: number): Value {
  const slot = stack.get(at);
  return slot === undefined || slot.width < width ? unknown : truncate(slot.value, width);
}

/** Whatever lay in one of those bytes is gone. */
export function setSlot({ stack }: State, at: number, width: number, value: Value): void {
  for (const [other, slot] of stack) if (other < at + width && at < other + slot.width) stack.delete(other);
  stack.set(at, { value: truncate(value, width), width });
}

/**
 * Forgets what a function that was called may have changed.
 *
 * @param reach bytes that are written at most from a place in the stack that was handed out
 */
export function forgetCalled(state: State, machine: Dialect, reach: number): void {
  for (const [name, value] of state.registers) {
    if (value.kind !== "place" || value.root !== "stack" || !machine.arguments.includes(name)) continue;
    for (const at of state.stack.keys())
      if (at >= value.add && at < value.add + reach) state.stack.delete(at);
  }
  for (const name of state.registers.keys()) {
    if (!machine.preserved.includes(name)) state.registers.delete(name);
  }
  state.flags = null;
}
