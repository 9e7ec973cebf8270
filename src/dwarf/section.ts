import { type SectionHeader, sectionFlag } from "../elf/records.ts";
import { InputError, type InputFile } from "../input/input.ts";
import { inflated, unpacked } from "../packed/inflate.ts";
import { Stream } from "../packed/stream.ts";

/** What compresses a section stands in an Elf64_Chdr before it (gabi, "Sections"). Bytes. */
const chdr = { length: 24, type: 0, size: 8 } as const;
const compressions = { zlib: 1, zstd: 2 } as const;

/** A section with debug information, as it is or compressed. */
export class Section {
  readonly #file: InputFile;
  readonly #header: SectionHeader;
  readonly #compression: number | null;
  /** Bytes of the section once it is unpacked. */
  readonly size: number;

  /** The file stays the caller's. @throws InputError where it is compressed by what is not known */
  constructor(file: InputFile, header: SectionHeader) {
    this.#file = file;
    this.#header = header;
    if ((header.flags & sectionFlag.compressed) === 0) {
      this.#compression = null;
      this.size = header.size;
      return;
    }
    const head = file.read(header.offset, chdr.length, `${header.name}'s compression header`, chdr.length);
    this.#compression = head.readUInt32LE(chdr.type);
    this.size = Number(head.readBigUInt64LE(chdr.size));
    if (!Object.values<number>(compressions).includes(this.#compression))
      throw this.error(0, `compressed by method ${this.#compression}, which is not known`);
  }

  /** The name used in errors. */
  get path(): string {
    return this.#compression === null
      ? this.#file.path
      : `${this.#file.path}: ${this.#header.name} (unpacked)`;
  }

  /** The section's bytes from the first on, unpacked, as a stream that the caller closes. */
  open(): Stream {
    const { offset, size, name } = this.#header;
    if (this.#compression === null) return Stream.of(this.#file, offset, offset + size);
    const packed = Stream.of(this.#file, offset, offset + size);
    packed.skip(chdr.length, `${name}'s compression header`);
    return this.#compression === compressions.zlib ? inflated(packed) : unpacked(packed, this.size);
  }

  /** All bytes of the section, unpacked. @param limit most bytes it may have @throws InputError */
  whole(limit: number): Buffer {
    if (this.size > limit) throw this.error(0, `${this.size} bytes, at most ${limit}`);
    using stream = this.open();
    return filled(stream, this.size, this.#header.name);
  }

  /** An error that names this section. @param offset bytes from its beginning; of a compressed one the file's cannot be told */
  error(offset: number, what: string): InputError {
    const at = this.#compression === null ? this.#header.offset + offset : offset;
    return new InputError(this.path, at, `${this.#header.name}: ${what}`);
  }
}

/** The next `size` bytes of a stream, copied once. @throws InputError where there are fewer */
export function filled(stream: Stream, size: number, what: string): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (const piece of stream.pieces(size, what)) at += piece.copy(bytes, at);
  return bytes;
}
