import type {
  Condition,
  Dialect,
  Immediate,
  Instruction,
  MemoryOperand,
  Operand,
  Register,
  Step,
} from "./step.ts";
import { split } from "./step.ts";
import type { BranchQuestion } from "./value.ts";

/** Names of the parts of each register: 8, 4, 2 and 1 bytes. Intel SDM volume 1, 3.4.1. */
const legacy = ["ax", "bx", "cx", "dx"].map((name) => [`r${name}`, `e${name}`, name, `${name[0]}l`]);
const index = ["si", "di", "bp", "sp"].map((name) => [`r${name}`, `e${name}`, name, `${name}l`]);
const numbered = Array.from({ length: 8 }, (_, at) => `r${at + 8}`).map((name) => [
  name,
  `${name}d`,
  `${name}w`,
  `${name}b`,
]);
const registers = new Map<string, Register>(
  [...legacy, ...index, ...numbered].flatMap((parts) =>
    parts.map((part, at) => [part, { kind: "register", name: parts[0] ?? part, width: 8 >> at }] as const),
  ),
);
for (let at = 0; at < 16; at++) {
  registers.set(`xmm${at}`, { kind: "register", name: `xmm${at}`, width: 16 });
}

const widths: Readonly<Record<string, number>> = { byte: 1, word: 2, dword: 4, qword: 8, xmmword: 16 };

/** Suffixes of jcc, setcc and cmovcc. Intel SDM volume 2, Jcc. */
const questions: Readonly<Record<string, BranchQuestion>> = {
  e: "equal",
  ne: "unequal",
  b: "below",
  ae: "aboveOrEqual",
  be: "belowOrEqual",
  a: "above",
  l: "less",
  ge: "greaterOrEqual",
  le: "lessOrEqual",
  g: "greater",
  s: "negative",
  ns: "positive",
  o: "other",
  no: "other",
  p: "other",
  np: "other",
};

const integer = (text: string): bigint | null => {
  const [, sign, digits] = /^(-?)((?:0x)?[0-9a-f]+)$/.exec(text) ?? [];
  if (digits === undefined || (!digits.startsWith("0x") && !/^\d+$/.test(digits))) return null;
  return sign === "-" ? -BigInt(digits) : BigInt(digits);
};

/** `rdi + 0x10`, `rax + rcx*4 + 0x10`, `rip + 0x10`, `rcx*8 + 0x4000`, `0x4000`. */
const insides =
  /^(?:(?<base>r\w+)(?![\w*]))?(?: ?\+? ?(?<index>r\w+)\*(?<scale>[1248])|(?: \+ (?<plain>r\w+)))?(?: ?(?<sign>[+-]?) ?(?<add>(?:0x)?[0-9a-f]+))?$/;

/** `qword ptr [rdi + 0x10]`; `next` is what the instruction pointer holds. What has a segment in it is not followed. */
function memory(text: string, next: number): MemoryOperand | null {
  const [, size = "qword", segment, inside = ""] =
    /^(?:(\w+) ptr )?(?:(\w+):)?\[(.*)\]$/.exec(text.replace(/\s+/g, " ")) ?? [];
  const width = widths[size];
  if (inside === "" || width === undefined) return null;
  const none: MemoryOperand = { kind: "memory", base: null, add: 0, width };
  const {
    base = "",
    index,
    scale = "1",
    plain,
    sign = "",
    add: digits = "0",
  } = insides.exec(inside)?.groups ?? {};
  const distance = integer(digits);
  if (segment !== undefined || distance === null) return none;
  const add = sign === "-" ? -Number(distance) : Number(distance);
  if (base === "rip") return { ...none, absolute: next + add };
  const from = registers.get(base);
  const times = registers.get(index ?? plain ?? "");
  if (times?.width === 8) {
    if (from === undefined && base !== "") return none;
    const scaled = { name: times.name, scale: Number(scale) };
    return from === undefined
      ? { ...none, absolute: add, index: scaled }
      : { ...none, base: from.name, add, index: scaled };
  }
  return from?.width === 8 && index === undefined && plain === undefined
    ? { ...none, base: from.name, add }
    : none;
}

function operand(text: string, next: number): Operand | null {
  const register = registers.get(text);
  if (register !== undefined) return register;
  const value = integer(text);
  return value === null ? memory(text, next) : { kind: "immediate", value };
}

/** Operands by the text of all of them: the same few thousand are most of any code. */
const before = new Map<string, readonly (Operand | null)[]>();
/** Texts that are kept. */
const mostTexts = 1 << 15;

function operandsOf(text: string, next: number): readonly (Operand | null)[] {
  const known = before.get(text);
  if (known !== undefined) return known;
  const read = split(text).map((one) => operand(one, next));
  // What is told by distance means another address elsewhere.
  if (text.includes("rip")) return read;
  if (before.size >= mostTexts) before.clear();
  before.set(text, read);
  return read;
}

const widthOf = (one: Operand, other: Operand): number =>
  one.kind === "immediate" ? (other.kind === "immediate" ? 8 : other.width) : one.width;
const immediate = (value: number): Immediate => ({ kind: "immediate", value: BigInt(value) });
const stack: Register = { kind: "register", name: "rsp", width: 8 };
const frame: Register = { kind: "register", name: "rbp", width: 8 };
const top: MemoryOperand = { kind: "memory", base: "rsp", add: 0, width: 8 };
const grow: Step = { do: "subtract", to: stack, left: stack, right: immediate(8) };
const shrink: Step = { do: "add", to: stack, left: stack, right: immediate(8) };

type Lift = (operands: readonly Operand[]) => readonly Step[] | null;

const set =
  (signed: boolean): Lift =>
  ([to, from]) =>
    to === undefined || from === undefined ? null : [{ do: "set", to, from, signed }];

/** The flags afterwards are those of comparing the result with zero, where the operation lets no carry matter. */
const compute =
  (what: "add" | "subtract" | "and" | "xor" | "or"): Lift =>
  ([to, right]) => {
    if (to === undefined || right === undefined || to.kind === "immediate") return null;
    const step: Step = { do: what, to, left: to, right };
    const width = to.width;
    // A subtraction compares its operands, which must be read before it writes.
    if (what === "subtract")
      return [{ do: "compare", test: { how: "subtract", left: to, right, width } }, step];
    if (what === "add") return [step, { do: "forget", to: [], flags: true }];
    return [step, { do: "compare", test: { how: "and", left: to, right: to, width } }];
  };

const compare =
  (how: "subtract" | "and"): Lift =>
  ([left, right]) =>
    left === undefined || right === undefined
      ? null
      : [{ do: "compare", test: { how, left, right, width: widthOf(left, right) } }];

/** Writes its first operand with something that is not followed. */
const forget: Lift = ([to]) => (to?.kind === "register" ? [{ do: "forget", to: [to], flags: true }] : null);
const nothing: Lift = () => [];
const trap: Lift = () => [{ do: "trap" }];

const target = (to: Operand | undefined): number | null =>
  to?.kind === "immediate" ? Number(to.value) : null;

const via = (to: Operand | undefined): { readonly via?: Operand } =>
  to === undefined || to.kind === "immediate" ? {} : { via: to };

/** Where the first of two registers waits while they are exchanged. */
const aside: Register = { kind: "register", name: "aside", width: 8 };
const exchange: Lift = ([one, other]) =>
  one?.kind === "register" && other?.kind === "register" && one.width === 8
    ? [
        { do: "set", to: aside, from: one },
        { do: "set", to: one, from: other },
        { do: "set", to: other, from: aside },
      ]
    : null;

const lifts: Readonly<Record<string, Lift>> = {
  xchg: exchange,
  mov: set(false),
  movabs: set(false),
  movzx: set(false),
  movsx: set(true),
  movsxd: set(true),
  movups: set(false),
  movaps: set(false),
  movdqu: set(false),
  movdqa: set(false),
  lea: ([to, of]) => (to?.kind === "register" && of?.kind === "memory" ? [{ do: "address", to, of }] : null),
  add: compute("add"),
  sub: compute("subtract"),
  and: compute("and"),
  xor: compute("xor"),
  or: compute("or"),
  cmp: compare("subtract"),
  test: compare("and"),
  push: ([from]) => (from === undefined ? null : [grow, { do: "set", to: top, from }]),
  pop: ([to]) => (to === undefined ? null : [{ do: "set", to, from: top }, shrink]),
  leave: () => [{ do: "set", to: stack, from: frame }, { do: "set", to: frame, from: top }, shrink],
  jmp: ([to]) => [{ do: "jump", target: target(to), ...via(to) }],
  call: ([to]) => [{ do: "call", target: target(to), ...via(to) }],
  ret: () => [{ do: "return" }],
  ud2: trap,
  int3: trap,
  hlt: trap,
  nop: nothing,
  endbr64: nothing,
  ...Object.fromEntries(
    ["shl", "shr", "sar", "sal", "neg", "not", "sbb", "adc", "imul", "inc", "dec", "bswap"].map((name) => [
      name,
      forget,
    ]),
  ),
};

/** jcc, setcc and cmovcc. */
const conditionals: readonly (readonly [string, Lift])[] = Object.entries(questions).flatMap(
  ([suffix, question]) => {
    const condition: Condition = { question };
    return [
      [`j${suffix}`, ([to]) => [{ do: "jump", target: target(to), if: condition }]],
      [
        `set${suffix}`,
        ([to]) =>
          to?.kind === "register"
            ? [{ do: "select", to, yes: immediate(1), no: immediate(0), if: condition }]
            : null,
      ],
      [
        `cmov${suffix}`,
        ([to, from]) =>
          to?.kind === "register" && from !== undefined
            ? [{ do: "select", to, yes: from, no: to, if: condition }]
            : null,
      ],
    ] satisfies [string, Lift][];
  },
);

const byName: ReadonlyMap<string, Lift> = new Map([...conditionals, ...Object.entries(lifts)]);

function lift({ address, size, mnemonic, operands }: Instruction): readonly Step[] | null {
  // `notrack jmp`, `repz ret`, `bnd ret`; a repeated string instruction is not known.
  const [name = "", prefix, ...more] = mnemonic.split(" ").reverse();
  if (more.length > 0) return null;
  if (prefix !== undefined && !["notrack", "bnd", "data16"].includes(prefix) && name !== "ret") return null;
  if (name === "nop") return [];
  const one = byName.get(name);
  if (one === undefined) return null;
  const read = operandsOf(operands, address + size);
  return isKnown(read) ? one(read) : null;
}

const isKnown = (operands: readonly (Operand | null)[]): operands is readonly Operand[] =>
  !operands.includes(null);

/** What instructions write that do not name it, by how they begin. Intel SDM volume 2. */
const unnamed: Readonly<Record<string, readonly string[]>> = {
  mul: ["rax", "rdx"],
  imul: ["rax", "rdx"],
  div: ["rax", "rdx"],
  idiv: ["rax", "rdx"],
  cqo: ["rdx"],
  cdq: ["rdx"],
  cdqe: ["rax"],
  cwde: ["rax"],
  cmpxchg: ["rax"],
  cpuid: ["rax", "rbx", "rcx", "rdx"],
  rdtsc: ["rax", "rdx"],
  syscall: ["rax", "rcx", "r11"],
};

function written({ mnemonic, operands }: Instruction): readonly Register[] {
  const [prefix = "", name = prefix] = mnemonic.split(" ");
  // A repeated string instruction moves its pointers on; an exchange writes both.
  if (prefix.startsWith("rep")) return wholes(["rdi", "rsi", "rcx", "rax"]);
  const texts = split(operands);
  const named = texts.slice(0, name.startsWith("x") ? 2 : 1).flatMap((text) => registers.get(text) ?? []);
  return [...named, ...wholes(unnamed[name] ?? [])];
}

const wholes = (names: readonly string[]): readonly Register[] =>
  names.map((name) => ({ kind: "register", name, width: 8 }));

/** x86-64 with the System V calling convention (psABI 3.2.3). */
export const x86: Dialect = {
  arguments: ["rdi", "rsi", "rdx", "rcx", "r8", "r9"],
  result: "rax",
  stack: "rsp",
  preserved: ["rbx", "rbp", "rsp", "r12", "r13", "r14", "r15"],
  lift,
  written,
};
