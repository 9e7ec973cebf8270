/** A place in a file: where it begins, and where it ends. Bytes. */
export type Range = readonly [start: number, end: number];

/** A sound input. */
export interface Sample {
  readonly bytes: Buffer;
  /** Where its headers and tables lie: half of all changes are made there. Default: anywhere. */
  readonly hot?: readonly Range[];
  /** Every other time the values of the document are changed, and the text is JSON still. */
  readonly isJson?: boolean;
}

export interface Mutated {
  readonly bytes: Buffer;
  /** What may differ from the sample. Where bytes moved, all behind that. */
  readonly changed: readonly Range[];
}

/** Numbers from 0 to below `limit`, always the same for one input. */
export type Random = (limit: number) => number;

/** Values at which readers go wrong, by the width of the number. */
const interesting: Readonly<Record<1 | 2 | 4 | 8, readonly bigint[]>> = {
  1: [0n, 1n, 0x7fn, 0x80n, 0xffn],
  2: [0n, 1n, 0x7fffn, 0x8000n, 0xff00n, 0xfff1n, 0xffffn],
  4: [0n, 1n, 0x1000n, 0xffffn, 0x10000n, 0x7fffffffn, 0x80000000n, 0xfffffff0n, 0xffffffffn],
  8: [0n, 1n, 0x7fffffffn, 0xffffffffn, 0x100000000n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n],
};
/** What texts must not be able to do: end, escape, recolour, reorder, count, or nest without an end. */
const tokens = [
  "\0",
  "\n",
  "\r\n",
  "\t",
  " ",
  "\x1b[2J\x1b]0;x\x07",
  "\u202e\u2066\u200b\ufeff",
  "\u2028",
  "\\012",
  "\\u0000",
  "%s%n",
  " (deleted)",
  "../",
  "/",
  "$ORIGIN",
  '"',
  "\\",
  "{",
  "}",
  "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
  ",",
  ":",
  "=",
  "-1",
  "1e308",
  "1e999",
  "0.5",
  "18446744073709551616",
  "9007199254740993",
  "null",
  "__proto__",
  "constructor",
].map((text) => Buffer.from(text));
const foreign = [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x80]].map(
  (bytes) => Buffer.from(bytes),
);
const inserted = [...tokens, ...foreign];
/** No input grows to more than so many times its sample, or so many bytes. */
const growth = { times: 4, bytes: 64 << 10 };

/** What may stand where another value should. */
const values: readonly unknown[] = [
  ...[0, -0, 1, -1, 0.5, 255, 4096, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1e308],
  ...[null, true, false, "", "offset_daddr", "1", [], {}, [[]], { a: 1 }],
  ...["\0", "\x1b[2J", "\u202e", "/\ud800", "x".repeat(5000), "__proto__", "/opt/lib"],
];

/** The document with one value, key or place of it changed. */
function changedValue(value: unknown, random: Random): unknown {
  const other = (): unknown => values[random(values.length)];
  if (typeof value !== "object" || value === null || random(8) === 0) return other();
  const entries = Object.entries(value);
  const at = random(Math.max(1, entries.length));
  const changed = entries.flatMap(([key, each], index): (readonly [string, unknown])[] => {
    if (index !== at) return [[key, each]];
    const deed = random(6);
    if (deed === 0) return [];
    if (deed === 1)
      return [
        [String(other()), each],
        [key, each],
      ];
    return [[key, changedValue(each, random)]];
  });
  return Array.isArray(value) ? changed.map(([, each]) => each) : Object.fromEntries(changed);
}

/** One to eight changes, mostly few. */
export function mutate(sample: Sample, others: readonly Sample[], random: Random): Mutated {
  if (sample.isJson === true && random(2) === 0) {
    let document: unknown = JSON.parse(sample.bytes.toString());
    for (let left = 1 + random(3); left > 0; left--) document = changedValue(document, random);
    return { bytes: Buffer.from(JSON.stringify(document) ?? ""), changed: [[0, Number.POSITIVE_INFINITY]] };
  }
  let bytes = Buffer.from(sample.bytes);
  const changed: Range[] = [];
  const pick = <Value>(list: readonly Value[]): Value => {
    const value = list[random(list.length)];
    if (value === undefined) throw new RangeError("nothing to choose from");
    return value;
  };
  const place = (): number => {
    const ranges = sample.hot ?? [];
    if (ranges.length === 0 || random(2) === 0) return random(Math.max(1, bytes.length));
    const [start, end] = pick(ranges);
    return Math.max(0, Math.min(bytes.length - 1, start + random(Math.max(1, end - start))));
  };
  /** Overwrites, as far as there is something. */
  const write = (at: number, piece: Uint8Array): void => {
    const length = Math.min(piece.length, bytes.length - at);
    if (length <= 0) return;
    bytes.set(piece.subarray(0, length), at);
    changed.push([at, at + length]);
  };
  const splice = (at: number, remove: number, piece: Uint8Array): void => {
    bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + remove)]);
    changed.push([at, Number.POSITIVE_INFINITY]);
  };
  const number = (value: bigint, width: number): Uint8Array => {
    const piece = Buffer.alloc(8);
    piece.writeBigUInt64LE(BigInt.asUintN(64, value));
    const cut = piece.subarray(0, width);
    return random(16) === 0 ? cut.reverse() : cut;
  };
  const chunkOf = (source: Buffer): Buffer => {
    const at = random(Math.max(1, source.length));
    return source.subarray(at, at + 1 + random(1 << random(10)));
  };
  const deeds = [
    () => {
      const at = place();
      write(at, Buffer.from([(bytes[at] ?? 0) ^ (1 << random(8))]));
    },
    () => write(place(), Buffer.from([random(256)])),
    () => {
      const width = pick([1, 2, 4, 8] as const);
      const at = place();
      write(random(4) === 0 ? at : at - (at % width), number(pick(interesting[width]), width));
    },
    // A number that is there, a little more or less of it, or of another.
    () => {
      const width = pick([1, 2, 4, 8] as const);
      const [at, from] = [place(), random(2) === 0 ? place() : null];
      const [to, source] = [at, from ?? at].map((each) => each - (each % width)) as [number, number];
      const piece = Buffer.alloc(8);
      bytes.copy(piece, 0, source, source + width);
      write(to, number(piece.readBigUInt64LE() + BigInt(random(17) - 8), width));
    },
    () => write(place(), chunkOf(pick(others).bytes)),
    () => write(place(), Buffer.alloc(1 + random(1 << random(12)), pick([0, 0, 0xff, 0x41]))),
    () => splice(place(), 0, pick(inserted)),
    () => {
      const length = random(8) === 0 ? bytes.length : random(1 << random(14));
      splice(place(), length, Buffer.alloc(0));
    },
    () => splice(place(), random(64), chunkOf(pick(others).bytes)),
    // A piece, again and again.
    () => {
      const piece = chunkOf(bytes);
      const most = Math.min(growth.bytes, growth.times * sample.bytes.length);
      const times = Math.min(1 + random(1 << random(10)), Math.ceil(most / Math.max(1, piece.length)));
      splice(place(), 0, Buffer.concat(Array.from({ length: times }, () => piece)));
    },
  ];
  /** Changes that move nothing are likelier: behind one that does, most readers give up at once. */
  const still = 6;
  for (let left = 1 + random(1 << random(4)); left > 0; left--)
    (random(8) === 0 ? pick(deeds.slice(still)) : pick(deeds.slice(0, still)))();
  return { bytes, changed };
}

/** Whether nothing was changed but what lies in one of these places. */
export const isWithin = (changed: readonly Range[], places: readonly Range[]): boolean =>
  changed.every(([from, to]) => places.some(([start, end]) => start <= from && to <= end));

/** Whether something of these places was changed. */
export const touches = (changed: readonly Range[], places: readonly Range[]): boolean =>
  changed.some(([from, to]) => places.some(([start, end]) => start < to && from < end));
