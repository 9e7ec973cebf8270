import { bytesOf, nameOf } from "../input/name.ts";
import { StrandedError } from "../net/namespace.ts";
import { asFailure } from "../output/failure.ts";
import type { GatewayLine } from "../output/gateway-schema.ts";
import { toJsonLine } from "../output/json.ts";
import type { AskedRoute, Way } from "./lookup.ts";
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
  /** What is told of a question but its addresses; the same object where it is told again. */
  way(question: GatewayQuestion, netns: string | undefined): Way | Promise<Way>;
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
  const ways = new WeakMap<Way, WrittenWay>();
  for await (const { first, texts } of linesOf(input)) {
    let answers = "";
    for (let at = 0; at < texts.length; at += FLIGHT) {
      const flight: ReadLine[] = [];
      for (let next = at; next < Math.min(at + FLIGHT, texts.length); next++) {
        const text = texts[next];
        if (text?.trim() !== "") flight.push(readLine(first + next, text, usual));
      }
      lookup.expect(flight.filter((each) => "question" in each));
      for (const line of flight) {
        result.lines++;
        const told = answerLine(line, lookup);
        // To wait for what is there takes as long as to tell it.
        const answer = told instanceof Promise ? await told : told;
        if ("code" in line || "code" in answer) {
          result.errors++;
          answers += `${toJsonLine(answer)}\n`;
          continue;
        }
        let way = ways.get(answer);
        if (way === undefined) {
          way = written(answer);
          ways.set(answer, way);
        }
        if (!way.isComplete) result.incomplete++;
        answers += writeLine(line, way.members);
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
export const isComplete = ({ route, gateway, subnet }: Way): boolean =>
  route !== null && (route !== "gateway" || (gateway !== null && subnet !== null));

/** A way as the members of a JSON object. */
interface WrittenWay {
  readonly members: string;
  readonly isComplete: boolean;
}

const written = (way: Way): WrittenWay => ({
  members: toJsonLine(way).slice(1, -1),
  isComplete: isComplete(way),
});

/** A {@link GatewayLine} as JSON. Most of it is told of many lines; the text of an address needs no escapes. */
function writeLine({ line, question }: AskedLine, members: string): string {
  const { source, destination, translated } = question;
  const from = source === undefined ? "null" : `"${source.text}"`;
  const other = translated === undefined ? "" : `"translated":"${translated.text}",`;
  return `{"line":${line},"source":${from},"destination":"${destination.text}",${other}${members}}\n`;
}

/** What a line asks, or what is wrong with it. */
type ReadLine = AskedLine | WrongLine;
type AskedLine = AskedRoute & { readonly line: number };
type WrongLine = Extract<GatewayLine, { code: string }>;

function readLine(line: number, text: string | undefined, usual: string | undefined): ReadLine {
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

function answerLine(read: ReadLine, lookup: Lookup): Way | WrongLine | Promise<Way | WrongLine> {
  if ("code" in read) return read;
  const { line, question, netns } = read;
  try {
    const way = lookup.way(question, netns);
    return way instanceof Promise ? way.catch((error: unknown) => failed(line, error)) : way;
  } catch (error) {
    return failed(line, error);
  }
}

/** @throws what ends the batch: a thread that cannot come home would look in the wrong namespace */
function failed(line: number, error: unknown): WrongLine {
  if (error instanceof StrandedError) throw error;
  const { code, message } = asFailure(error);
  return { line, code, message };
}

interface Lines {
  /** The number of the first, counted from 1. */
  readonly first: number;
  /** Undefined where one was too long to be kept. */
  readonly texts: readonly (string | undefined)[];
}

/** The lines that each chunk completes; the last one need not end in a newline. */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Lines> {
  let first = 1;
  let rest: Uint8Array = new Uint8Array(0);
  let isTooLong = false;
  const linesIn = (bytes: Uint8Array): Lines => {
    // A path may be of any bytes; none of a longer character is a newline.
    const texts = nameOf(rest.length === 0 ? bytes : Buffer.concat([rest, bytes])).split("\n");
    const lines = {
      first,
      texts: texts.map((text, at) => (isLong(text) || (at === 0 && isTooLong) ? undefined : text)),
    };
    first += texts.length;
    return lines;
  };
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end >= 0) {
      yield linesIn(chunk.subarray(0, end));
      rest = new Uint8Array(0);
      isTooLong = false;
    }
    isTooLong ||= rest.length + chunk.length - (end + 1) > LONGEST_LINE;
    rest = isTooLong ? new Uint8Array(0) : Buffer.concat([rest, chunk.subarray(end + 1)]);
  }
  if (isTooLong || rest.length > 0) yield linesIn(new Uint8Array(0));
}

/** Whether a line has more bytes than are kept: a character has three at most. */
const isLong = (text: string): boolean =>
  3 * text.length > LONGEST_LINE && bytesOf(text).length > LONGEST_LINE;
