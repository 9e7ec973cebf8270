import { isUtf8 } from "node:buffer";

/**
 * The name of a file is bytes, this runtime's texts are not. A name is kept as a string in which each byte that is not of
 * UTF-8 stands as a lone surrogate, U+DC80 to U+DCFF (PEP 383, "surrogateescape"): it is joined, cut and compared as any
 * text, and all bytes come back.
 */

const surrogates = 0xdc00;
/** A byte of a name that is not of UTF-8. */
export const foreign = /[\udc80-\udcff]/u;
const escaped = /([\udc80-\udcff])/u;
const everyEscaped = /[\udc80-\udcff]/gu;

/** The string that stands for a name of these bytes. */
export function nameOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString("utf8");
  const pieces: string[] = [];
  let start = 0;
  for (let at = 0; at < buffer.length; ) {
    const size = sequenceAt(buffer, at);
    if (size > 0) {
      at += size;
      continue;
    }
    pieces.push(buffer.toString("utf8", start, at), String.fromCharCode(surrogates + (buffer[at] ?? 0)));
    at += 1;
    start = at;
  }
  return pieces.join("") + buffer.toString("utf8", start);
}

/** The bytes of a name, as the kernel takes them. */
export const bytesOf = (name: string): Buffer =>
  escaped.test(name)
    ? Buffer.concat(
        name
          .split(escaped)
          .map((piece, index) =>
            index % 2 === 1 ? Buffer.from([piece.charCodeAt(0) - surrogates]) : Buffer.from(piece),
          ),
      )
    : Buffer.from(name);

/**
 * A name as documents and messages have it: a byte that is not of UTF-8 is `\xff`. A backslash that would then look like
 * such an escape, or like that of a control character on a terminal, is `\x5c`: two names never become one.
 */
export const shownName = (name: string): string =>
  wellFormed(name.replace(/\\(?=x(?:[0189a-f][0-9a-f]|7f|5c))/g, "\\x5c"));

/** A text with a name in it that was not shown as {@link shownName} has it: at least no byte of it is lost. */
export const wellFormed = (text: string): string =>
  text.replace(everyEscaped, (char) => `\\x${(char.charCodeAt(0) - surrogates).toString(16)}`);

/** The path of a name in a folder. This runtime's node:path loses such surrogates, as do its functions that take paths as text. */
export const below = (folder: string, name: string): string => `${folder === "/" ? "" : folder}/${name}`;
/** The folder of an absolute path. */
export const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
/** The last part of a path. */
export const lastOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** Bytes of the sequence of UTF-8 that begins there; 0 where none does (The Unicode Standard, table 3-7). */
function sequenceAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  const [low, high] = secondBytes.get(first) ?? [0x80, 0xbf];
  const second = bytes[at + 1] ?? 0;
  if (size === 0 || second < low || second > high) return 0;
  for (let next = 2; next < size; next++) if (((bytes[at + next] ?? 0) & 0xc0) !== 0x80) return 0;
  return size;
}

/** What may follow the first bytes that allow less than 80 to BF: no overlong forms, no surrogates, nothing above U+10FFFF. */
const secondBytes: ReadonlyMap<number, readonly [low: number, high: number]> = new Map([
  [0xe0, [0xa0, 0xbf]],
  [0xed, [0x80, 0x9f]],
  [0xf0, [0x90, 0xbf]],
  [0xf4, [0x80, 0x8f]],
]);
