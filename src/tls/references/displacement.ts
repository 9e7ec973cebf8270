import { loadScanner } from "../machine/scanner.ts";
import type { Subject } from "./subject.ts";

/** Functions that are looked into for one offset. */
const mostFunctions = 96;
/** Smaller offsets stand in too many instructions to tell anything, and x86-64 encodes them in one byte. */
const smallest = 128;
const overlap = 16;

/** Bytes around what is known of a library in which the rest of it is looked for. */
const around = 512 << 10;
/** A SIB byte that names r12 or rsp and no index. */
const baseAlone = 0x24;

/** Places in one piece of code, in bytes from its beginning. */
type Search = (bytes: Buffer, address: number) => Iterable<number>;

/**
 * First addresses of functions in which a load from `offset` stands, near those that name something: a program has other structs as
 * large. x86-64: a 32-bit displacement.
 */
export function functionsWith(subject: Subject, offset: number): readonly number[] {
  if (offset < smallest) return [];
  const isX86 = subject.image.elf.machine === "x86_64";
  return functionsNear(subject, (bytes) => (isX86 ? displaced(bytes, offset) : scaled(bytes, offset)));
}

/** Whether a load from `offset` stands in a function, which is not decoded for that. True where such a look tells nothing. */
export function hasLoad(subject: Subject, entry: number, offset: number): boolean {
  if (offset < smallest) return true;
  const { image, functions } = subject;
  const search = image.elf.machine === "x86_64" ? displaced : scaled;
  // A damaged table of frames may have a function begin anywhere.
  const from = entry - (entry % 4);
  const [first] = search(image.bytes(from, functions.endOf(entry) - from), offset);
  return first !== undefined;
}

/** First addresses of functions that call or go on with one of these. */
export function functionsCalling(subject: Subject, entries: readonly number[]): readonly number[] {
  if (entries.length === 0) return [];
  const wanted = new Set(entries);
  const sought = subject.image.elf.machine === "x86_64" ? "x86Transfers" : "arm64Transfers";
  return functionsNear(subject, ({ length }, about) => {
    const found: number[] = [];
    loadScanner().look({ sought, wanted, length, about }, (at) => found.push(at - about));
    return found;
  });
}

function functionsNear(subject: Subject, search: Search): readonly number[] {
  const { image, functions } = subject;
  const found = new Set<number>();
  const stretches = neighbourhoods(subject.known());
  const { window } = loadScanner();
  for (const { from, end } of stretches) {
    for (const part of image.code(from, end)) {
      for (const { address, bytes } of image.windows(part, overlap, window)) {
        for (const at of search(bytes, address)) {
          const entry = functions.startOf(address + at);
          if (entry !== null && found.size < mostFunctions) found.add(entry);
        }
      }
    }
  }
  return [...found];
}

/** Stretches around addresses, those that meet as one. */
function neighbourhoods(
  addresses: readonly number[],
): readonly { readonly from: number; readonly end: number }[] {
  const stretches: { from: number; end: number }[] = [];
  for (const address of addresses.toSorted((a, b) => a - b)) {
    const from = Math.max(0, address - (address % 4) - around);
    const last = stretches.at(-1);
    if (last !== undefined && from <= last.end) last.end = address + around;
    else stretches.push({ from, end: address + around });
  }
  return stretches;
}

/**
 * `mov r64, [r64 + offset]` or `cmp qword [r64 + offset], 0`: REX.W, opcode, ModRM with a 32-bit displacement, of r12 a SIB byte before
 * it. Intel SDM volume 2.
 */
function* displaced(bytes: Buffer, offset: number): Generator<number> {
  const pattern = Buffer.alloc(4);
  pattern.writeUInt32LE(offset);
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
    if (at < 4) continue;
    const begin =
      (bytes[at - 1] as number) === baseAlone && ((bytes[at - 2] as number) & 0xc7) === 0x84
        ? at - 4
        : at - 3;
    const [prefix = 0, opcode = 0, modes = 0] = bytes.subarray(begin, begin + 3);
    if ((prefix & 0xf8) === 0x48 && (opcode === 0x8b || opcode === 0x83) && (modes & 0xc0) === 0x80)
      yield begin;
  }
}

/** `ldr x, [x, #offset]`, whose offset counts in units of 8 bytes. Arm ARM C6.2, LDR (immediate). */
function* scaled(bytes: Buffer, offset: number): Generator<number> {
  if (offset % 8 !== 0 || offset >= 8 << 12) return;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  const wanted = 0xf9400000 | ((offset / 8) << 10);
  for (let at = 0; at < words.length; at++)
    if (((words[at] as number) & 0xfffffc00) === (wanted | 0)) yield at * 4;
}
