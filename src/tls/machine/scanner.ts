import { assetBytes } from "../../self/assets.ts";

/**
 * What is looked for from a place of the window on; how far it came before there were too many hits. In bytes.
 *
 * @param about the address of the window's first byte; of relocations the kind that is looked for
 */
type Look = (from: number, length: number, about: number) => number;

/**
 * assets/build/scanner/scanner.c as WebAssembly, which is quick from the first window on, where JavaScript would begin to be so when
 * most files end. Globals are places in its memory.
 */
interface Module {
  readonly memory: WebAssembly.Memory;
  readonly window: WebAssembly.Global<"i32">;
  readonly hits: WebAssembly.Global<"i32">;
  readonly count: WebAssembly.Global<"i32">;
  readonly wanted: WebAssembly.Global<"i32">;
  readonly near: WebAssembly.Global<"i32">;
  readonly __heap_base: WebAssembly.Global<"i32">;
  readonly note: (from: number, size: number, shift: number) => void;
  readonly x86Movable: Look;
  readonly x86Fixed: Look;
  readonly x86Transfers: Look;
  readonly arm64Names: Look;
  readonly arm64Transfers: Look;
  readonly relocationsAt: Look;
  readonly relocationsTo: Look;
}

/**
 * Instructions that name an address, in files that may be loaded anywhere or not; those that call or jump; relocations by where they lie,
 * or by what they make a pointer to.
 */
export type Sought = { [Name in keyof Module]: Module[Name] extends Look ? Name : never }[keyof Module];

/** What is looked for, and in how many of the window's bytes. Addresses before relocation. */
interface Question {
  readonly sought: Sought;
  /** The addresses that are looked for. The set must not be changed afterwards. */
  readonly wanted: ReadonlySet<number>;
  readonly length: number;
  readonly about: number;
}

/** Bytes of the window, of a table of wanted addresses, of a page of memory, and of WebAssembly's memory. */
const sizes = { window: 1 << 20, wanted: 1 << 13, page: 1 << 12, memory: 1 << 16 };
/** Bits of an address by which most that are not wanted are turned away. */
const lowest = 0xffff;

/**
 * Finds instructions in machine code that have an address in them, without decoding it, and pointers that relocations tell. Bytes that
 * only look like an instruction are found too. There is one, and one at a time looks through a file by it.
 */
export class Scanner {
  readonly #module: Module;
  #wanted: ReadonlySet<number> = new Set();

  constructor(module: Module) {
    this.#module = module;
  }

  /** Where what is looked through is put; another one once calls are noted. */
  get window(): Buffer {
    return Buffer.from(this.#module.memory.buffer, this.#module.window.value, sizes.window);
  }

  /**
   * Has calls noted to each 2^shift bytes from an address on. @param size bytes
   * @returns what gives the notes, one bit each
   */
  note(from: number, size: number, shift: number): () => Uint8Array {
    const { memory, __heap_base: base } = this.#module;
    const bytes = (size >>> (shift + 3)) + 1;
    const lacking = base.value + bytes - memory.buffer.byteLength;
    if (lacking > 0) memory.grow(Math.ceil(lacking / sizes.memory));
    new Uint8Array(memory.buffer, base.value, bytes).fill(0);
    this.#module.note(from, size, shift);
    return () => new Uint8Array(memory.buffer, base.value, bytes).slice();
  }

  /**
   * Tells of each that has a wanted address, in the window's first bytes: where it lies, and the address in it.
   *
   * @param about as of `Look`
   */
  look({ sought, wanted, length, about }: Question, tell: (at: number, target: number) => void): void {
    const { memory, count, hits, [sought]: look } = this.#module;
    if (wanted !== this.#wanted) this.#want(wanted);
    const isByPlace = sought === "relocationsAt";
    for (let from = 0; from < length; ) {
      from = look(from, length, about);
      const [found = 0] = new Uint32Array(memory.buffer, count.value, 1);
      const pairs = new Float64Array(memory.buffer, hits.value, 2 * found);
      for (let one = 0; one < found; one++) {
        const [at, target] = [pairs[2 * one] ?? 0, pairs[2 * one + 1] ?? 0];
        if (wanted.has(isByPlace ? at : target)) tell(at, target);
      }
    }
  }

  #want(targets: ReadonlySet<number>): void {
    this.#wanted = targets;
    const { memory, wanted, near } = this.#module;
    const bits = [wanted, near].map(({ value }) =>
      new Uint8Array(memory.buffer, value, sizes.wanted).fill(0),
    );
    const [ends = new Uint8Array(), pages = new Uint8Array()] = bits;
    for (const target of targets) {
      set(ends, target & lowest);
      const page = Math.floor(target / sizes.page);
      set(pages, page & lowest);
      set(pages, (page - 1) & lowest);
    }
  }
}

function set(bits: Uint8Array, bit: number): void {
  bits[bit >>> 3] = (bits[bit >>> 3] ?? 0) | (1 << (bit & 7));
}

let loaded: Scanner | undefined;

/** Takes some milliseconds for the first who asks. @throws when the asset is missing */
export function loadScanner(): Scanner {
  loaded ??= new Scanner(
    new WebAssembly.Instance(new WebAssembly.Module(assetBytes("scanner.wasm"))).exports as unknown as Module,
  );
  return loaded;
}
