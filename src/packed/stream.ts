import { InputError, type InputFile } from "../input/input.ts";

const CHUNK = 256 << 10;

/**
 * Bytes that come one after the other, in chunks of which each holds until the next is asked for: none is kept of what was
 * read. An error tells the place by how many came before.
 */
export class Stream implements Disposable {
  readonly #chunks: Iterator<Uint8Array>;
  #next: Buffer = Buffer.alloc(0);
  #offset: number;
  /** The name used in errors. */
  readonly path: string;

  /** @param offset where the first byte lies, for errors */
  constructor(chunks: Iterable<Uint8Array>, path: string, offset = 0) {
    this.#chunks = chunks[Symbol.iterator]();
    this.path = path;
    this.#offset = offset;
  }

  /** Bytes of a file from `start` to before `end`. @throws InputError where they do not lie in it */
  static of(file: InputFile, start = 0, end = file.size): Stream {
    return new Stream(chunksOf(file, start, end), file.path, start);
  }

  /** How many bytes were read: the offset of the next one. */
  get offset(): number {
    return this.#offset;
  }

  /** The next bytes, which stay the next; fewer where it ends before. They hold until more are asked for. */
  peek(size: number): Buffer {
    while (this.#next.length < size) {
      // What is left of a chunk holds no longer than to the next.
      if (this.#next.length > 0) this.#next = Buffer.from(this.#next);
      const { done, value } = this.#chunks.next();
      if (done) break;
      const chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      this.#next = this.#next.length === 0 ? chunk : Buffer.concat([this.#next, chunk]);
    }
    return this.#next.subarray(0, size);
  }

  /** At least one byte and at most so many; none at the end. They hold until the next are asked for. */
  some(size: number): Buffer {
    const most = this.peek(1).length === 0 ? 0 : Math.min(size, this.#next.length);
    return this.#take(most);
  }

  /** Exactly `size` bytes. @param limit most that such a thing may have @throws InputError */
  read(size: number, what: string, limit = size): Buffer {
    if (size > limit) throw this.error(`${what} of ${size} bytes, at most ${limit}`);
    const bytes = this.peek(size);
    if (bytes.length < size) throw this.error(`${what} of ${size} bytes cut short after ${bytes.length}`);
    return Buffer.from(this.#take(size));
  }

  /** The next `size` bytes as they come, each piece until the next is asked for. @throws InputError where there are fewer */
  *pieces(size: number, what: string): Generator<Buffer> {
    for (let left = size; left > 0; ) {
      const bytes = this.some(left);
      if (bytes.length === 0) throw this.error(`${what} cut short, ${left} of its ${size} bytes are missing`);
      left -= bytes.length;
      yield bytes;
    }
  }

  /** All that is left, each piece until the next is asked for. */
  *rest(): Generator<Buffer> {
    for (let bytes = this.some(CHUNK); bytes.length > 0; bytes = this.some(CHUNK)) yield bytes;
  }

  /** Goes on behind `size` bytes. @throws InputError where there are fewer */
  skip(size: number, what: string): void {
    for (const _ of this.pieces(size, what));
  }

  /** Puts bytes back that were taken last. */
  putBack(bytes: Uint8Array): void {
    this.#offset -= bytes.length;
    this.#next = Buffer.concat([bytes, this.#next]);
  }

  /** An error that names the file. @param offset bytes from the stream's beginning; default: where it is now */
  error(what: string, offset = this.#offset): InputError {
    return new InputError(this.path, offset, what);
  }

  #take(size: number): Buffer {
    const bytes = this.#next.subarray(0, size);
    this.#next = this.#next.subarray(size);
    this.#offset += size;
    return bytes;
  }

  /** Ends the source of the bytes. */
  [Symbol.dispose](): void {
    this.#chunks.return?.();
  }
}

function* chunksOf(file: InputFile, start: number, end: number): Generator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(CHUNK, end - start)));
  for (let at = start; at < end; at += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, end - at));
    file.readInto(bytes, at, "bytes");
    yield bytes;
  }
}
