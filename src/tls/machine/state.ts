import type { Dialect, Operand, Register } from "./step.ts";
import { number, type ProcessorFlags, place, truncate, unknown, type Value } from "./value.ts";

/** What lies in the stack at one place. `width` in bytes. */
interface Slot {
  readonly value: Value;
  readonly width: number;
}

/** What registers hold, by their numbers; undefined what is unknown. Arrays are copied and compared much quicker than maps are. */
export type Registers = readonly (Value | undefined)[];

/** One way through a function, at one instruction. Copied at each fork, of which most end before they change anything. */
export interface State {
  /** Address of the next instruction. */
  at: number;
  /** Replaced, never changed, while another way may hold it too. */
  registers: Registers;
  /** By distance from the stack pointer at entry, in bytes; as `registers`. */
  stack: ReadonlyMap<number, Slot>;
  flags: ProcessorFlags | null;
  /** The registers and the stack, where this way alone holds them and may change them in place; null where they are shared. */
  readonly own: { registers: (Value | undefined)[] | null; stack: Map<number, Slot> | null };
}

/** Registers of all machines by name, numbered as they are first met. */
const numbers = new Map<string, number>();

function numberOf(name: string): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  numbers.set(name, numbers.size);
  return numbers.size - 1;
}

/** As a function finds things when it is called: arguments and stack pointer are places of their own. */
export function stateAt(entry: number, machine: Dialect): State {
  const registers: (Value | undefined)[] = [];
  for (const [index, name] of machine.arguments.entries()) registers[numberOf(name)] = place(index);
  registers[numberOf(machine.stack)] = place("stack");
  return { at: entry, registers, stack: new Map(), flags: null, own: { registers, stack: null } };
}

/** A copy that shares registers and stack with the state: whichever of the two is changed first copies them then. */
export function copyOf(state: State): State {
  share(state);
  return { ...state, own: { registers: null, stack: null } };
}

/** Says that somebody else keeps the registers and the stack of this moment, so that they are copied before they are changed. */
export function share({ own }: State): void {
  own.registers = null;
  own.stack = null;
}

function ownRegisters(state: State): (Value | undefined)[] {
  const own = state.own.registers ?? state.registers.slice();
  state.own.registers = own;
  state.registers = own;
  return own;
}

function ownStack(state: State): Map<number, Slot> {
  const own = state.own.stack ?? new Map(state.stack);
  state.own.stack = own;
  state.stack = own;
  return own;
}

/** Writes a whole register. */
export function putRegister(state: State, name: string, value: Value): void {
  const at = numberOf(name);
  if (state.registers[at] !== value) ownRegisters(state)[at] = value;
}

/** The whole of a register. */
export const registerOf = ({ registers }: State, name: string): Value => registers[numberOf(name)] ?? unknown;

/** Forgets what is otherwise in some other registers, as `isSame` tells. */
export function forgetOther(
  state: State,
  others: readonly Registers[],
  isSame: (one: Value, other: Value) => boolean,
): void {
  for (const [at, value = unknown] of state.registers.entries())
    if (others.some((one) => !isSame(value, one[at] ?? unknown))) ownRegisters(state)[at] = unknown;
}

/** What a register or an immediate number holds. */
export const held = (state: State, one: Exclude<Operand, { readonly kind: "memory" }>): Value =>
  one.kind === "immediate" ? number(one.value) : truncate(registerOf(state, one.name), one.width);

/** Writes the lowest bytes of a register: 1 and 2 leave the rest as it was (x86), more clear it. */
export function setRegister(state: State, to: Register, value: Value): void {
  const low = truncate(value, to.width);
  putRegister(state, to.name, to.width >= 4 ? low : merged(registerOf(state, to.name), low, to.width));
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

/** The widest slot: an xmm or q register. Bytes. */
const widestSlot = 16;

/** Whatever lay in one of those bytes is gone. */
export function setSlot(state: State, at: number, width: number, value: Value): void {
  const stack = ownStack(state);
  // Slots lie beside each other: where one was as wide there is no other.
  if (stack.get(at)?.width !== width) {
    for (let other = at - widestSlot + 1; other < at + width; other++) {
      const slot = stack.get(other);
      if (slot !== undefined && at < other + slot.width) stack.delete(other);
    }
  }
  stack.set(at, { value: truncate(value, width), width });
}

/**
 * Forgets what a function that was called may have changed.
 *
 * @param reach bytes that are written at most from a place in the stack that was handed out
 */
export function forgetCalled(state: State, machine: Dialect, reach: number): void {
  for (const name of machine.arguments) {
    const value = registerOf(state, name);
    if (value.kind !== "place" || value.root !== "stack") continue;
    for (const at of state.stack.keys())
      if (at >= value.add && at < value.add + reach) ownStack(state).delete(at);
  }
  const kept: (Value | undefined)[] = [];
  for (const name of machine.preserved) {
    const at = numberOf(name);
    kept[at] = state.registers[at];
  }
  state.own.registers = kept;
  state.registers = kept;
  state.flags = null;
}
