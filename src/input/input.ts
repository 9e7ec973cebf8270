import { type BigIntStats, readSync } from "node:fs";
import { AT_FDCWD, open, openPath, statusOf } from "../../ffi/descriptors.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { bytesOf } from "./name.ts";

/** Bytes that a file may have: with symbols and debug information the largest programs have 4 GiB. They are read in pieces. */
export const largestFile = 2 ** 34;

export interface OpenOptions {
  /** Follow a link in the last part: one of the kernel's own in /proc, which lead to the very file, or what the user named. */
  readonly follow?: boolean;
}

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

/** A file's device and inode as one key. */
export const identityOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/**
 * A regular file opened for bounded reads.
 *
 * It is read, not mapped: a file that shrinks under a mapping kills the process, under a read it is an error.
 */
export class InputFile implements Disposable {
  readonly #file: FileDescriptor;
  /** The name used in errors. */
  readonly path: string;
  /** Bytes that it had when it was opened. */
  readonly size: number;
  /** Device and inode, which no two files of a machine share. */
  readonly identity: string;

  private constructor(file: FileDescriptor, path: string, stat: BigIntStats) {
    this.#file = file;
    this.path = path;
    this.size = Number(stat.size);
    this.identity = identityOf(stat);
  }

  /**
   * @param host path to open; without `follow` its last part must not be a symbolic link
   * @param shown name used in errors, where it differs (another root)
   * @throws InputError when it is not a regular file or too large; the system's error when it cannot be opened
   */
  static open(host: string, shown = host, { follow = false }: OpenOptions = {}): InputFile {
    // Opening a device can do something (a watchdog starts), so what it is comes first, by a handle no one can swap.
    using handle = openPath(AT_FDCWD, bytesOf(host), follow, shown);
    return InputFile.of(handle.fd, shown);
  }

  /**
   * The file that a handle (O_PATH) leads to, whatever lies at its path by now. The handle stays the caller's.
   *
   * @param shown name used in errors @throws as {@link open}
   */
  static of(handle: number, shown: string): InputFile {
    const stat = statusOf(handle, shown);
    if (stat.isSymbolicLink()) throw new InputError(shown, 0, "a symbolic link (ELOOP)");
    if (!stat.isFile()) throw new InputError(shown, 0, "not a regular file");
    if (stat.size > largestFile) throw new InputError(shown, 0, `${stat.size} bytes are more than 16 GiB`);
    return new InputFile(open(`/proc/self/fd/${handle}`, shown), shown, stat);
  }

  /** The open descriptor, which leads to this very file whatever lies at its path now. It is closed with this. */
  get fd(): number {
    return this.#file.fd;
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
    this.#check(offset, length, what);
    const bytes = Buffer.allocUnsafe(length);
    this.#fill(bytes, offset, what);
    return bytes;
  }

  /** Fills `bytes` with what lies at `offset`. @throws InputError when that does not lie inside the file */
  readInto(bytes: Buffer, offset: number, what: string): void {
    this.#check(offset, bytes.length, what);
    this.#fill(bytes, offset, what);
  }

  #check(offset: number, length: number, what: string): void {
    void this.fd; // throws once the file is closed, also where no byte is asked for
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new InputError(this.path, offset, `${what} of ${length} bytes beyond the end of ${this.size}`);
    }
  }

  #fill(bytes: Buffer, offset: number, what: string): void {
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.fd, bytes, done, bytes.length - done, offset + done);
      if (got === 0) throw new InputError(this.path, offset + done, `${what} cut short: the file shrank`);
      done += got;
    }
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
