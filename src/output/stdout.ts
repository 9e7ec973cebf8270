import { writeSync } from "node:fs";
import { exitCodes, Failure } from "./failure.ts";

/**
 * Writes the result. A reader that has closed its end has had enough: that is no failure.
 * @returns whether there still is a reader
 * @throws when it cannot be written in full, e.g. on a full disk.
 */
export async function writeStdout(result: string | Uint8Array): Promise<boolean> {
  const bytes = typeof result === "string" ? Buffer.from(result) : Buffer.from(result);
  try {
    // Bun.write begins again from the start where a pipe took only a part, so that a slow reader gets bytes twice.
    for (let done = 0; done < bytes.length; ) done += await writeSome(bytes.subarray(done));
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "EPIPE") return false;
    throw new Failure("E_OUTPUT", `standard output cannot be written: ${errno}`, exitCodes.failed);
  }
}

/** How many bytes were taken; none for now where a pipe is full. @throws the system's error */
async function writeSome(bytes: Buffer): Promise<number> {
  try {
    return writeSync(process.stdout.fd, bytes);
  } catch (error) {
    if (errnoOf(error) !== "EAGAIN") throw error;
    await Bun.sleep(1);
    return 0;
  }
}

const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : String(error);
