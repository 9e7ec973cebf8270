import { exitCodes, Failure } from "./failure.ts";

/**
 * Writes the result. A reader that has closed its end has had enough: that is no failure.
 * @throws when the text cannot be written in full, e.g. on a full disk.
 */
export async function writeStdout(text: string): Promise<void> {
  try {
    await Bun.write(Bun.stdout, text);
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? String(error.code) : String(error);
    if (errno === "EPIPE") return;
    throw new Failure("E_OUTPUT", `standard output cannot be written: ${errno}`, exitCodes.failed);
  }
}
