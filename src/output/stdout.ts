import { readFileSync, writeSync } from "node:fs";
import { codeOf } from "../self/thrown.ts";
import { Failure } from "./failure.ts";
import { STDOUT } from "./terminal.ts";

/** O_CLOEXEC in the flags of /proc/PID/fdinfo, which are octal. */
const closeOnExec = 0o2000000;

/** Whether standard output was closed at the start; undefined until that is asked for the first time. */
let closed: boolean | undefined;

/**
 * Writes the result, all of it. A reader that has closed its end, as `head` does, has had enough: that is no failure.
 * @returns whether there still is a reader @throws Failure when it cannot be written: where it is closed, on a full disk
 */
export async function writeStdout(result: string | Uint8Array): Promise<boolean> {
  const bytes = typeof result === "string" ? Buffer.from(result) : Buffer.from(result);
  try {
    closed ??= wasClosed();
    if (closed) throw failed("EBADF");
    // Bun.write begins again from the start where a pipe took only a part, so that a slow reader gets bytes twice.
    for (let done = 0; done < bytes.length; ) done += await writeSome(bytes.subarray(done));
    return true;
  } catch (error) {
    if (codeOf(error) === "EPIPE") return false;
    throw error instanceof Failure ? error : failed(codeOf(error) ?? String(error));
  }
}

function failed(errno: string): Failure {
  const meaning = errno === "EBADF" ? " (it is closed)" : "";
  return new Failure("E_OUTPUT", `standard output cannot be written: ${errno}${meaning}`);
}

/**
 * Whether this process was started without a standard output. The runtime puts /dev/null in its place, close-on-exec, which
 * nothing can be that a process was started with.
 */
function wasClosed(): boolean {
  try {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${STDOUT}`, "latin1"))?.[1];
    return (Number.parseInt(flags ?? "0", 8) & closeOnExec) !== 0;
  } catch {
    return false; // without procfs nobody can tell
  }
}

/** How many bytes were taken; none for now where a pipe is full. @throws the system's error */
async function writeSome(bytes: Buffer): Promise<number> {
  try {
    return writeSync(STDOUT, bytes);
  } catch (error) {
    if (codeOf(error) !== "EAGAIN") throw error;
    await Bun.sleep(1);
    return 0;
  }
}
