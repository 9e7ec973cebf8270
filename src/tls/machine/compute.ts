import type { Operand, Register, Step } from "./step.ts";
import { negative, number, plus, unknown, type Value } from "./value.ts";

/** A step that makes one value of two. */
type Computation = Extract<Step, { readonly do: "add" | "subtract" | "and" | "xor" | "or" }>;

const isSameRegister = ({ left, right }: Computation): boolean =>
  left.kind === "register" &&
  right.kind === "register" &&
  left.name === right.name &&
  left.width === right.width;

/** What a computation of `width` bytes comes to. */
export function computed(step: Computation, left: Value, right: Value, width: number): Value {
  const isSame = isSameRegister(step);
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

/** A value that is filled up with its sign. */
export function signed(value: Value, from: Operand, to: Register): Value {
  const width = from.kind === "immediate" ? 8 : from.width;
  // A member that was read is that member, with its sign before it or zeros.
  if (value.kind === "place" && value.add === 0 && value.loads.at(-1)?.width === width) return value;
  if (value.kind === "entry") return value;
  if (value.kind !== "number") return unknown;
  return number(BigInt.asUintN(8 * to.width, BigInt.asIntN(8 * width, value.number)));
}
