/** A load: how far from where the pointer before it points, and how much is read; both in bytes. */
export interface Load {
  readonly offset: number;
  readonly width: number;
}

/**
 * What a register or a stack slot holds, as far as it is known without running anything.
 *
 * `number`: that very number, unsigned, at most 64 bits. `place`: what one reaches from an argument of the function (its
 * index), or from the stack pointer at its entry, or from what another walk gave a name of its own, by the loads in order,
 * plus `add` bytes. `entry`: one of a table of distances or addresses, which a jump goes by. Everything else is `unknown`.
 */
export type Value =
  | { readonly kind: "number"; readonly number: bigint }
  | ValuePlace
  | TableEntry
  | { readonly kind: "unknown" };

export interface TableEntry {
  readonly kind: "entry";
  /** Address of the table's first entry, before relocation. */
  readonly table: number;
  /** Bytes of an entry. */
  readonly width: number;
  readonly signed: boolean;
  /** What an entry is multiplied with. */
  readonly scale: number;
  /** What the product is added to; 0 where entries are addresses. */
  readonly base: number;
}

export interface ValuePlace {
  readonly kind: "place";
  readonly root: number | "stack" | `${"result" | "global"} ${number}`;
  readonly loads: readonly Load[];
  readonly add: number;
}

export const unknown: Value = { kind: "unknown" };
/** A number that is known: its lowest 64 bits, unsigned. */
export const number = (value: bigint | number): Value => ({
  kind: "number",
  number: BigInt.asUintN(64, BigInt(value)),
});
/** A place that is reached from `root` by these loads, plus `add` bytes. */
export const place = (root: ValuePlace["root"], loads: readonly Load[] = [], add = 0): ValuePlace => ({
  kind: "place",
  root,
  loads,
  add,
});

/** Bytes a value has of its own: a loaded one as many as were read, a pointer 8. */
const widthOf = ({ loads }: ValuePlace): number => loads.at(-1)?.width ?? 8;

/** Whether a value can be an address. */
export const isPointer = (value: Value): value is ValuePlace =>
  value.kind === "place" && widthOf(value) === 8;

/** The lowest `width` bytes, the rest zero. */
export function truncate(value: Value, width: number): Value {
  if (value.kind === "number") return width >= 8 ? value : number(BigInt.asUintN(8 * width, value.number));
  if (value.kind === "place" && widthOf(value) <= width) return value;
  return value.kind === "entry" && width >= 4 ? value : unknown;
}

const farthest = 1 << 20;

/** The sum, which wraps at `width` bytes. */
export function plus(value: Value, by: Value, width: number): Value {
  if (value.kind === "number" && by.kind === "number") {
    return number(BigInt.asUintN(8 * width, value.number + by.number));
  }
  if (value.kind === "number") return by.kind === "number" ? unknown : plus(by, value, width);
  if (value.kind === "entry")
    return by.kind === "number" ? { ...value, base: value.base + Number(by.number) } : unknown;
  return by.kind === "number" && width === 8 ? moved(value, Number(BigInt.asIntN(64, by.number))) : unknown;
}

/** The sum with a number of bytes, which wraps at 64 bits: what most addresses are made of. */
export function moved(value: Value, by: number): Value {
  if (value.kind !== "place") return value.kind === "unknown" ? value : plus(value, number(by), 8);
  if (!isPointer(value)) return unknown;
  if (by === 0) return value;
  const add = value.add + by;
  return Math.abs(add) <= farthest ? { ...value, add } : unknown;
}

/** The two's complement of a number; of anything else nothing is known. */
export const negative = (value: Value): Value => (value.kind === "number" ? number(-value.number) : unknown);

/** The flags themselves, as Arm's ccmp gives them: negative 8, zero 4, carry 2, overflow 1. */
export interface Given {
  readonly how: "given";
  readonly nzcv: number;
}

/** What the flags stand for. */
export type ProcessorFlags = ComparedValues | Given;

/** A comparison: by subtraction, or of the bits both have; `width` in bytes. */
export interface ComparedValues {
  readonly how: "subtract" | "and";
  readonly left: Value;
  readonly right: Value;
  readonly width: number;
}

/** What a branch asks of the flags. `other`: something that is not followed, such as the parity. */
export type BranchQuestion =
  | "equal"
  | "unequal"
  | "below"
  | "aboveOrEqual"
  | "belowOrEqual"
  | "above"
  | "less"
  | "greaterOrEqual"
  | "lessOrEqual"
  | "greater"
  | "negative"
  | "positive"
  | "other";

/** The function's arguments are not null: that is the caller's duty. */
const isNonNull = (value: Value): boolean =>
  value.kind === "place" && value.root === 0 && value.loads.length === 0 && value.add >= 0;
const isZero = (value: Value): boolean => value.kind === "number" && value.number === 0n;
const isSame = (a: Value, b: Value): boolean =>
  a.kind === "place" && b.kind === "place" && a.root === b.root && a.add === b.add && a.loads === b.loads;

/** The answer, null where it cannot be known. */
export function answer(flags: ProcessorFlags, question: BranchQuestion): boolean | null {
  if (flags.how === "given") return given(flags.nzcv, question);
  const { how, left, right, width } = flags;
  const nonNull =
    isNonNull(left) && (how === "subtract" ? isZero(right) : isSame(left, right)) && width === 8;
  if (nonNull) return question === "equal" ? false : question === "unequal" ? true : null;
  if (left.kind !== "number" || right.kind !== "number") return null;
  const bits = 8 * width;
  const [a, b] =
    how === "subtract"
      ? [BigInt.asUintN(bits, left.number), BigInt.asUintN(bits, right.number)]
      : [BigInt.asUintN(bits, left.number & right.number), 0n];
  const [signedA, signedB] = [BigInt.asIntN(bits, a), BigInt.asIntN(bits, b)];
  const sign = BigInt.asIntN(bits, a - b);
  // The carry after a test of bits differs between the machines.
  const unsigned = (result: boolean): boolean | null => (how === "subtract" ? result : null);
  switch (question) {
    case "equal":
      return a === b;
    case "unequal":
      return a !== b;
    case "below":
      return unsigned(a < b);
    case "aboveOrEqual":
      return unsigned(a >= b);
    case "belowOrEqual":
      return unsigned(a <= b);
    case "above":
      return unsigned(a > b);
    case "less":
      return signedA < signedB;
    case "greaterOrEqual":
      return signedA >= signedB;
    case "lessOrEqual":
      return signedA <= signedB;
    case "greater":
      return signedA > signedB;
    case "negative":
      return sign < 0n;
    case "positive":
      return sign >= 0n;
    case "other":
      return null;
  }
}

/** Arm ARM C1.2.4. */
function given(nzcv: number, question: BranchQuestion): boolean | null {
  const [negative, zero, carry, overflow] = [8, 4, 2, 1].map((bit) => (nzcv & bit) !== 0);
  const isLess = negative !== overflow;
  const isAbove = carry === true && zero === false;
  const isGreater = zero === false && !isLess;
  const answers: Readonly<Record<BranchQuestion, boolean | null>> = {
    equal: zero === true,
    unequal: zero === false,
    below: carry === false,
    aboveOrEqual: carry === true,
    belowOrEqual: !isAbove,
    above: isAbove,
    less: isLess,
    greaterOrEqual: !isLess,
    lessOrEqual: !isGreater,
    greater: isGreater,
    negative: negative === true,
    positive: negative === false,
    other: null,
  };
  return answers[question];
}
