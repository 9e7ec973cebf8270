import { segment } from "../../elf/records.ts";
import type { Decoder } from "../machine/decoder.ts";
import type { Dialect, Instruction, Step } from "../machine/step.ts";
import type { LoadedFile } from "./loaded-file.ts";

/** Bytes of a function that are read. The longest one that matters has 30,000. */
const largestFunction = 128 << 10;
/** How many gaps, where the bytes are no instruction, are passed over in one function. */
const mostGaps = 4;
/**
 * Bytes of code per entry of .eh_frame, on average. Where there are more, too few functions have one, and the entries do not tell where
 * functions begin.
 */
const mostUnframed = 2048;
/** .eh_frame_hdr of the LSB core, "Exception Frames": version, encodings, and a table of starts, sorted. */
const header = { version: 1, count: 0x03, pointer: 0x1b, table: 0x3b, size: 12, entry: 8 };
/** int3, with which linkers fill up what lies between functions. */
const trap = 0xcc;
/** What may stand before a function that begins on a boundary: padding, or the end of another. Intel SDM volume 2. */
const before: ReadonlySet<number> = new Set([0x90, 0xc3, 0x00, 0x66, 0x0b, 0x1f, 0x84, 0x44, 0x40]);
/**
 * Opcodes of call and jmp with a distance of four bytes, and of jmp with one: a function may end with a jump, or a call that never
 * returns.
 */
const goesOn: ReadonlySet<number> = new Set([0xe8, 0xe9]);
const shortJump = 0xeb;

/** An instruction with what it does, as far as that is known. */
export interface Lifted {
  readonly steps: readonly Step[];
  /** Address of the instruction behind it. */
  readonly next: number;
}

/** A function of a file, decoded. `end` is the first address behind it. */
export interface Code {
  readonly entry: number;
  readonly end: number;
  readonly instructions: ReadonlyMap<number, Instruction>;
  /** Addresses that its own jumps lead to. */
  readonly heads: ReadonlySet<number>;
  readonly lifted: (address: number) => Lifted | null;
}

/** The functions of a file that has no symbols: where they begin is told by its frames, or else by who calls them. */
export class Functions {
  readonly #image: LoadedFile;
  readonly #machine: Dialect;
  readonly #decoder: Decoder;
  readonly #isCalled: (address: number) => boolean;
  readonly #frames: { readonly base: number; readonly count: number } | null;
  readonly #codes = new Map<number, Code>();

  constructor(image: LoadedFile, machine: Dialect, decoder: Decoder, isCalled: (address: number) => boolean) {
    this.#image = image;
    this.#machine = machine;
    this.#decoder = decoder;
    this.#isCalled = isCalled;
    this.#frames = framesOf(image);
  }

  /** The start of the function that an address of code lies in; null where none is found. */
  startOf(address: number): number | null {
    return this.#frames === null ? this.#calledBefore(address) : this.#framed(address).start;
  }

  /** Instructions from an address of code on, as many as `size` bytes hold, wherever the function begins and ends. */
  from(address: number, size: number): readonly Instruction[] {
    return this.#decoder.decode(this.#image.bytes(address, size), address);
  }

  /** A function by its first address. */
  at(entry: number): Code {
    const known = this.#codes.get(entry);
    if (known !== undefined) return known;
    const end = this.endOf(entry);
    const code = codeOf(this.#machine, this.#decodeAll(entry, end), entry, end);
    this.#codes.set(entry, code);
    return code;
  }

  /** Everything up to the end: behind what is no instruction it goes on, a few times. */
  #decodeAll(entry: number, end: number): readonly Instruction[] {
    const all: Instruction[] = [];
    const bytes = this.#image.bytes(entry, end - entry);
    for (let at = 0, tries = 0; at < bytes.length && tries < mostGaps; tries++) {
      const some = this.#decoder.decode(bytes.subarray(at), entry + at);
      const last = some.at(-1);
      for (const one of some) all.push(one);
      at = last === undefined ? at + 4 : last.address + last.size - entry + 4;
      if (last !== undefined && last.address + last.size - entry >= bytes.length) break;
    }
    return all;
  }

  /** The first address behind a function, as far as it is read. */
  endOf(entry: number): number {
    if (this.#frames !== null) return Math.min(this.#framed(entry).end, entry + largestFunction);
    const step = this.#image.elf.machine === "x86_64" ? 16 : 4;
    for (let at = entry - (entry % step) + step; at < entry + largestFunction; at += step)
      if (this.#isStart(at)) return at;
    return entry + largestFunction;
  }

  #calledBefore(address: number): number | null {
    const step = this.#image.elf.machine === "x86_64" ? 16 : 4;
    for (let at = address - (address % step); at > address - largestFunction; at -= step)
      if (this.#isStart(at)) return at;
    return null;
  }

  #isStart(address: number): boolean {
    if (this.#image.elf.machine === "aarch64") return this.#isCalled(address);
    const last = this.#image.byte(address - 1);
    // What is reached by a pointer alone is called by none, but padding before it is.
    if (last === trap || last === undefined) return true;
    if (!this.#isCalled(address)) return false;
    const [jump, short] = [this.#image.byte(address - 5), this.#image.byte(address - 2)];
    return before.has(last) || goesOn.has(jump ?? 0) || short === shortJump;
  }

  /** Binary search in the table of frames. */
  #framed(address: number): { readonly start: number | null; readonly end: number } {
    const { base, count } = this.#frames ?? { base: 0, count: 0 };
    const start = (index: number): number =>
      base + (this.#image.i32(base + header.size + index * header.entry) ?? 0);
    let [low, high] = [0, count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start(middle) <= address) low = middle + 1;
      else high = middle;
    }
    const end = low < count ? start(low) : address + largestFunction;
    return { start: low === 0 ? null : start(low - 1), end };
  }
}

/** The table of .eh_frame_hdr, where the file has one of the usual encoding. */
function framesOf(image: LoadedFile): { readonly base: number; readonly count: number } | null {
  const found = image.elf.programHeaders.find(({ type }) => type === segment.ehFrame);
  if (found === undefined) return null;
  const [version, pointer, count, table] = image.bytes(found.vaddr, 4);
  const entries = image.u32(found.vaddr + 8);
  const isUsual =
    version === header.version &&
    pointer === header.pointer &&
    count === header.count &&
    table === header.table;
  const most = Math.floor((found.filesz - header.size) / header.entry);
  const code = image.segments(true).reduce((sum, { filesz }) => sum + filesz, 0);
  const isWhole = entries !== null && entries <= most && entries * mostUnframed > code;
  return isUsual && isWhole ? { base: found.vaddr, count: entries } : null;
}

function codeOf(machine: Dialect, list: readonly Instruction[], entry: number, end: number): Code {
  const instructions = new Map(list.map((one) => [one.address, one]));
  const known = new Map<number, Lifted>();
  const lift = (one: Instruction): Lifted => {
    const steps = machine.lift(one) ?? [{ do: "forget", to: machine.written(one), flags: true } as const];
    return { steps, next: one.address + one.size };
  };
  const lifted = (address: number): Lifted | null => {
    const before = known.get(address);
    if (before !== undefined) return before;
    const one = instructions.get(address);
    if (one === undefined) return null;
    const found = lift(one);
    known.set(address, found);
    return found;
  };
  const heads = new Set<number>();
  for (const { mnemonic, operands } of list) {
    if (!/^(j|b|cb|tb)/.test(mnemonic)) continue;
    const [, target = ""] = /#?(0x[0-9a-f]+)$/.exec(operands) ?? [];
    if (target !== "") heads.add(Number(target));
  }
  return { entry, end, instructions, heads, lifted };
}
