import { withRemedy } from "../../ffi/remedies.ts";
import { type Subject, subjectIn } from "../bytecode/constants.ts";
import { BakeError } from "../bytecode/object.ts";
import { InputError, InputFile } from "../elf/input.ts";
import { shownName } from "../elf/name.ts";
import { type Earlier, earlierOf, largestDocument, readEarlier } from "../output/earlier.ts";
import { Failure } from "../output/failure.ts";
import { type Flags, usage } from "./flags.ts";
import { tellDiagnostics } from "./print.ts";
import { collect } from "./run.ts";

/** The constants of the subject: out of the document that --constants names, else measured on this machine. */
export async function constantsFor(
  wanted: string,
  args: Flags & { constants?: string | undefined },
): Promise<{ source: Earlier; subject: Subject }> {
  if (args.constants !== undefined) {
    const source = readDocument(args.constants);
    return { source, subject: subjectIn(source, shownName(wanted)) };
  }
  const isKernel = wanted === "kernel";
  const document = await (isKernel
    ? collect(["kernel"], args)
    : collect(["tls"], args, { kind: "files", paths: [wanted] }));
  tellDiagnostics(document.diagnostics);
  const source = earlierOf(document);
  if (isKernel) return { source, subject: subjectIn(source, wanted) };
  const paths = (source.tls ?? []).flatMap(({ path }) => path ?? []);
  const [path] = paths;
  if (path === undefined)
    throw new Failure(
      "E_CONSTANTS",
      `${shownName(wanted)} has no TLS library in it, and is linked with none`,
    );
  if (paths.length > 1) throw usage(`${wanted} uses ${paths.join(" and ")}: name one of them`);
  return { source, subject: subjectIn(source, path) };
}

/** A document of an earlier run. @throws Failure that names the file and the key */
export const readDocument = (path: string): Earlier =>
  readEarlier(new TextDecoder().decode(readWhole(path, largestDocument)), path);

/** A file that the user named, links followed. @throws Failure that names it */
export function readWhole(path: string, limit: number): Uint8Array {
  return attempt(() => {
    using file = InputFile.open(path, shownName(path), { follow: true });
    return file.read(0, file.size, "file", limit);
  }, path);
}

/** Runs `act`; what is wrong with its input is a failure. */
export function attempt<Result>(act: () => Result, path?: string): Result {
  try {
    return act();
  } catch (error) {
    if (error instanceof InputError || error instanceof BakeError)
      throw new Failure("E_BYTECODE", error.message);
    if (path !== undefined && error instanceof Error && "code" in error) {
      const code = String(error.code);
      throw new Failure("E_FILE", withRemedy(`${path} cannot be read: ${code}`, `open ${path}`, code));
    }
    throw error;
  }
}
