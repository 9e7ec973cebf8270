import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import type { IpAddress } from "./address.ts";

const [DOT, ZERO, COLON, LETTER_A] = [0x2e, 0x30, 0x3a, 0x61];
/** Bytes of an IPv6 address, and of the words that it is written in. */
const [SIZE, WORD] = [16, 2];

/**
 * Reads an address without a scope: dotted decimal, or RFC 4291 text. An IPv4-mapped one (::ffff:10.0.0.1) is the IPv4
 * address that it stands for. Null where the text is no address.
 */
export function parseIp(text: string): IpAddress | null {
  const dotted = parseDotted(text);
  if (dotted !== null) return { family: AF_INET, address: dotted };
  const address = parseWords(text);
  if (address === null) return null;
  return isMapped(address) ? { family: AF_INET, address: address.slice(12) } : { family: AF_INET6, address };
}

/** The bytes of four decimal numbers without leading zeros; null where the text is anything else. */
function parseDotted(text: string): Uint8Array | null {
  const address = new Uint8Array(4);
  let [part, digits, value] = [0, 0, 0];
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : DOT;
    if (code === DOT) {
      if (digits === 0 || part === 4) return null;
      address[part++] = value;
      digits = value = 0;
      continue;
    }
    const isZeroLed = digits > 0 && value === 0;
    value = 10 * value + code - ZERO;
    digits++;
    if (code < ZERO || code > ZERO + 9 || isZeroLed || value > 255) return null;
  }
  return part === 4 ? address : null;
}

/** The bytes of RFC 4291 text: words of up to four hex digits, the last two perhaps in dotted decimal, `::` for one or more that are zero. */
function parseWords(text: string): Uint8Array | null {
  const address = new Uint8Array(SIZE);
  // How many bytes are read, and behind how many of them the zeros stand; -1: nowhere.
  let [filled, gap] = [0, -1];
  let at = 0;
  if (text.charCodeAt(0) === COLON && text.charCodeAt(1) === COLON) {
    gap = 0;
    at = 2;
  }
  while (at < text.length) {
    const start = at;
    let word = 0;
    for (let digit = hexDigit(text.charCodeAt(at)); digit >= 0 && at < start + 4; ) {
      word = (word << 4) | digit;
      digit = hexDigit(text.charCodeAt(++at));
    }
    if (text.charCodeAt(at) === DOT) {
      const dotted = parseDotted(text.slice(start));
      if (dotted === null || filled + dotted.length > SIZE) return null;
      address.set(dotted, filled);
      filled += dotted.length;
      break;
    }
    if (at === start || filled === SIZE) return null;
    address[filled++] = word >> 8;
    address[filled++] = word;
    if (at === text.length) break;
    if (text.charCodeAt(at++) !== COLON || at === text.length) return null;
    if (text.charCodeAt(at) !== COLON) continue;
    if (gap >= 0) return null;
    gap = filled;
    at++;
  }
  if (gap < 0) return filled === SIZE ? address : null;
  if (filled === SIZE) return null;
  address.copyWithin(SIZE - (filled - gap), gap, filled);
  return address.fill(0, gap, SIZE - (filled - gap));
}

/** What a digit of either case means; -1 where it is none. */
function hexDigit(code: number): number {
  if (code >= ZERO && code <= ZERO + 9) return code - ZERO;
  const letter = (code | 0x20) - LETTER_A;
  return letter >= 0 && letter < 6 ? 10 + letter : -1;
}

/** Whether it is of ::ffff:0:0/96. */
function isMapped(address: Uint8Array): boolean {
  for (let at = 0; at < 10; at++) if (address[at] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}

/** The address as text: dotted decimal, or IPv6 in the form of RFC 5952. */
export const formatIp = ({ family, address }: IpAddress): string =>
  family === AF_INET ? `${address[0]}.${address[1]}.${address[2]}.${address[3]}` : formatWords(address);

/** The longest address has eight words of four digits. A text is made of bytes: one of many pieces takes longer to put together. */
const letters = Buffer.alloc(39);

/** Words in hex; the first of the longest runs of zeros becomes `::`, a single zero stays. */
function formatWords(address: Uint8Array): string {
  const word = (at: number): number => ((address[at] ?? 0) << 8) | (address[at + 1] ?? 0);
  let [from, to] = [0, WORD];
  for (let at = 0; at < SIZE; at += WORD) {
    const start = at;
    while (at < SIZE && word(at) === 0) at += WORD;
    if (at - start > to - from) [from, to] = [start, at];
  }
  const isShort = to - from > WORD;
  let length = 0;
  for (let at = 0; at < SIZE; at += WORD) {
    if (isShort && at === from) {
      letters[length++] = COLON;
      letters[length++] = COLON;
      at = to - WORD;
      continue;
    }
    if (at > 0 && !(isShort && at === to)) letters[length++] = COLON;
    const value = word(at);
    for (let shift = value > 0xfff ? 12 : value > 0xff ? 8 : value > 0xf ? 4 : 0; shift >= 0; shift -= 4) {
      const digit = (value >> shift) & 0xf;
      letters[length++] = digit < 10 ? ZERO + digit : LETTER_A + digit - 10;
    }
  }
  return letters.toString("latin1", 0, length);
}

/** The network of an address, as `10.0.0.0/24`. */
export const formatNetwork = ({ family, address }: IpAddress, prefix: number): string => {
  const network = address.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * at))));
  return `${formatIp({ family, address: network })}/${prefix}`;
};
