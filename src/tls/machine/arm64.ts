import type { Dialect, Immediate, Instruction, MemoryOperand, Operand, Register, Step } from "./step.ts";
import { split } from "./step.ts";
import type { BranchQuestion } from "./value.ts";

const widths: Readonly<Record<string, number>> = { x: 8, w: 4, q: 16, d: 8, s: 4, h: 2, b: 1 };
/** How much a load or store moves whose name ends so; else as much as its register holds. */
const suffixes: Readonly<Record<string, number>> = { b: 1, sb: 1, h: 2, sh: 2, sw: 4 };

/** Condition codes. Arm ARM C1.2.4. */
const questions: Readonly<Record<string, BranchQuestion>> = {
  eq: "equal",
  ne: "unequal",
  hs: "aboveOrEqual",
  cs: "aboveOrEqual",
  lo: "below",
  cc: "below",
  mi: "negative",
  pl: "positive",
  hi: "above",
  ls: "belowOrEqual",
  ge: "greaterOrEqual",
  lt: "less",
  gt: "greater",
  le: "lessOrEqual",
  vs: "other",
  vc: "other",
};

const immediate = (value: bigint | number): Immediate => ({ kind: "immediate", value: BigInt(value) });

function register(text: string): Register | Immediate | null {
  if (text === "xzr" || text === "wzr") return immediate(0);
  if (text === "sp") return { kind: "register", name: "sp", width: 8 };
  if (text === "wsp") return null;
  const [, letter = "", digits] = /^([xwqdshb])(\d{1,2})$/.exec(text) ?? [];
  const width = widths[letter];
  if (width === undefined || digits === undefined) return null;
  return { kind: "register", name: `${letter === "x" || letter === "w" ? "x" : "v"}${digits}`, width };
}

const integer = (text: string): bigint | null => {
  const [, sign, digits] = /^#?(-?)(0x[0-9a-f]+|\d+)$/.exec(text) ?? [];
  if (digits === undefined) return null;
  return sign === "-" ? -BigInt(digits) : BigInt(digits);
};

function operand(text: string): Register | Immediate | null {
  const value = integer(text);
  return value === null ? register(text) : immediate(value);
}

/** `[x0, #0x10]`, `[sp, #-0x10]!`, `[sp]` and then `#0x10`: the place, and what its register becomes. */
interface Address {
  readonly base: Register | null;
  readonly add: number;
  readonly after: number;
  readonly index?: MemoryOperand["index"];
}

function address([text = "", post]: readonly string[]): Address | null {
  const [, inside = "", bang] = /^\[(.*)\](!?)$/.exec(text) ?? [];
  const [name = "", by, ...more] = split(inside);
  const base = register(name);
  if (base?.kind !== "register") return null;
  const add = by === undefined ? 0n : integer(by);
  const behind = post === undefined ? 0n : integer(post);
  if (behind === null) return null;
  if (add === null || more.length > 0) {
    if (bang === "!") return null;
    const [, index = "", shift = "0"] =
      /^[xw](\d+)(?:, (?:lsl|[su]xt[wx])(?: #(\d))?)?$/.exec([by, ...more].join(", ")) ?? [];
    return index === ""
      ? { base: null, add: 0, after: 0 }
      : { base, add: 0, after: 0, index: { name: `x${index}`, scale: 1 << Number(shift) } };
  }
  if (bang === "!") return { base, add: Number(add), after: Number(add) };
  return { base, add: Number(add), after: Number(behind) };
}

const isMoved = /^(ld|st)(n?p|u?r)(b|sb|h|sh|sw)?$/;

/** Loads and stores of one register or a pair. */
function move(mnemonic: string, texts: readonly string[]): readonly Step[] | null {
  const [, verb, kind, suffix = ""] = isMoved.exec(mnemonic) ?? [];
  const isPair = kind === "p" || kind === "np";
  const count = isPair ? 2 : 1;
  const moved = texts.slice(0, count).map(register);
  const at = address(texts.slice(count));
  const [first] = texts;
  const own = widths[first?.[0] ?? ""];
  const width = suffix === "" ? own : suffixes[suffix];
  if (at === null || width === undefined || (isPair && suffix !== "")) return null;
  const steps: Step[] = [];
  for (const [index, one] of moved.entries()) {
    if (one === null) return null;
    const memory: MemoryOperand = {
      kind: "memory",
      base: at.base?.name ?? null,
      add: at.add + index * width,
      width,
      ...(at.index === undefined ? {} : { index: at.index }),
    };
    if (verb === "st") steps.push({ do: "set", to: memory, from: one });
    else if (one.kind === "register")
      steps.push({ do: "set", to: one, from: memory, signed: suffix.startsWith("s") });
    // Both are loaded before the first is written, which matters when it is the base.
    if (verb === "ld" && isPair && index === 0 && one.kind === "register" && one.name === at.base?.name)
      return null;
  }
  if (at.base !== null && at.after !== 0) {
    if (moved.some((one) => one?.kind === "register" && one.name === at.base?.name)) return null;
    steps.push({ do: "add", to: at.base, left: at.base, right: immediate(at.after) });
  }
  return steps;
}

type Lift = (operands: readonly Operand[], texts: readonly string[]) => readonly Step[] | null;

/** A third operand that is shifted or extended is not followed. */
const compute =
  (what: "add" | "subtract" | "and" | "xor" | "or", isFlagged: boolean): Lift =>
  ([to, left, right], texts) => {
    if (to?.kind !== "register" || left === undefined || right === undefined) return null;
    if (texts.length > 3) {
      const [, extension = "", shift = "0"] = /^(lsl|[us]xt[bhwx])(?: #(\d))?$/.exec(texts[3] ?? "") ?? [];
      const isJump = what === "add" && !isFlagged && extension !== "" && right.kind === "register";
      const scale = 1 << Number(shift);
      return isJump
        ? [{ do: "jumpBase", to, left, right, scale, signed: extension.startsWith("s") }]
        : [{ do: "forget", to: [to], flags: isFlagged }];
    }
    const step: Step = { do: what, to, left, right };
    if (!isFlagged) return [step];
    if (what !== "subtract" && what !== "and") return [step, { do: "forget", to: [], flags: true }];
    return [{ do: "compare", test: { how: what, left, right, width: to.width } }, step];
  };

const compare =
  (how: "subtract" | "and"): Lift =>
  ([left, right], texts) => {
    if (left === undefined || right === undefined || left.kind === "memory") return null;
    if (texts.length > 2) return [{ do: "forget", to: [], flags: true }];
    const width = left.kind === "register" ? left.width : right.kind === "register" ? right.width : 8;
    return [{ do: "compare", test: { how, left, right, width } }];
  };

const forget: Lift = ([to]) => (to?.kind === "register" ? [{ do: "forget", to: [to], flags: false }] : null);
const nothing: Lift = () => [];

const target = (to: Operand | undefined): number | null =>
  to?.kind === "immediate" ? Number(to.value) : null;

const questionOf = (text: string | undefined): BranchQuestion | null =>
  text !== undefined && Object.hasOwn(questions, text) ? (questions[text] ?? null) : null;

/** cbz and cbnz. */
const compareAndJump =
  (question: BranchQuestion): Lift =>
  ([left, to]) =>
    left?.kind === "register"
      ? [
          {
            do: "jump",
            target: target(to),
            if: { question, test: { how: "subtract", left, right: immediate(0), width: left.width } },
          },
        ]
      : null;

/** tbz and tbnz. */
const testAndJump =
  (question: BranchQuestion): Lift =>
  ([left, bit, to]) =>
    left?.kind === "register" && bit?.kind === "immediate" && bit.value < 64n
      ? [
          {
            do: "jump",
            target: target(to),
            if: {
              question,
              test: { how: "and", left, right: immediate(1n << bit.value), width: left.width },
            },
          },
        ]
      : null;

/** csel, and csinc only as cset, which is how it is printed for two zero registers. */
const select: Lift = ([to, yes, no], texts) => {
  const question = questionOf(texts[3]);
  if (to?.kind !== "register" || yes === undefined || no === undefined || question === null) return null;
  return [{ do: "select", to, yes, no, if: { question } }];
};
const choose =
  (yes: number): Lift =>
  ([to], texts) => {
    const question = questionOf(texts[1]);
    if (to?.kind !== "register" || question === null) return null;
    return [{ do: "select", to, yes: immediate(yes), no: immediate(0), if: { question } }];
  };

/** ccmp: compares where the condition holds; else the flags are the number given. */
const compareIf: Lift = ([left, right], texts) => {
  const question = questionOf(texts[3]);
  const flags = integer(texts[2] ?? "");
  if (left?.kind !== "register" || right === undefined || question === null || flags === null) return null;
  const test = { how: "subtract", left, right, width: left.width } as const;
  return [{ do: "compareIf", test, if: { question }, otherwise: Number(flags) }];
};

/** adrp and adr: an address, which is printed whole. */
const page: Lift = ([to, at]) =>
  to?.kind === "register" && at?.kind === "immediate"
    ? [
        {
          do: "address",
          to,
          of: { kind: "memory", base: null, add: 0, width: 8, absolute: Number(at.value) },
        },
      ]
    : null;

const lifts: Readonly<Record<string, Lift>> = {
  mov: ([to, from]) => (to?.kind === "register" && from !== undefined ? [{ do: "set", to, from }] : null),
  movz: ([to, from], texts) =>
    to?.kind === "register" && from !== undefined && texts.length === 2 ? [{ do: "set", to, from }] : null,
  add: compute("add", false),
  adds: compute("add", true),
  sub: compute("subtract", false),
  subs: compute("subtract", true),
  and: compute("and", false),
  ands: compute("and", true),
  orr: compute("or", false),
  eor: compute("xor", false),
  cmp: compare("subtract"),
  tst: compare("and"),
  ccmp: compareIf,
  csel: select,
  cset: choose(1),
  cbz: compareAndJump("equal"),
  cbnz: compareAndJump("unequal"),
  tbz: testAndJump("equal"),
  tbnz: testAndJump("unequal"),
  b: ([to]) => [{ do: "jump", target: target(to) }],
  br: ([via]) => [{ do: "jump", target: null, ...(via === undefined ? {} : { via }) }],
  bl: ([to]) => [{ do: "call", target: target(to) }],
  blr: ([via]) => [{ do: "call", target: null, ...(via === undefined ? {} : { via }) }],
  adrp: page,
  adr: page,
  ret: ([to]) => (to === undefined ? [{ do: "return" }] : null),
  retaa: () => [{ do: "return" }],
  retab: () => [{ do: "return" }],
  brk: () => [{ do: "trap" }],
  udf: () => [{ do: "trap" }],
  ...Object.fromEntries(
    ["nop", "hint", "bti", "paciasp", "autiasp", "pacibsp", "autibsp", "xpaclri"].map((name) => [
      name,
      nothing,
    ]),
  ),
  ...Object.fromEntries(
    [
      "movk",
      "movn",
      "sxtw",
      "sxtb",
      "uxtb",
      "uxth",
      "ubfx",
      "sbfx",
      "lsl",
      "lsr",
      "asr",
      "mvn",
      "neg",
      "csinc",
      "cinc",
      "csinv",
      "csneg",
      "csetm",
      "bic",
      "mul",
      "madd",
    ].map((name) => [name, forget]),
  ),
};

function lift({ mnemonic, operands }: Instruction): readonly Step[] | null {
  const texts = split(operands);
  if (isMoved.test(mnemonic)) return move(mnemonic, texts);
  if (mnemonic.startsWith("b.")) {
    const question = questionOf(mnemonic.slice(2));
    return question === null
      ? null
      : [{ do: "jump", target: target(operand(texts[0] ?? "") ?? undefined), if: { question } }];
  }
  const one = Object.hasOwn(lifts, mnemonic) ? lifts[mnemonic] : undefined;
  if (one === undefined) return null;
  // Operands that are neither, such as a condition or a shift, are read from the text.
  const read: Operand[] = [];
  for (const text of texts) {
    const known = operand(text);
    if (known === null) break;
    read.push(known);
  }
  return one(read, texts);
}

/** Stores write no register but a base that moves on; of what else is not known, the first two may be written. */
const written = ({ operands }: Instruction): readonly Register[] =>
  split(operands)
    .slice(0, 2)
    .flatMap((text) => {
      const one = register(text);
      return one?.kind === "register" ? [one] : [];
    });

/** AArch64 with the procedure call standard's registers (AAPCS64 6.1). */
export const arm64: Dialect = {
  arguments: ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"],
  result: "x0",
  stack: "sp",
  preserved: [...Array.from({ length: 11 }, (_, at) => `x${at + 19}`), "sp"],
  lift,
  written,
};
