import { nameOf } from "../input/name.ts";
import { StrandedError } from "../net/namespace.ts";
import type { GatewayAnswer, GatewayLine } from "../output/document.ts";
import { asFailure } from "../output/failure.ts";
import { toJsonLine } from "../output/json.ts";
import type { AskedRoute } from "./lookup.ts";
import { type GatewayQuestion, parseQuestion } from "./question.ts";

/** Two addresses with scopes and a path of PATH_MAX are shorter. */
const LONGEST_LINE = 4096 + 256;
/** Bytes that are written at once. */
const LARGEST_WRITE = 64 << 10;
const NEWLINE = 10;

/** What a batch came to. */
export interface BatchResult {
  readonly lines: number;
  /** Lines that could not be read or looked up. */
  readonly errors: number;
  /** Answers with something in them that could not be told. */
  readonly incomplete: number;
}

/** Lines that are looked up together. A socket holds some 50 answers (net.core.rmem_default), of which a line has two. */
const FLIGHT = 16;

/** What answers questions, each in the network namespace of a name; undefined: none is named. */
export interface Lookup {
  /** Told the questions that come next, before they are asked. */
  expect(coming: readonly AskedRoute[]): void;
  lookup(question: GatewayQuestion, netns: string | undefined): Promise<GatewayAnswer>;
}

/**
 * Answers lines of `SRC DST [NETNS]` with lines of JSON, in order, as they come: what is answered is written before
 * more is read. Empty lines are passed over; a line that is wrong is answered with what is wrong.
 *
 * @param write returns whether there still is a reader; without one the batch ends
 * @param usual the network namespace of lines that name none
 */
export async function answerBatch(
  input: AsyncIterable<Uint8Array>,
  lookup: Lookup,
  write: (text: string) => Promise<boolean>,
  usual?: string,
): Promise<BatchResult> {
  const result = { lines: 0, errors: 0, incomplete: 0 };
  for await (const lines of linesOf(input)) {
    const read = lines.filter(({ text }) => text?.trim() !== "").map((each) => readLine(each, usual));
    let answers = "";
    for (let at = 0; at < read.length; at += FLIGHT) {
      const flight = read.slice(at, at + FLIGHT);
      lookup.expect(flight.filter((each) => "question" in each));
      for (const line of flight) {
        result.lines++;
        const answer = await answerLine(line, lookup);
        if ("code" in answer) result.errors++;
        else if (!isComplete(answer)) result.incomplete++;
        answers += `${toJsonLine(answer)}\n`;
      }
      if (answers.length < LARGEST_WRITE) continue;
      // Never amid a flight: a reader may be slow, and what was asked for together grows old.
      if (!(await write(answers))) return result;
      answers = "";
    }
    if (answers !== "" && !(await write(answers))) return result;
  }
  return result;
}

/** Whether all that was asked is known: a subnet is asked for where there is a gateway. */
export const isComplete = ({ route, gateway, subnet }: GatewayAnswer): boolean =>
  route !== null && (route !== "gateway" || (gateway !== null && subnet !== null));

/** What a line asks, or what is wrong with it. */
type ReadLine = { readonly line: number } & (
  | AskedRoute
  | { readonly code: string; readonly message: string }
);

function readLine({ number: line, text }: Line, usual: string | undefined): ReadLine {
  const wrong = (message: string): ReadLine => ({ line, code: "E_LINE", message });
  if (text === undefined) return wrong(`longer than ${LONGEST_LINE} bytes`);
  // The rest of the line is the namespace: a path may hold spaces.
  const [, source, destination, netns] = /^\s*(\S+)\s+(\S+)(?:\s+(\S.*?))?\s*$/s.exec(text) ?? [];
  if (source === undefined || destination === undefined) return wrong("expected SRC DST [NETNS]");
  try {
    return { line, question: parseQuestion({ source, destination }), netns: netns ?? usual };
  } catch (error) {
    return failed(line, error);
  }
}

async function answerLine(read: ReadLine, lookup: Lookup): Promise<GatewayLine> {
  if ("code" in read) return read;
  const { line, question, netns } = read;
  try {
    return { line, ...(await lookup.lookup(question, netns)) };
  } catch (error) {
    if (error instanceof StrandedError) throw error;
    return failed(line, error);
  }
}

function failed(line: number, error: unknown): Extract<GatewayLine, { code: string }> {
  const { code, message } = asFailure(error);
  return { line, code, message };
}

interface Line {
  /** The line's number, counted from 1. */
  readonly number: number;
  /** The line's text; undefined where it was too long to be kept. */
  readonly text: string | undefined;
}

/** The lines that each chunk completes; the last one need not end in a newline. */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line[]> {
  let number = 0;
  let rest: Uint8Array = new Uint8Array(0);
  let isTooLong = false;
  const line = (bytes: Uint8Array): Line => {
    const isKept = !isTooLong && rest.length + bytes.length <= LONGEST_LINE;
    // A path may be of any bytes.
    const text = isKept ? nameOf(rest.length === 0 ? bytes : Buffer.concat([rest, bytes])) : undefined;
    rest = new Uint8Array(0);
    isTooLong = false;
    return { number: ++number, text };
  };
  for await (const chunk of chunks) {
    const lines: Line[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      lines.push(line(chunk.subarray(start, end)));
      start = end + 1;
    }
    isTooLong ||= rest.length + chunk.length - start > LONGEST_LINE;
    rest = isTooLong ? new Uint8Array(0) : Buffer.concat([rest, chunk.subarray(start)]);
    if (lines.length > 0) yield lines;
  }
  if (isTooLong || rest.length > 0) yield [line(new Uint8Array(0))];
}
