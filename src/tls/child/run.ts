import { readlinkSync } from "node:fs";
import { constants } from "node:os";
import * as v from "valibot";
import { isEmbedded } from "../../assets.ts";
import { childArgument } from "./argument.ts";
import type { JobName } from "./jobs.ts";
import { messageSchema, type Outcome } from "./outcome.ts";

/** Bytes that an answer may have. */
const largestAnswer = 64 << 10;
/** Milliseconds that the kernel may take to end the child's processes. */
const grace = 2000;

export interface ChildOptions {
  /** Open descriptors of the files to load, which may lie nowhere any more: the job has their paths, in this order. */
  readonly files: readonly number[];
  /** How long the child may take, its start included. */
  readonly milliseconds: number;
}

/** This very program, also where its file was deleted or replaced since it started. */
const program = isEmbedded
  ? ["/proc/self/exe"]
  : [process.execPath, new URL("../../main.ts", import.meta.url).pathname];

/**
 * Has a child process do a job that runs foreign code, such as a library's constructors. The child has no environment,
 * no privileges, no network and may write nothing, see confine.ts; it and all that it started are gone when this
 * returns, and when this process ends in whatever way.
 *
 * @param request anything that JSON can hold; the job checks it
 * @returns the answer is whatever the foreign code made of it: parse it. Never throws for what the child does
 */
export async function runChild(job: JobName, request: unknown, options: ChildOptions): Promise<Outcome> {
  const { files, milliseconds } = options;
  const stage = ["isolate", readlinkSync("/proc/self"), String(files.length), String(milliseconds), job];
  const started = performance.now();
  const child = Bun.spawn([...program, childArgument, ...stage], {
    cwd: "/",
    env: {},
    stdio: [new Blob([JSON.stringify(request)]), "pipe", "ignore", ...files],
    timeout: milliseconds,
    killSignal: "SIGKILL",
    maxBuffer: largestAnswer,
  });
  // The end of the pipe comes when the last process that holds it is gone.
  const output = new Response(child.stdout).text();
  await child.exited;
  const text = await within(grace, output);
  if (text === null) return failed("it left a process behind that does not end");
  if (performance.now() - started >= milliseconds) return failed(`not done after ${milliseconds} ms`);
  if (text.length >= largestAnswer) return failed(`an answer of more than ${largestAnswer} bytes`);
  return outcomeOf(text) ?? failed(endOf(child.exitCode, child.signalCode));
}

const failed = (reason: string): Outcome => ({ state: "failed", reason });

/** Null where nothing was written at all. */
function outcomeOf(text: string): Outcome | null {
  if (text === "") return null;
  const message = v.safeParse(v.pipe(v.string(), v.parseJson(), messageSchema), text);
  if (!message.success) return failed("what it wrote is no answer");
  const { output } = message;
  if ("refused" in output) return { state: "refused", reason: output.refused };
  return "failed" in output ? failed(output.failed) : { state: "answered", answer: output.answer };
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** How a process ended; one that waited for another ends with 128 + that one's signal, as a shell does. */
function endOf(exitCode: number | null, signal: string | number | null): string {
  const name = signal ?? (exitCode !== null && exitCode > 128 ? signalNames.get(exitCode - 128) : undefined);
  return name === undefined ? `it ended with ${exitCode} and without an answer` : `ended by ${name}`;
}

/** Null where it takes longer. */
async function within<Value>(milliseconds: number, promise: Promise<Value>): Promise<Value | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), milliseconds);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
