import { place, type Value, type ValuePlace } from "../machine/value.ts";
import type { Event } from "./trace.ts";

/** The pointer loads on the way to a value, in order; null where one of them is no pointer. Bytes. */
export function pointersTo({ loads }: ValuePlace): readonly number[] | null {
  return loads.every(({ width }) => width === 8) ? loads.map(({ offset }) => offset) : null;
}

/** Whether a value is reached from the first argument by these pointer loads and nothing else. */
export const isReached = (value: Value | undefined, ...loads: readonly number[]): value is ValuePlace =>
  value?.kind === "place" &&
  value.root === 0 &&
  value.loads.length === loads.length &&
  value.loads.every(({ offset, width }, index) => width === 8 && offset === loads[index]);

/** A place inside what the first argument points to; its offset in bytes, null for anything else. */
export const insideOf = (value: Value | undefined, ...loads: readonly number[]): number | null =>
  isReached(value, ...loads) ? value.add : null;

/** Whether a value is that argument itself. */
export const isWhole = (value: Value | undefined, argument: number): boolean =>
  value?.kind === "place" && value.root === argument && value.loads.length === 0 && value.add === 0;

/** Whether a value is a place in the function's own stack. */
export const isLocal = (value: Value | undefined): boolean =>
  value?.kind === "place" && value.root === "stack";

/** A loaded member: where it was loaded from, and how many bytes. */
export function memberOf(
  value: Value | undefined,
): { readonly from: ValuePlace; readonly width: number } | null {
  if (value?.kind !== "place" || value.add !== 0) return null;
  const last = value.loads.at(-1);
  return last === undefined
    ? null
    : { from: place(value.root, value.loads.slice(0, -1), last.offset), width: last.width };
}

/** A value that is a number below 2^53; null for any other. */
export const numberOf = (value: Value | undefined): number | null =>
  value?.kind === "number" && value.number < 2n ** 53n ? Number(value.number) : null;

export type CallEvent = Extract<Event, { kind: "call" }>;
export type StoreEvent = Extract<Event, { kind: "store" }>;
/** The calls among events, in their order. */
export const callsIn = (events: readonly Event[]): readonly CallEvent[] =>
  events.flatMap((event) => (event.kind === "call" ? event : []));
/** The stores among events, in their order. */
export const storesIn = (events: readonly Event[]): readonly StoreEvent[] =>
  events.flatMap((event) => (event.kind === "store" ? event : []));

/** Every place that an event tells of. */
export function placesToldBy(event: Event): readonly ValuePlace[] {
  const values: readonly Value[] =
    event.kind === "call"
      ? [event.target, ...event.arguments]
      : event.kind === "load" || event.kind === "indexed"
        ? [event.from]
        : event.kind === "store"
          ? [event.to, event.value]
          : event.kind === "compare"
            ? [event.left, event.right]
            : event.kind === "switch"
              ? [event.on]
              : [event.value];
  return values.flatMap((value) => (value.kind === "place" ? value : []));
}

/** An address for people, e.g. `0x40`. */
export const hex = (address: number): string => `0x${address.toString(16)}`;
