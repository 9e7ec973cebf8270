/** Ids of the binary format (WebAssembly core specification, 5.5.2 and 5.5.14): a section, and an active segment of the only memory. */
const [dataSection, activeSegment] = [11, 0];
const headerSize = 8;

interface Segment {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/**
 * A module of ours whose tables are put into its memory here: the runtime would check and keep each byte of them, which takes longer than
 * to compile what reads them.
 */
export class TabledModule {
  readonly #module: WebAssembly.Module;
  readonly #segments: readonly Segment[];

  /** @param bytes of a module that ends with its data, if it has any, and exports its memory as `memory` */
  constructor(bytes: Uint8Array) {
    const reader = new Reader(bytes);
    for (reader.at = headerSize; reader.at < bytes.length && bytes[reader.at] !== dataSection; ) {
      reader.at += 1;
      const size = reader.number();
      reader.at += size;
    }
    this.#module = new WebAssembly.Module(bytes.subarray(0, reader.at) as Uint8Array<ArrayBuffer>);
    reader.at += 1;
    reader.number();
    this.#segments = Array.from({ length: reader.number() }, () => reader.segment());
  }

  /** A new instance. */
  instance(): WebAssembly.Instance["exports"] {
    const { exports } = new WebAssembly.Instance(this.#module);
    const memory = new Uint8Array((exports.memory as WebAssembly.Memory).buffer);
    for (const { at, bytes } of this.#segments) memory.set(bytes, at);
    return exports;
  }
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** An unsigned LEB128 (5.2.2); a place in memory is written as a signed one, which below 2 GiB is the same. */
  number(): number {
    let [value, shift] = [0, 0];
    for (;;) {
      const byte = this.#bytes[this.at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
      shift += 7;
    }
  }

  segment(): Segment {
    if (this.number() !== activeSegment) throw new Error("a segment that is not active");
    // i32.const, the number, end.
    this.at += 1;
    const at = this.number();
    this.at += 1;
    const size = this.number();
    const bytes = this.#bytes.subarray(this.at, this.at + size);
    this.at += size;
    return { at, bytes };
  }
}
