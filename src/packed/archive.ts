import { nameOf } from "../input/name.ts";
import type { Stream } from "./stream.ts";

/** A file in an archive. */
export interface ArchiveEntry {
  /** As it is written there, without a leading `./` or `/`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** A regular file, with bytes of its own: no folder, no link. */
  readonly isFile: boolean;
}

/**
 * Calls `visit` with each entry of an archive until it has an answer, while the stream is at the entry's bytes: it takes as
 * many of them as it likes.
 * @returns the answer; null where there is none @throws InputError
 */
export type ArchiveWalk = <Found>(
  archive: Stream,
  visit: (entry: ArchiveEntry, bytes: () => Generator<Buffer>) => Found | null,
) => Found | null;

/** Names of more bytes are none (PATH_MAX). */
const longestName = 4096;
/** Entries that an archive may have: the largest kernel package has some ten thousand. */
const mostEntries = 1_000_000;

/** An entry's header with what stands behind it; null at the archive's end. */
interface Header extends ArchiveEntry {
  /** Bytes behind the entry's own, up to the next header. */
  readonly padding: number;
}

const walkBy =
  (header: (archive: Stream) => Header | null): ArchiveWalk =>
  (archive, visit) => {
    for (let count = 0; count < mostEntries; count++) {
      const entry = header(archive);
      if (entry === null) return null;
      const what = `"${entry.name}"`;
      const end = archive.offset + entry.size;
      const found = visit(entry, () => archive.pieces(entry.size, what));
      if (found !== null) return found;
      archive.skip(end - archive.offset + entry.padding, what);
    }
    throw archive.error(`more than ${mostEntries} entries`);
  };

const padding = (size: number, unit: number): number => (unit - (size % unit)) % unit;
const bare = (name: string): string => name.replace(/^(?:\.?\/)+/, "");
const textIn = (bytes: Buffer): string => {
  const end = bytes.indexOf(0);
  return nameOf(end < 0 ? bytes : bytes.subarray(0, end));
};

/** A number as it stands in a header; what is none is an error. @param base 8, 10 or 16 */
function numberIn(archive: Stream, bytes: Buffer, base: number, what: string, at: number): number {
  const text = bytes.toString("latin1").replaceAll("\0", " ").trim();
  const value = /^[0-9a-f]+$/i.test(text) ? Number.parseInt(text, base) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw archive.error(`${what} is "${text}", no number`, at);
}

export const AR_MAGIC = "!<arch>\n";

/** ar(5), as dpkg-deb writes it. @throws InputError for what is no such archive */
export const walkAr: ArchiveWalk = (archive, visit) => {
  if (archive.read(8, "ar's magic").toString("latin1") !== AR_MAGIC) throw archive.error("no ar archive", 0);
  return walkBy((from) => {
    const at = from.offset;
    if (from.peek(1).length === 0) return null;
    const header = from.read(60, "ar header");
    if (header.toString("latin1", 58) !== "`\n") throw from.error("no ar header", at);
    const size = numberIn(from, header.subarray(48, 58), 10, "the size in ar's header", at + 48);
    const name = header.toString("latin1", 0, 16).trimEnd().replace(/\/$/, "");
    return { name, size, isFile: true, padding: size % 2 };
  })(archive, visit);
};

const BLOCK = 512;
/** Place and size of a tar header's members: POSIX ustar, and GNU's. */
const tar = { name: 100, size: 124, sum: 148, type: 156, magic: 257, prefix: 345 } as const;
const isTarText = (type: string): boolean => type === "L" || type === "K" || type === "x" || type === "g";

/** Tar archives with the long names of GNU and pax. */
export const walkTar: ArchiveWalk = walkBy((archive) => {
  let longName: string | undefined;
  let longSize: number | undefined;
  for (;;) {
    const at = archive.offset;
    if (archive.peek(1).length === 0) return null;
    const header = archive.read(BLOCK, "tar header");
    if (header.every((byte) => byte === 0)) return null;
    const stored = numberIn(archive, header.subarray(tar.sum, tar.sum + 8), 8, "the sum in tar's header", at);
    const sum = header.reduce(
      (total, byte, index) => total + (index >= tar.sum && index < tar.type ? 32 : byte),
      0,
    );
    if (sum !== stored) throw archive.error("tar header: its sum is wrong", at);
    const field = header.subarray(tar.size, tar.size + 12);
    // GNU writes sizes that do not fit in base 256, with the highest bit set.
    const size =
      ((field[0] ?? 0) & 0x80) === 0
        ? numberIn(archive, field, 8, "the size in tar's header", at + tar.size)
        : Number(field.readBigUInt64BE(4) & ((1n << 53n) - 1n));
    const type = String.fromCharCode(header[tar.type] ?? 0);
    if (!isTarText(type)) {
      const isUstar = header.toString("latin1", tar.magic, tar.magic + 6) === "ustar\0";
      const prefix = isUstar ? textIn(header.subarray(tar.prefix, tar.prefix + 155)) : "";
      const short = textIn(header.subarray(0, tar.name));
      const name = bare(longName ?? (prefix === "" ? short : `${prefix}/${short}`));
      const bytes = longSize ?? size;
      return { name, size: bytes, isFile: "0\0".includes(type), padding: padding(bytes, BLOCK) };
    }
    const text = archive.read(size, "a long name of tar", 64 << 10);
    if (type === "L") longName = textIn(text);
    if (type === "x") {
      longName = paxIn(text, "path") ?? longName;
      const pax = paxIn(text, "size");
      if (pax !== undefined)
        longSize = numberIn(archive, Buffer.from(pax), 10, "the size in pax's header", at);
    }
    archive.skip(padding(size, BLOCK), "tar");
  }
});

/** A record "LENGTH KEY=VALUE\n" of a pax header. */
function paxIn(bytes: Buffer, key: string): string | undefined {
  for (let at = 0; at < bytes.length; ) {
    const length = Number.parseInt(bytes.toString("latin1", at, at + 8), 10);
    if (!(length > 0)) return undefined;
    const record = nameOf(bytes.subarray(at, at + length));
    const [, name, value] = /^\d+ ([^=]+)=(.*)\n$/s.exec(record) ?? [];
    if (name === key) return value;
    at += length;
  }
  return undefined;
}

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

/** The archive in an rpm: cpio(5), "New ASCII Format". */
export const walkCpio: ArchiveWalk = walkBy((archive) => {
  const at = archive.offset;
  const header = archive.read(110, "cpio header");
  const magic = header.toString("latin1", 0, 6);
  if (magic !== "070701" && magic !== "070702") throw archive.error("no cpio header", at);
  const field = (index: number, what: string): number =>
    numberIn(archive, header.subarray(6 + index * 8, 14 + index * 8), 16, what, at + 6 + index * 8);
  const [mode, size, nameSize] = [field(1, "the mode"), field(6, "the size"), field(11, "the name's size")];
  const name = textIn(archive.read(nameSize, "a name in cpio", longestName));
  archive.skip(padding(110 + nameSize, 4), "cpio");
  if (name === "TRAILER!!!") return null;
  return { name: bare(name), size, isFile: (mode & S_IFMT) === S_IFREG, padding: padding(size, 4) };
});

export const RPM_MAGIC = 0xedabeedb;
const RPM_LEAD = 96;
const RPM_HEADER = 0x8eade801;
/** Bytes of an index entry; bytes of a header's data, of which kernels with ten thousand files have some 2 MiB. */
const rpm = { entry: 16, largest: 64 << 20 } as const;

/**
 * Goes on to the archive in an rpm: behind the lead, the signature, and the header (LSB core, "Package File Format").
 * @throws InputError where one of them is not there
 */
export function skipToRpmPayload(archive: Stream): void {
  archive.skip(RPM_LEAD, "the lead of an rpm");
  for (const what of ["the signature of an rpm", "the header of an rpm"]) {
    const at = archive.offset;
    const header = archive.read(16, what);
    if (header.readUInt32BE(0) !== RPM_HEADER) throw archive.error(`${what} is not there`, at);
    const size = header.readUInt32BE(8) * rpm.entry + header.readUInt32BE(12);
    if (size > rpm.largest) throw archive.error(`${what} of ${size} bytes, at most ${rpm.largest}`, at);
    archive.skip(size, what);
    if (what.includes("signature")) archive.skip(padding(size, 8), what);
  }
}
