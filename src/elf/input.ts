import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

/** A library of more than this many bytes is not one; it bounds every later read. */
const largestFile = 1024 * 1024 * 1024;

/** A file that is not what it should be: says which file, where in it (bytes from its start) and what was wrong. */
export class InputError extends Error {
  override readonly name = "InputError";
  readonly path: string;
  readonly offset: number;

  constructor(path: string, offset: number, what: string) {
    super(`${path}: ${what} (at offset 0x${offset.toString(16)})`);
    this.path = path;
    this.offset = offset;
  }
}

/**
 * A regular file opened for bounded reads.
 *
 * It is read, not mapped: a file that shrinks under a mapping kills the process, under a read it is an error.
 */
export class InputFile implements Disposable {
  readonly #fd: number;
  /** The name used in errors. */
  readonly path: string;
  /** Bytes, as of opening. */
  readonly size: number;

  private constructor(fd: number, path: string, size: number) {
    this.#fd = fd;
    this.path = path;
    this.size = size;
  }

  /**
   * @param host path to open; its last part must not be a symbolic link
   * @param shown name used in errors, where it differs (another root)
   * @throws InputError when it is not a regular file or too large; the system's error when it cannot be opened
   */
  static open(host: string, shown = host): InputFile {
    // O_NONBLOCK: a FIFO put in a library's place must not make us wait for a writer.
    const fd = openSync(host, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new InputError(shown, 0, "not a regular file");
      if (stat.size > largestFile) throw new InputError(shown, 0, `${stat.size} bytes are more than 1 GiB`);
      return new InputFile(fd, shown, stat.size);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Exactly `length` bytes at `offset`.
   *
   * @param what names the thing read, for the error
   * @param limit most bytes such a thing may have
   * @throws InputError when it does not lie inside the file, or is larger than `limit`
   */
  read(offset: number, length: number, what: string, limit: number): Buffer {
    if (length > limit)
      throw new InputError(this.path, offset, `${what} of ${length} bytes, at most ${limit}`);
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new InputError(this.path, offset, `${what} of ${length} bytes beyond the end of ${this.size}`);
    }
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const got = readSync(this.#fd, bytes, done, length - done, offset + done);
      if (got === 0) throw new InputError(this.path, offset + done, `${what} cut short: the file shrank`);
      done += got;
    }
    return bytes;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
