import type { Machine } from "../../elf/elf.ts";
import { assetBytes } from "../../self/assets.ts";
import { TabledModule } from "./module.ts";
import type { Instruction } from "./step.ts";

/**
 * assets/build/capstone/capstone.c as WebAssembly: Capstone for one machine. Globals are places in its memory.
 */
interface Capstone {
  readonly memory: WebAssembly.Memory;
  readonly window: WebAssembly.Global<"i32">;
  readonly sizes: WebAssembly.Global<"i32">;
  readonly texts: WebAssembly.Global<"i32">;
  readonly text_size: WebAssembly.Global<"i32">;
  /** Decodes the window's first `size` bytes; how many instructions. */
  readonly decode: (size: number, address: number) => number;
}

/** Bytes of code that it takes at a time. */
const windowSize = 1 << 14;

/** A disassembler of one machine's code. */
export class Decoder {
  readonly #module: TabledModule;
  #capstone: Capstone | null = null;

  constructor(module: TabledModule) {
    this.#module = module;
  }

  /**
   * The instructions from the first byte on, up to the first that is none.
   *
   * @param address of the first byte, before relocation
   * @throws WebAssembly.RuntimeError where Capstone gives up on damaged code
   */
  decode(code: Uint8Array, address: number): readonly Instruction[] {
    const capstone = this.#capstone ?? (this.#module.instance() as unknown as Capstone);
    // Its stack is where it was only behind what ends well.
    this.#capstone = null;
    const instructions: Instruction[] = [];
    for (let at = 0; at < code.length; ) {
      const some = decodeWindow(capstone, code.subarray(at), address + at);
      const last = some.at(-1);
      if (last === undefined) break;
      for (const one of some) instructions.push(one);
      at = last.address + last.size - address;
    }
    this.#capstone = capstone;
    return instructions;
  }
}

/** As many as have room: one that the window cuts is the first of the next. */
function decodeWindow(capstone: Capstone, code: Uint8Array, address: number): readonly Instruction[] {
  const { memory, window, sizes, texts, text_size, decode } = capstone;
  const size = Math.min(code.length, windowSize);
  new Uint8Array(memory.buffer, window.value, size).set(code.subarray(0, size));
  const count = decode(size, address);
  const [textSize = 0] = new Uint32Array(memory.buffer, text_size.value, 1);
  const lines = Buffer.from(memory.buffer, texts.value, textSize).toString("latin1").split("\n");
  let next = address;
  return Array.from(new Uint8Array(memory.buffer, sizes.value, count), (bytes, index) => {
    const [mnemonic = "", operands = ""] = [lines[2 * index], lines[2 * index + 1]];
    const one = { address: next, size: bytes, mnemonic, operands };
    next += bytes;
    return one;
  });
}

const loaded = new Map<Machine, Decoder>();

/**
 * The disassembler of a machine's code. There is a module for each, as compiling it takes longer than what a run decodes: some 3 ms
 * for the first who asks.
 *
 * @throws when the asset is missing
 */
export function loadDecoder(machine: Machine): Decoder {
  const known = loaded.get(machine) ?? new Decoder(new TabledModule(assetBytes(`capstone-${machine}.wasm`)));
  loaded.set(machine, known);
  return known;
}
