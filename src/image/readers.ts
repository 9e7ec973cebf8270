import { closeSync, openSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import * as v from "valibot";
import { dieWithParent } from "../../ffi/confinement.ts";
import { InputError, InputFile } from "../input/input.ts";
import { type Document, documentSchema } from "../output/document.ts";
import { asFailure, Failure, failureKinds, failureSchema } from "../output/failure.ts";
import { STDOUT } from "../output/terminal.ts";
import { imageArgument } from "../self/child-arguments.ts";
import { ownProgram } from "../self/executable.ts";
import { type ImageQuestion, imageDocument, soughtFor } from "./image.ts";
import type { Image } from "./images.ts";
import { kernelIn, NoKernelError } from "./kernel-file.ts";

/** The code of a failure: the file may be sound, but is no kernel. */
export const NO_KERNEL = "E_NO_KERNEL";
/** The descriptor by which a child has the file. */
const FILE = 3;
/** Bytes that an answer may have: a document with a hundred members has some 100 KB. */
const largestAnswer = 32 << 20;
/** Children that read at the same time, each of which may need the memory of a kernel and its dictionary. */
const mostChildren = 8;

const requestSchema = v.strictObject({
  path: v.string(),
  question: v.strictObject({
    sources: v.array(v.picklist(["btf", "dwarf"])),
    families: v.strictObject({
      tcpv4: v.boolean(),
      tcpv6: v.boolean(),
      udpv4: v.boolean(),
      udpv6: v.boolean(),
    }),
    asked: v.array(
      v.strictObject({ text: v.string(), constant: v.string(), isByte: v.exactOptional(v.literal(true)) }),
    ),
    isOnlyAsked: v.boolean(),
  }),
});
const answerSchema = v.union([
  v.strictObject({ document: documentSchema }),
  v.strictObject({
    failure: v.strictObject({
      ...failureSchema.entries,
      code: v.custom<`E_${string}`>((code) => typeof code === "string" && /^E_[A-Z0-9_]+$/.test(code)),
      kind: v.picklist(failureKinds),
    }),
  }),
]);

/** The document of a kernel's file. @throws Failure that names it */
export function readImage(file: InputFile, question: ImageQuestion): Document {
  try {
    return imageDocument(kernelIn(file, soughtFor(question)), question);
  } catch (error) {
    throw imageFailure(error);
  }
}

/** An InputError, which says what is wrong with an image, as a Failure; any other error as it is. */
export const imageFailure = (error: unknown): unknown =>
  error instanceof InputError
    ? new Failure(error instanceof NoKernelError ? NO_KERNEL : "E_IMAGE", error.message)
    : error;

/** The child's part: reads what it is asked on its standard input, and the file that it was given. */
export async function answerImage(): Promise<void> {
  dieWithParent();
  const { path, question } = v.parse(requestSchema, JSON.parse(await Bun.stdin.text()));
  let answer: unknown;
  try {
    using file = InputFile.of(FILE, path);
    answer = { document: readImage(file, question) };
  } catch (error) {
    const { code, message, kind } = asFailure(error);
    answer = { failure: { code, message, kind } };
  }
  const bytes = Buffer.from(JSON.stringify(answer));
  for (let at = 0; at < bytes.length; ) at += writeSync(STDOUT, bytes.subarray(at));
}

/**
 * The documents of many images in their order, or why there is none of one. A file that was not named itself and is no kernel is passed
 * over. Each is read in a process of its own, as many at a time as there are processors: what is wrong with one costs the others
 * nothing.
 *
 * @param milliseconds that each may take
 * @param progress told of each file that is read
 */
export async function* readAll(
  images: Iterable<Image>,
  question: ImageQuestion,
  milliseconds: number,
  progress: () => void = () => {},
): AsyncGenerator<Document | Failure> {
  const most = Math.min(mostChildren, availableParallelism());
  const running: Promise<Document | Failure | null>[] = [];
  const told = async function* (until: number): AsyncGenerator<Document | Failure> {
    while (running.length >= until) {
      const one = await running.shift();
      progress();
      if (one !== undefined && one !== null) yield one;
    }
  };
  for (const { file, isNamed } of images) {
    const answer = readInChild(file, question, milliseconds);
    const isDropped = (one: Document | Failure) =>
      !isNamed && one instanceof Failure && one.code === NO_KERNEL;
    running.push(answer.then((one) => (isDropped(one) ? null : one)));
    yield* told(most);
  }
  yield* told(1);
}

/** Takes the file's descriptor before it returns. */
async function readInChild(
  { fd, path }: InputFile,
  question: ImageQuestion,
  milliseconds: number,
): Promise<Document | Failure> {
  let child: ReturnType<typeof start>;
  try {
    child = start(fd, { path, question }, milliseconds);
  } catch (error) {
    return new Failure(
      "E_IMAGE",
      `${path}: no process can be started to read it: ${asFailure(error).message}`,
    );
  }
  const output = textOf(child.stdout, () => child.kill("SIGKILL"));
  await child.exited;
  const answer = v.safeParse(v.pipe(v.string(), v.parseJson(), answerSchema), await output);
  if (!answer.success) return new Failure("E_IMAGE", `${path}: ${endOf(child, milliseconds)}`);
  if ("document" in answer.output) return answer.output.document;
  const { code, message, kind } = answer.output.failure;
  return new Failure(code, message, kind);
}

function start(fd: number, request: unknown, milliseconds: number) {
  // What it prints besides fails: there may be no /dev/null here.
  const nowhere = openSync("/", "r");
  try {
    return Bun.spawn([...ownProgram, imageArgument], {
      cwd: "/",
      env: {},
      stdio: [new Blob([JSON.stringify(request)]), "pipe", nowhere, fd],
      timeout: milliseconds,
      killSignal: "SIGKILL",
    });
  } finally {
    closeSync(nowhere);
  }
}

const endOf = ({ signalCode, exitCode }: Bun.Subprocess, milliseconds: number): string =>
  signalCode === "SIGKILL"
    ? `not read within ${milliseconds} ms and in the memory that there is; allow more with --deadline`
    : `the process that read it ended with ${signalCode ?? `exit code ${exitCode}`}`;

async function textOf(pipe: ReadableStream<Uint8Array>, onExcess: () => void): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of pipe) {
    size += chunk.length;
    if (size > largestAnswer) onExcess();
    else chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
