/**
 * Which instructions of a function the kernel's verifier can come to. It follows no branch that a known number decides: that is
 * how a CO-RE program reads a member only where there is one. What is not certain is taken to be reached.
 * Instructions: Documentation/bpf/standardization/instruction-set.rst. Little-endian.
 */

const SIZE = 8;
const classes = { load: 0, loadX: 1, store: 2, storeX: 3, alu32: 4, jump: 5, jump32: 6, alu64: 7 } as const;
const WIDE = 0x18; // BPF_LD | BPF_IMM | BPF_DW, of two instructions
const BY_REGISTER = 0x08;
const jumps = { always: 0, call: 8, exit: 9 } as const;

/** A register's number where it is the same on every way there. */
type Registers = (bigint | null)[];
const REGISTERS = 11;

interface Instruction {
  readonly code: number;
  readonly target: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
}

/**
 * @param code a function's instructions, whole
 * @param known numbers that a loader writes into instructions, by their place in bytes; null where it writes what is not known
 * @returns places of instructions in bytes from the start
 */
export function reached(code: Uint8Array, known: ReadonlyMap<number, bigint | null>): ReadonlySet<number> {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const states = new Map<number, Registers>();
  const waiting: number[] = [];
  const go = (to: number, registers: Registers): void => {
    if (to < 0 || to + SIZE > code.length) return;
    const before = states.get(to);
    const joined = before?.map((one, register) => (one === registers[register] ? one : null));
    if (joined?.every((one, register) => one === before?.[register])) return;
    states.set(to, joined ?? [...registers]);
    waiting.push(to);
  };
  go(0, new Array<bigint | null>(REGISTERS).fill(null));
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const one = instructionAt(view, at);
    const registers = [...(states.get(at) ?? [])];
    const length = one.code === WIDE ? 2 * SIZE : SIZE;
    const kind = one.code & 7;
    if (kind !== classes.jump && kind !== classes.jump32) {
      compute(one, registers, known.get(at));
      go(at + length, registers);
      continue;
    }
    const jump = one.code >> 4;
    if (jump === jumps.exit) continue;
    if (jump === jumps.call) {
      registers.fill(null, 0, 6);
      go(at + SIZE, registers);
      continue;
    }
    const distance = jump === jumps.always && kind === classes.jump32 ? one.immediate : one.offset;
    const taken = jump === jumps.always ? true : branch(one, registers, known.get(at));
    if (taken !== false) go(at + SIZE + distance * SIZE, registers);
    if (taken !== true) go(at + SIZE, registers);
  }
  return new Set(states.keys());
}

function instructionAt(view: DataView, at: number): Instruction {
  const registers = view.getUint8(at + 1);
  return {
    code: view.getUint8(at),
    target: registers & 15,
    source: registers >> 4,
    offset: view.getInt16(at + 2, true),
    immediate: view.getInt32(at + 4, true),
  };
}

/** What an instruction that is no jump leaves in the registers. @param written undefined: the loader changes nothing */
function compute(one: Instruction, registers: Registers, written: bigint | null | undefined): void {
  const { code, target, source } = one;
  const kind = code & 7;
  if (kind === classes.store) return;
  if (kind === classes.storeX) {
    // An atomic one may fetch, into its source or R0.
    if (code >> 5 === 6) registers[source] = registers[0] = null;
    return;
  }
  if (kind === classes.load || kind === classes.loadX) {
    registers[target] = code === WIDE ? (written ?? null) : null;
    if (code !== WIDE && kind === classes.load) registers.fill(null, 0, 6); // reads of packets, as a call
    return;
  }
  const operand = operandOf(one, registers, written);
  const wide = kind === classes.alu64 ? 64 : 32;
  const [left, right] = [registers[target] ?? null, operand];
  const result = one.offset === 0 ? calculate(code >> 4, left, right, wide) : null;
  registers[target] = result === null ? null : BigInt.asUintN(wide, result);
}

function calculate(operation: number, left: bigint | null, right: bigint | null, wide: number) {
  if (right === null) return null;
  if (operation === 0xb) return right;
  if (left === null) return null;
  const shift = BigInt.asUintN(wide === 64 ? 6 : 5, right);
  switch (operation) {
    case 0:
      return left + right;
    case 1:
      return left - right;
    case 4:
      return left | right;
    case 5:
      return left & right;
    case 6:
      return left << shift;
    case 7:
      return BigInt.asUintN(wide, left) >> shift;
    case 0xa:
      return left ^ right;
    default:
      return null;
  }
}

/** What an instruction takes beside its target; null: that is not certain. */
function operandOf(
  { code, source, immediate }: Instruction,
  registers: Registers,
  written: bigint | null | undefined,
): bigint | null {
  if ((code & BY_REGISTER) !== 0) return registers[source] ?? null;
  return written === undefined ? BigInt(immediate) : written;
}

/** Whether a conditional jump is taken; null: that is not certain. */
function branch(one: Instruction, registers: Registers, written: bigint | null | undefined): boolean | null {
  const { code, target } = one;
  const operand = operandOf(one, registers, written);
  const known = registers[target] ?? null;
  if (known === null || operand === null) return null;
  const wide = (code & 7) === classes.jump ? 64 : 32;
  const [left, right] = [BigInt.asUintN(wide, known), BigInt.asUintN(wide, operand)];
  const [signedLeft, signedRight] = [BigInt.asIntN(wide, left), BigInt.asIntN(wide, right)];
  switch (code >> 4) {
    case 1:
      return left === right;
    case 2:
      return left > right;
    case 3:
      return left >= right;
    case 4:
      return (left & right) !== 0n;
    case 5:
      return left !== right;
    case 6:
      return signedLeft > signedRight;
    case 7:
      return signedLeft >= signedRight;
    case 0xa:
      return left < right;
    case 0xb:
      return left <= right;
    case 0xc:
      return signedLeft < signedRight;
    case 0xd:
      return signedLeft <= signedRight;
    default:
      return null;
  }
}
