import { closeSync, openSync, readlinkSync } from "node:fs";
import { constants } from "node:os";
import * as v from "valibot";
import { faultSignals, setUndumpable } from "../../../ffi/confinement.ts";
import type { LibraryKind } from "../../../ffi/libc.ts";
import { withRemedy } from "../../../ffi/remedies.ts";
import { childArgument, muslVariable } from "../../self/child-arguments.ts";
import { ownProgram } from "../../self/executable.ts";
import { codeOf, messageOf } from "../../self/thrown.ts";
import { type JobName, messageSchema, type Outcome } from "./outcome.ts";
import { childUser } from "./user.ts";

/** Bytes that an answer may have. */
const largestAnswer = 64 << 10;
/** Milliseconds that the kernel may take to end the child's processes. */
const grace = 2000;

export interface ChildOptions {
  /** Open descriptors of the files to load, which may lie nowhere any more: the job has their paths, in this order. */
  readonly files: readonly number[];
  /** How long the child may take, its start included. */
  readonly milliseconds: number;
  /** The C library that the files are made for; musl is the one inside the executable. */
  readonly libc: LibraryKind;
}

/**
 * Has a child process do a job that runs foreign code, such as a library's constructors. The child has no environment,
 * no privileges, no network and may write nothing, see confine.ts; it and all that it started are gone when this
 * returns, and when this process ends in whatever way.
 *
 * From here on this process leaves no core dump, and nobody but root may look into it: an ordinary user's child is that user's.
 *
 * @param request anything that JSON can hold; the job checks it
 * @returns the answer is whatever the foreign code made of it: parse it. Never throws for what the child does
 */
export async function runChild(job: JobName, request: unknown, options: ChildOptions): Promise<Outcome> {
  try {
    setUndumpable();
    return await start(job, request, options);
  } catch (error) {
    const reason = withRemedy(messageOf(error), "Bun.spawn", codeOf(error) ?? "");
    return { state: "refused", reason: `no child process can be started: ${reason}` };
  }
}

/** @throws the system's error */
async function start(
  job: JobName,
  request: unknown,
  { files, milliseconds, libc }: ChildOptions,
): Promise<Outcome> {
  const user = childUser() === null ? "kept" : "own";
  const self = readlinkSync("/proc/self");
  const stage = ["isolate", self, String(files.length), user, String(milliseconds), job];
  const started = performance.now();
  const child = spawn([childArgument, ...stage], request, { files, milliseconds, libc });
  const output = readToEnd(child.stdout, () => child.kill("SIGKILL"));
  await child.exited;
  const text = await within(grace, output);
  if (text === null) return failed("it left a process behind that does not end");
  if (performance.now() - started >= milliseconds) return failed(`not done after ${milliseconds} ms`);
  if (text.length > largestAnswer) return failed(`an answer of more than ${largestAnswer} bytes`);
  return outcomeOf(text) ?? failed(endOf(child.exitCode, child.signalCode));
}

function spawn(args: readonly string[], request: unknown, { files, milliseconds, libc }: ChildOptions) {
  // What it prints fails: there may be no /dev/null here.
  const nowhere = openSync("/", "r");
  try {
    return Bun.spawn([...ownProgram, ...args], {
      cwd: "/",
      env: libc === "musl" ? muslVariable : {},
      stdio: [new Blob([JSON.stringify(request)]), "pipe", nowhere, ...files],
      timeout: milliseconds,
      killSignal: "SIGKILL",
    });
  } finally {
    closeSync(nowhere);
  }
}

/**
 * The text of a pipe, of which more than the largest answer is not kept. Its end comes when the last process that holds it
 * is gone, so it is read to there.
 */
async function readToEnd(pipe: ReadableStream<Uint8Array>, onExcess: () => void): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of pipe) {
    if (length <= largestAnswer) chunks.push(chunk);
    length += chunk.length;
    if (length > largestAnswer) onExcess();
  }
  return Buffer.concat(chunks).toString("utf8");
}

const failed = (reason: string): Outcome => ({ state: "failed", reason });

/** What a child wrote, which may be anything; null where nothing was written at all. */
export function outcomeOf(text: string): Outcome | null {
  if (text === "") return null;
  const message = v.safeParse(v.pipe(v.string(), v.parseJson(), messageSchema), text);
  if (!message.success) return failed("what it wrote is no answer");
  const { output } = message;
  if ("refused" in output) return { state: "refused", reason: output.refused };
  return "failed" in output ? failed(output.failed) : { state: "answered", answer: output.answer };
}

/** The first name of each: SIGABRT comes before SIGIOT. */
const signalNames = new Map(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/** How it ended. 128 + a signal's number is what a shell says too; a fault's number alone is the child's own way. */
function endOf(exitCode: number | null, signal: string | number | null): string {
  const code = exitCode ?? 0;
  const name = signal ?? signalNames.get(code - 128);
  if (name !== undefined) return `ended by ${name}`;
  const fault = faultSignals.includes(code) ? ` (${signalNames.get(code)})` : "";
  return `it ended with ${code}${fault} and without an answer`;
}

/** What a promise comes to; null where it takes longer than so many milliseconds. */
async function within<Value>(milliseconds: number, promise: Promise<Value>): Promise<Value | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), milliseconds);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
