import { withRemedy } from "../../ffi/remedies.ts";
import { type BakeSubject, subjectIn } from "../bytecode/constants.ts";
import { BakeError } from "../bytecode/object.ts";
import { type Chosen, choose } from "../fleet/choose.ts";
import { InputError, InputFile } from "../input/input.ts";
import { nameOf, shownName } from "../input/name.ts";
import type { Asked } from "../kernel/asked.ts";
import { earlierOf, largestDocument, readEither } from "../output/earlier.ts";
import { Failure, usage } from "../output/failure.ts";
import { codeOf } from "../self/thrown.ts";
import { membersOf, type Part } from "./choice.ts";
import type { ConstantsFlags, Flags } from "./flags.ts";
import { collect } from "./look.ts";
import { tellDiagnostics } from "./print.ts";

/**
 * The constants of the subject: out of the document that --constants names, else measured on this machine.
 * @param wide members of the kernel's types that are asked for besides
 * @throws Failure for flags that contradict each other, and where no one library is meant
 */
export async function constantsFor(
  wanted: string,
  args: Flags &
    ConstantsFlags & { readonly member?: string | undefined; readonly image?: string | undefined },
  wide: readonly Asked[] = [],
): Promise<{ chosen: Chosen; subject: BakeSubject }> {
  const isKernel = wanted === "kernel";
  const part = isKernel ? "kernel" : "tls";
  if (args.image !== undefined) return constantsOfImage(args.image, wanted, args);
  const chosen = chosenIn(args, part);
  if (args.member !== undefined && (chosen !== null || !isKernel))
    throw usage("--member is of the running kernel: it takes --for kernel, and no --constants");
  if (chosen !== null) return { chosen, subject: subjectIn(chosen, shownName(wanted)) };
  const document = await (isKernel
    ? collect(["kernel"], args, undefined, undefined, [...(await membersOf(args.member, [part])), ...wide])
    : collect(["tls"], args, { kind: "files", paths: [wanted] }));
  tellDiagnostics(document.diagnostics);
  const measured = choose(earlierOf(document), part, {}, "this machine");
  if (isKernel) return { chosen: measured, subject: subjectIn(measured, wanted) };
  const paths = (measured.tls ?? []).flatMap(({ path }) => path ?? []);
  const [path] = paths;
  if (path === undefined)
    throw new Failure(
      "E_CONSTANTS",
      `${shownName(wanted)} has no TLS library in it, and is linked with none`,
    );
  if (paths.length > 1) throw usage(`${wanted} uses ${paths.join(" and ")}: name one of them`);
  return { chosen: measured, subject: subjectIn(measured, path) };
}

/** The constants of a kernel that does not run here. */
async function constantsOfImage(
  image: string,
  wanted: string,
  args: Flags & ConstantsFlags & { readonly member?: string | undefined },
): Promise<{ chosen: Chosen; subject: BakeSubject }> {
  if (wanted !== "kernel") throw usage("--image is of a kernel: it takes --for kernel, and no library");
  if (chosenIn(args, "kernel") !== null)
    throw usage("--image and --constants are two sources: name one of them");
  const { imageDocumentFor } = await import("./kernel-image.ts");
  const document = await imageDocumentFor(image, args, await membersOf(args.member, ["kernel"]));
  const chosen = choose(earlierOf(document), "kernel", {}, shownName(image));
  return { chosen, subject: subjectIn(chosen, wanted) };
}

/**
 * What the flags choose of an earlier document; null where none is named.
 * @throws Failure that names the file, the key, or what it does not hold
 */
export function chosenIn(
  { constants, release, "build-id": buildId }: ConstantsFlags,
  part: Part,
): Chosen | null {
  if (constants === undefined) {
    if (release === undefined && buildId === undefined) return null;
    throw usage("--release and --build-id choose of a document, which --constants names");
  }
  const text = nameOf(readWhole(constants, largestDocument));
  return choose(readEither(text, constants), part, { release, buildId }, shownName(constants));
}

/** A file that the user named, links followed. @throws Failure that names it */
export function readWhole(path: string, limit: number): Uint8Array {
  return attempt(() => {
    using file = InputFile.open(path, shownName(path), { follow: true });
    return file.read(0, file.size, "file", limit);
  }, path);
}

/** Runs `act`; what is wrong with its input is a failure. @throws Failure that names the file, or whatever else `act` throws */
export function attempt<Result>(act: () => Result, path?: string): Result {
  try {
    return act();
  } catch (error) {
    if (error instanceof InputError || error instanceof BakeError)
      throw new Failure("E_BYTECODE", error.message);
    const code = codeOf(error);
    if (path !== undefined && code !== undefined) {
      throw new Failure("E_FILE", withRemedy(`${path} cannot be read: ${code}`, `open ${path}`, code));
    }
    throw error;
  }
}
