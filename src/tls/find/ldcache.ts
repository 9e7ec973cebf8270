import type { Machine } from "../../elf/elf.ts";
import { InputError, type InputFile } from "../../input/input.ts";
import { nameOf } from "../../input/name.ts";

/**
 * The dynamic linker's cache, read directly: `ldconfig -p` need not exist and may be of another root.
 * Format: glibc's sysdeps/generic/dl-cache.h. All numbers are little-endian here.
 */

const oldMagic = Buffer.from("ld.so-1.7.0");
const newMagic = Buffer.from("glibc-ld.so.cache1.1");
const oldHeaderSize = 16;
const oldEntrySize = 12;
const newHeaderSize = 48;
const newEntrySize = 24;
/** Where in an entry stands which string is its soname, and which its path. */
const fields = [4, 8] as const;
/** The new header's own alignment when it follows an old table (ALIGN_CACHE). */
const newAlign = 8;
const bigEndian = 3;
/** Bytes. A cache of a machine with every package is below 1 MiB. */
const largestCache = 64 << 20;
/** PATH_MAX: bytes of a path with its closing zero. */
const longestName = 4096;
/** ldconfig lets a name be the end of a path: all strings together are below twice their table. */
const mostOverlap = 4;

/** `flags` of an entry for a library of this machine's own 64-bit ABI (FLAG_ELF_LIBC6 and FLAG_*_LIB64). */
export const cacheFlags: Readonly<Record<Machine, number>> = { x86_64: 0x0303, aarch64: 0x0a03 };

export interface CacheEntry {
  readonly soname: string;
  /** As written by ldconfig: absolute, links not resolved. */
  readonly path: string;
  readonly flags: number;
}

/** All entries, in the cache's order: the dynamic linker takes the first that fits. @throws InputError */
export const cacheIn = (file: InputFile): readonly CacheEntry[] =>
  parseCache(file.read(0, file.size, "ld.so cache", largestCache), file.path);

/** What was read last: a run asks the same file for each library. */
let last: { readonly bytes: Buffer; readonly entries: readonly CacheEntry[] } | undefined;

/** The entries of a cache in memory. @param path name used in errors @throws InputError */
export function parseCache(bytes: Buffer, path: string): readonly CacheEntry[] {
  if (last?.bytes.equals(bytes) !== true)
    last = { bytes: Buffer.from(bytes), entries: entriesOf(bytes, path) };
  return last.entries;
}

function entriesOf(bytes: Buffer, path: string): readonly CacheEntry[] {
  const base = newTableAt(bytes, path);
  const count = bytes.readUInt32LE(base + 20);
  // Two low bits; 0 in caches from before glibc 2.33, which did not say.
  if (((bytes[base + 28] ?? 0) & 3) === bigEndian)
    throw new InputError(path, base + 28, "a big-endian ld.so cache");
  const end = base + newHeaderSize + count * newEntrySize;
  if (end > bytes.length) {
    throw new InputError(path, base + 20, `${count} entries beyond the end of ${bytes.length} bytes`);
  }
  const table = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // One decoding for all strings; as latin1 a character is a byte, so that offsets hold. Behind them more may follow, of any bytes.
  const strings = bytes.toString("latin1");
  const foreign = strings.slice(end).search(/[\x80-\xff]/);
  const plainEnd = foreign < 0 ? bytes.length : end + foreign;
  const entries: CacheEntry[] = [];
  let length = 0;
  // One loop for all: with a function called for each string the runtime would begin to compile, which in a short run takes longer.
  for (let at = base + newHeaderSize, soname = ""; at < end; at += newEntrySize) {
    for (const field of fields) {
      // Offsets in the new table count from its own header.
      const start = base + table.getUint32(at + field, true);
      if (start < end || start >= bytes.length)
        throw new InputError(path, at + field, "a string outside the string table");
      const close = strings.indexOf("\0", start);
      if (close < 0 || close - start >= longestName) {
        const what = `a string of ${longestName} bytes or more, or without an end`;
        throw new InputError(path, at + field, what);
      }
      length += close - start;
      if (length > mostOverlap * bytes.length)
        throw new InputError(path, at + field, "strings that overlap too much");
      const raw = strings.slice(start, close);
      const name = close <= plainEnd ? raw : nameOf(Buffer.from(raw, "latin1"));
      if (field === fields[0]) soname = name;
      else entries.push({ soname, path: name, flags: table.getUint32(at, true) });
    }
  }
  return entries;
}

/** Where the new table begins: at 0, or behind an old table that glibc below 2.32 still wrote before it. */
function newTableAt(bytes: Buffer, path: string): number {
  let base = 0;
  if (bytes.length >= oldHeaderSize && bytes.subarray(0, oldMagic.length).equals(oldMagic)) {
    const old = oldHeaderSize + bytes.readUInt32LE(12) * oldEntrySize;
    base = Math.ceil(old / newAlign) * newAlign;
  }
  if (base + newHeaderSize > bytes.length || !bytes.subarray(base, base + newMagic.length).equals(newMagic)) {
    throw new InputError(path, base, "no table of the format glibc-ld.so.cache1.1");
  }
  return base;
}
