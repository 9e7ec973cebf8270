import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { AT_FDCWD, openPath } from "../../ffi/descriptors.ts";
import { bytesOf, nameOf, shownName } from "../input/name.ts";
import { largestDocument } from "../output/earlier.ts";
import { Failure } from "../output/failure.ts";
import { codeOf } from "../self/thrown.ts";

const NEWLINE = 10;
const CHUNK = 1 << 20;

/** One value of JSON in an input. */
export interface Piece {
  /** The value's number, counted from 1. */
  readonly number: number;
  /** A byte that is not of UTF-8 stands as in names. Undefined where it is longer than any document: it was not kept. */
  readonly text: string | undefined;
}

/**
 * The values of JSON that an input holds one behind the other: NDJSON, and documents as they are printed for people, whose
 * last line is a bracket alone. Nothing but one of them is held in memory.
 *
 * @param input a regular file or a pipe, such as a shell's `<(...)`; `-` is standard input
 * @throws Failure where it cannot be read
 */
export async function* piecesOf(input: string): AsyncGenerator<Piece> {
  let [number, size] = [0, 0];
  let lines: Buffer[] = [];
  const piece = (): Piece => {
    const text = size > largestDocument ? undefined : nameOf(Buffer.concat(lines));
    [lines, size] = [[], 0];
    return { number: ++number, text };
  };
  for await (const line of linesOf(input)) {
    if (lines.length === 0 && isBlank(line)) continue;
    size += line.length;
    if (size <= largestDocument) lines.push(line);
    if (isWhole(line, lines.length === 1) || isClosing(line)) yield piece();
  }
  if (lines.length > 0) yield piece();
}

const [BRACE, BRACKET, CLOSING_BRACE, CLOSING_BRACKET] = Buffer.from("{[}]");
const isSpace = (byte: number | undefined): boolean =>
  byte === 32 || (byte !== undefined && byte >= 9 && byte <= 13);

/** The line without the white space at its end. */
function ending(line: Buffer): number {
  let end = line.length;
  while (end > 0 && isSpace(line[end - 1])) end--;
  return end;
}
const isBlank = (line: Buffer): boolean => ending(line) === 0;
const isClosing = (line: Buffer): boolean =>
  ending(line) === 1 && (line[0] === CLOSING_BRACE || line[0] === CLOSING_BRACKET);
function isWhole(line: Buffer, isFirst: boolean): boolean {
  const last = line[ending(line) - 1];
  return (
    isFirst &&
    ((line[0] === BRACE && last === CLOSING_BRACE) || (line[0] === BRACKET && last === CLOSING_BRACKET))
  );
}

/** Lines with their ends. One that is longer than any document comes in parts. */
async function* linesOf(input: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(input)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = chunk.subarray(start, end + 1);
      yield rest.length === 0 ? line : Buffer.concat([...rest, line]);
      [rest, size, start] = [[], 0, end + 1];
    }
    if (start === chunk.length) continue;
    rest.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size <= largestDocument) continue;
    yield Buffer.concat(rest);
    [rest, size] = [[], 0];
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}

/** The bytes of an input as they come, each chunk in memory of its own. */
async function* chunksOf(input: string): AsyncGenerator<Buffer> {
  const fd = input === "-" ? 0 : openInput(input);
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const got = await readSome(fd, chunk, input);
      if (got === 0) return;
      yield chunk.subarray(0, got);
    }
  } finally {
    if (input !== "-") closeSync(fd);
  }
}

/** How many bytes came; 0 at the end. @throws Failure */
async function readSome(fd: number, chunk: Buffer, input: string): Promise<number> {
  for (;;) {
    try {
      return readSync(fd, chunk);
    } catch (error) {
      if (!isAgain(error)) throw unreadable(input, error);
      await Bun.sleep(1); // A pipe whose writer has nothing yet: this runtime offers no wait for one.
    }
  }
}

/** Opening a device can do something, so what it is comes first. */
function openInput(input: string): number {
  try {
    using handle = openPath(AT_FDCWD, bytesOf(input), true, shownName(input));
    const stat = fstatSync(handle.fd);
    if (!stat.isFile() && !stat.isFIFO())
      throw new Failure("E_FILE", `${shownName(input)} is no regular file and no pipe`);
    return openSync(`/proc/self/fd/${handle.fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw error instanceof Failure ? error : unreadable(input, error);
  }
}

/** The failure of what the system refuses. */
export const unreadable = (input: string, error: unknown): Failure => {
  const code = codeOf(error) ?? error;
  return new Failure(
    "E_FILE",
    `${input === "-" ? "standard input" : shownName(input)} cannot be read: ${code}`,
  );
};

const isAgain = (error: unknown): boolean => codeOf(error) === "EAGAIN";
