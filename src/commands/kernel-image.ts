import { statSync } from "node:fs";
import { checkNamed } from "../host/mounts.ts";
import { type ImageQuestion, type ImageTypes, imageTypes } from "../image/image.ts";
import { type Image, imagesOf } from "../image/images.ts";
import { kernelIn } from "../image/kernel-file.ts";
import { imageFailure, NO_KERNEL, readAll, readImage } from "../image/readers.ts";
import type { InputFile } from "../input/input.ts";
import { bytesOf, shownName } from "../input/name.ts";
import type { Asked } from "../kernel/asked.ts";
import { type TypeSource, typeSources } from "../kernel/fields/type-information.ts";
import type { Source } from "../offsets/evidence.ts";
import type { Document } from "../output/document.ts";
import { Failure, failureText, usage } from "../output/failure.ts";
import { Meter } from "../output/meter.ts";
import { writeStderr } from "../output/stderr.ts";
import { during } from "../self/whereabouts.ts";
import { type Choice, choiceOf } from "./choice.ts";
import { withinDeadline } from "./deadline.ts";
import { type ExitCode, exitCodes, exitOf } from "./exit.ts";
import { type DocumentFlags, everyValue, type Flags, type KernelFlags, kernelFlags } from "./flags.ts";
import { familiesOf, isOnlyAsked } from "./look.ts";
import { failureFormat, print, styleOf } from "./print.ts";
import type { Config } from "./settings.ts";
import { configOf, loadConfig } from "./settings.ts";

/**
 * Prints what kernels tell that do not run here.
 * @returns false where none is named, and nothing was printed
 * @throws Failure for flags that contradict each other, and where no kernel was found
 */
export async function answerImages(args: KernelFlags, rawArgs: readonly string[]): Promise<boolean> {
  const named = everyValue(rawArgs, kernelFlags, "image");
  if (named.length === 0) {
    if (args._.length === 0) return false;
    throw usage(`unexpected argument "${args._[0]}"; files of kernels are named by --image FILE...`);
  }
  if ([args.constants, args.release, args["build-id"]].some((flag) => flag !== undefined))
    throw usage("--image and --constants are two sources: name one of them");
  const images = [...named, ...args._];
  for (const image of args._) await checkNamed(image);
  const choice = await choiceOf(args, ["kernel"]);
  const config = configFor(args);
  const question = questionOf(config, choice);
  const [image] = images;
  if (images.length === 1 && image !== undefined && !isFolder(image)) {
    const document = await documentOf(image, args, question);
    process.exitCode = await print(document, choice, styleOf(args));
    return true;
  }
  const style = { ...styleOf(args), isLine: true };
  if (style.isSingle || (style.format !== "json" && style.format !== "table"))
    throw usage("of several images --format json or table tells: --get, env and header are of one");
  const codes: ExitCode[] = [];
  const fail = (failure: Failure): void => {
    writeStderr(`${failureText(failure, style.format)}\n`);
    codes.push(exitOf(failure));
  };
  const meter = new Meter();
  let read = 0;
  const show = (): void => meter.show("files read", read);
  // One file may take long, and nothing is heard of it before its end.
  const ticking = setInterval(show, 500);
  const progress = (): void => {
    read += 1;
    show();
  };
  try {
    for await (const one of readAll(everyImage(images, fail), question, config.deadline, progress)) {
      meter.clear();
      if (one instanceof Failure) fail(one);
      else codes.push(await print(one, choice, style));
    }
  } finally {
    clearInterval(ticking);
    meter.clear();
  }
  if (codes.length === 0) throw new Failure(NO_KERNEL, `no kernel in ${images.map(shownName).join(", ")}`);
  process.exitCode = joint(codes);
  return true;
}

/** The exit code of several kernels: 0 where all are known; where none is, that of the first; else 3. */
function joint(codes: readonly ExitCode[]): ExitCode {
  const [first = exitCodes.failed] = codes;
  const isTold = codes.some((code) => code === exitCodes.known || code === exitCodes.incomplete);
  if (!isTold) return first;
  return codes.every((code) => code === exitCodes.known) ? exitCodes.known : exitCodes.incomplete;
}

/** The kernels' files of all arguments. An argument that cannot be opened is told by `fail`, and the others are read all the same. */
function* everyImage(images: readonly string[], fail: (failure: Failure) => void): Generator<Image> {
  for (const image of images)
    try {
      yield* imagesOf(image);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      fail(error);
    }
}

/** The document of one kernel that does not run here, as flags of other commands name it. @throws Failure that names it */
export async function imageDocumentFor(
  image: string,
  args: Flags | DocumentFlags,
  asked: readonly Asked[] = [],
): Promise<Document> {
  return documentOf(image, args, questionOf(configFor(args), { asked }));
}

const documentOf = (image: string, args: Flags | DocumentFlags, question: ImageQuestion): Promise<Document> =>
  withImage(image, args, (file) => readImage(file, question));

/** That kernel's own types, and what they are of. @throws Failure that names it, where it has none too */
export const imageTypesFor = (image: string, args: Flags): Promise<ImageTypes> =>
  withImage(image, args, (file) => {
    try {
      return imageTypes(kernelIn(file));
    } catch (error) {
      throw imageFailure(error);
    }
  });

/** What `read` takes from the one image that is meant, within the deadline. @throws Failure where several are */
function withImage<Result>(
  image: string,
  args: Flags | DocumentFlags,
  read: (file: InputFile) => Result,
): Promise<Result> {
  const { deadline: milliseconds } = configFor(args);
  return withinDeadline({ milliseconds, format: failureFormat(args) }, async () => {
    using _ = during(shownName(image));
    const results: Result[] = [];
    for (const { file, isNamed } of imagesOf(image)) {
      try {
        results.push(read(file));
      } catch (error) {
        if (isNamed || !(error instanceof Failure) || error.code !== NO_KERNEL) throw error;
      }
      if (results.length > 1)
        throw new Failure("E_IMAGE", `${shownName(image)} has several kernels: name the file of one`);
    }
    const [result] = results;
    if (result === undefined) throw new Failure(NO_KERNEL, `${shownName(image)}: no kernel in it`);
    return result;
  });
}

function configFor(args: Flags | DocumentFlags): Config {
  const config = configOf(loadConfig({ flags: args, env: process.env }));
  if (!config.source.some(isTypeSource))
    throw usage(
      "nothing but its types tells of a kernel that does not run here: --source has to name btf or dwarf",
    );
  return config;
}

const isTypeSource = (source: Source): source is TypeSource => Object.hasOwn(typeSources, source);

const questionOf = (config: Config, choice: Pick<Choice, "names" | "asked">): ImageQuestion => ({
  sources: config.source.filter(isTypeSource),
  families: familiesOf(config),
  asked: choice.asked ?? [],
  isOnlyAsked: isOnlyAsked(choice),
});

function isFolder(path: string): boolean {
  return statSync(bytesOf(path), { throwIfNoEntry: false })?.isDirectory() === true;
}
