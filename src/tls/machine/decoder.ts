import type { Machine } from "../../elf/elf.ts";
import { assetBytes } from "../../self/assets.ts";
import type { Instruction } from "./step.ts";

/**
 * Capstone 5 as WebAssembly, from the npm package capstone-wasm, of which only this file is used: its JavaScript
 * carries no licence. The exports have the one-letter names Emscripten gave them in version 1.0.3, which is pinned.
 */
interface Capstone {
  readonly c: WebAssembly.Memory;
  /** Emscripten's start-up. */
  readonly d: () => void;
  /** cs_open(arch, mode, &handle): 0 when it worked. */
  readonly i: (arch: number, mode: number, handle: number) => number;
  /** cs_disasm(handle, code, size, address, most, &instructions): how many. */
  readonly l: (
    handle: number,
    code: number,
    size: number,
    address: bigint,
    most: number,
    out: number,
  ) => number;
  /** cs_free(instructions, count). */
  readonly m: (instructions: number, count: number) => void;
  /** malloc(size), free(pointer). */
  readonly x: (size: number) => number;
  readonly y: (pointer: number) => void;
}

/** CS_ARCH_* and CS_MODE_* of capstone.h. */
const modes: Readonly<Record<Machine, readonly [number, number]>> = { x86_64: [3, 8], aarch64: [1, 0] };

/** struct cs_insn of capstone.h, on a machine with 4-byte pointers. Bytes. */
const layout = {
  size: 240,
  address: 8,
  length: 16,
  mnemonic: 42,
  operands: 74,
  mnemonicSize: 32,
  operandsSize: 160,
};

export interface Decoder {
  /**
   * The instructions from the first byte on, up to the first that is none.
   * @param address of the first byte, before relocation
   */
  decode(machine: Machine, code: Uint8Array, address: number): readonly Instruction[];
}

let loading: Promise<Decoder> | undefined;

/** The disassembler, compiled for the first who asks. @throws when the asset is missing */
export function loadDecoder(): Promise<Decoder> {
  loading ??= compile();
  return loading;
}

/** Takes some 50 ms and 16 MiB. */
async function compile(): Promise<Decoder> {
  const imports = {
    // Emscripten's emscripten_resize_heap: 0 refuses, so that 16 MiB is all it ever has.
    a: {
      a: () => 0,
      b: (to: number, from: number, size: number) =>
        new Uint8Array(exports.c.buffer).copyWithin(to, from, from + size),
    },
  };
  const { instance } = await WebAssembly.instantiate(assetBytes("capstone.wasm"), imports);
  const exports = instance.exports as unknown as Capstone;
  exports.d();
  return new CapstoneDecoder(exports);
}

class CapstoneDecoder implements Decoder {
  readonly #capstone: Capstone;
  readonly #handles = new Map<Machine, number>();

  constructor(capstone: Capstone) {
    this.#capstone = capstone;
  }

  decode(machine: Machine, code: Uint8Array, address: number): readonly Instruction[] {
    const { c: memory, l: disassemble, m: release, x: malloc, y: free } = this.#capstone;
    const handle = this.#handle(machine);
    const input = malloc(code.length + 4);
    new Uint8Array(memory.buffer).set(code, input + 4);
    const count = disassemble(handle, input + 4, code.length, BigInt(address), 0, input);
    const view = new DataView(memory.buffer);
    const first = view.getUint32(input, true);
    free(input);
    if (count === 0) return [];
    const bytes = Buffer.from(memory.buffer);
    const text = (at: number, most: number): string => {
      const end = bytes.indexOf(0, at);
      return bytes.toString("latin1", at, Math.min(end < 0 ? at : end, at + most));
    };
    const instructions = Array.from({ length: count }, (_, index) => {
      const at = first + index * layout.size;
      return {
        address: Number(view.getBigUint64(at + layout.address, true)),
        size: view.getUint16(at + layout.length, true),
        mnemonic: text(at + layout.mnemonic, layout.mnemonicSize),
        operands: text(at + layout.operands, layout.operandsSize),
      };
    });
    release(first, count);
    return instructions;
  }

  #handle(machine: Machine): number {
    const opened = this.#handles.get(machine);
    if (opened !== undefined) return opened;
    const { c: memory, i: open, x: malloc } = this.#capstone;
    const at = malloc(4);
    const [arch, mode] = modes[machine];
    const status = open(arch, mode, at);
    if (status !== 0) throw new Error(`capstone cannot decode ${machine}: error ${status}`);
    const handle = new DataView(memory.buffer).getUint32(at, true);
    this.#handles.set(machine, handle);
    return handle;
  }
}
