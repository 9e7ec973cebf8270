/** Bytes [start, end) of a window. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** What a member is known to hold: `value` in memory order, compared only where `mask` (default: everywhere) has bits. */
export interface Expectation {
  readonly value: Uint8Array;
  readonly mask?: Uint8Array;
}

/** What is known of an instance: constant name to expectation. */
export type Facts = ReadonlyMap<string, Expectation>;

/** The bytes of one struct instance, with the values known to be in it. */
export interface Observation {
  /** The bytes from the start of the instance on. */
  readonly bytes: Uint8Array;
  /** The parts of `bytes` that could be read, ascending and apart; the rest says nothing. */
  readonly readable: readonly Range[];
  readonly expected: Facts;
}

/** Adds a range that begins at or behind the end of all others. */
export function extend(ranges: Range[], { start, end }: Range): void {
  const last = ranges.at(-1);
  if (last?.end === start) ranges[ranges.length - 1] = { start: last.start, end };
  else ranges.push({ start, end });
}

/** Windows that follow one another in memory, as one. */
export function joined(
  windows: readonly Pick<Observation, "bytes" | "readable">[],
): Pick<Observation, "bytes" | "readable"> {
  const readable: Range[] = [];
  let at = 0;
  for (const window of windows) {
    for (const { start, end } of window.readable) extend(readable, { start: at + start, end: at + end });
    at += window.bytes.length;
  }
  return { bytes: Buffer.concat(windows.map(({ bytes }) => bytes)), readable };
}

/** The first `size` bytes of what was read. */
export function crop<Part extends Pick<Observation, "bytes" | "readable">>(part: Part, size: number): Part {
  const readable = part.readable
    .filter(({ start }) => start < size)
    .map(({ start, end }) => ({ start, end: Math.min(end, size) }));
  return { ...part, bytes: part.bytes.subarray(0, size), readable };
}

/** True when all of [at, at + width) was read. */
export function isReadable({ readable }: Pick<Observation, "readable">, at: number, width: number): boolean {
  for (const { start, end } of readable) if (start <= at && at + width <= end) return true;
  return false;
}

/** True when the expected value stands at `at`. */
export function holds(bytes: Uint8Array, at: number, expectation: Expectation): boolean {
  const { value, mask } = expectation;
  for (let index = 0; index < value.length; index++) {
    const difference = (bytes[at + index] ?? 0) ^ (value[index] ?? 0);
    if ((difference & (mask?.[index] ?? 0xff)) !== 0) return false;
  }
  return true;
}

/**
 * True when no memory that stays as it is could hold all of them: only then do they prove the place that held them.
 * Bits that are not compared tell nothing apart.
 */
export function differ(expectations: Iterable<Expectation>): boolean {
  const values: number[] = [];
  const masks: number[] = [];
  for (const { value, mask } of expectations) {
    for (let index = 0; index < value.length; index++) {
      const byte = value[index] ?? 0;
      const compared = mask?.[index] ?? 0xff;
      const [before, known] = [values[index] ?? 0, masks[index] ?? 0];
      if (((byte ^ before) & compared & known) !== 0) return true;
      values[index] = before | (byte & compared);
      masks[index] = known | compared;
    }
  }
  return false;
}

/** True when the value stands anywhere in the readable parts, at any address. */
export function occurs(
  { bytes, readable }: Pick<Observation, "bytes" | "readable">,
  value: Uint8Array,
): boolean {
  return readable.some(({ start, end }) =>
    Buffer.from(bytes.buffer, bytes.byteOffset + start, Math.min(end, bytes.length) - start).includes(value),
  );
}
