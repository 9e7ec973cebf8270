import { nameOf } from "../elf/name.ts";
import { StrandedError } from "../net/namespace.ts";
import type { GatewayAnswer, GatewayLine } from "../output/document.ts";
import { asFailure } from "../output/failure.ts";
import { toJsonLine } from "../output/json.ts";
import { parseQuestion, type Question } from "./question.ts";

/** Two addresses with scopes and a path of PATH_MAX are shorter. */
const LONGEST_LINE = 4096 + 256;
/** What is written at once. */
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

/** Looks up one question in the network namespace of this name; undefined: none is named. */
type Look = (question: Question, netns: string | undefined) => Promise<GatewayAnswer>;

/**
 * Answers lines of `SRC DST [NETNS]` with lines of JSON, in order, as they come: what is answered is written before
 * more is read. Empty lines are passed over; a line that is wrong is answered with what is wrong.
 *
 * @param write returns whether there still is a reader; without one the batch ends
 */
export async function answerBatch(
  input: AsyncIterable<Uint8Array>,
  look: Look,
  write: (text: string) => Promise<boolean>,
): Promise<BatchResult> {
  const result = { lines: 0, errors: 0, incomplete: 0 };
  for await (const lines of linesOf(input)) {
    let answers = "";
    for (const { number, text } of lines) {
      if (text?.trim() === "") continue;
      result.lines++;
      const answer = await answerLine(number, text, look);
      if ("code" in answer) result.errors++;
      else if (!isComplete(answer)) result.incomplete++;
      answers += `${toJsonLine(answer)}\n`;
      if (answers.length < LARGEST_WRITE) continue;
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

async function answerLine(line: number, text: string | undefined, look: Look): Promise<GatewayLine> {
  const wrong = (message: string): GatewayLine => ({ line, code: "E_LINE", message });
  if (text === undefined) return wrong(`longer than ${LONGEST_LINE} bytes`);
  // The rest of the line is the namespace: a path may hold spaces.
  const [, source, destination, netns] = /^\s*(\S+)\s+(\S+)(?:\s+(\S.*?))?\s*$/s.exec(text) ?? [];
  if (source === undefined || destination === undefined) return wrong("expected SRC DST [NETNS]");
  try {
    return { line, ...(await look(parseQuestion({ source, destination }), netns)) };
  } catch (error) {
    if (error instanceof StrandedError) throw error;
    const { code, message } = asFailure(error);
    return { line, code, message };
  }
}

interface Line {
  /** Counted from 1. */
  readonly number: number;
  /** Undefined where it is too long: it was not kept. */
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
