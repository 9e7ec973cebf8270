import type { Expectation } from "./observation.ts";

const bigEndianHost = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0;

function encode(width: number, littleEndian: boolean, value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(width);
  // Most values are small, and a number is faster than a bigint.
  let rest = Number.isSafeInteger(value) && value >= 0 ? value : BigInt.asUintN(64, BigInt(value));
  for (let index = 0; index < width; index++) {
    bytes[littleEndian ? index : width - 1 - index] =
      typeof rest === "number" ? rest % 256 : Number(rest & 0xffn);
    rest = typeof rest === "number" ? Math.floor(rest / 256) : rest >> 8n;
  }
  return bytes;
}

/** An unsigned integer of `width` bytes in this machine's byte order. */
export const host = (width: 1 | 2 | 4 | 8, value: number | bigint): Expectation => ({
  value: encode(width, !bigEndianHost, value),
});

/** An unsigned integer of `width` bytes in network byte order (__be16, __be32). */
export const network = (width: 2 | 4, value: number): Expectation => ({ value: encode(width, false, value) });

/** An unsigned integer of `width` bytes in host order of which only `value >> shift` is known. */
export const shifted = (width: 4 | 8, value: number, shift: number): Expectation => ({
  value: encode(width, !bigEndianHost, BigInt(value) << BigInt(shift)),
  mask: encode(width, !bigEndianHost, ~((1n << BigInt(shift)) - 1n)),
});

/** Bytes as they stand, e.g. an address. */
export const raw = (value: Uint8Array): Expectation => ({ value });

/** A 64-bit pointer of which the whole value is known. */
export const pointer = (value: bigint): Expectation => host(8, value);

/** An unsigned integer of `width` bytes in host order of which only the bits of `mask` are known. */
export const masked = (width: 1 | 2 | 4 | 8, value: number, mask: number): Expectation => ({
  value: encode(width, !bigEndianHost, value),
  mask: encode(width, !bigEndianHost, mask),
});

/** An unsigned integer of 64 bits in host order that is known to be within bounds: of it the bits that all such have. */
export function between(least: bigint, most: bigint): Expectation {
  let unknown = 0n;
  while (least >> unknown !== most >> unknown) unknown += 1n;
  const mask = ~((1n << unknown) - 1n);
  return { value: encode(8, !bigEndianHost, least & mask), mask: encode(8, !bigEndianHost, mask) };
}
