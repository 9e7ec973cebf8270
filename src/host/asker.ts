import { readFileSync, statfsSync, statSync, writeSync } from "node:fs";
import { dieWithParent } from "../../ffi/confinement.ts";
import { bytesOf } from "../input/name.ts";
import type { Questions } from "./stuck-askers.ts";

const [STDIN, STDOUT] = [0, 1];

/**
 * Asks the mounts on stdin (JSON: {@link Questions}) for what the kernel does not remember of a file system, so that its server
 * has to answer, and writes on stdout, at the place of each mount, that it did. An error is an answer too. A mount whose server is silent
 * blocks this process; where the server is a FUSE one that took the question, not even SIGKILL ends it.
 *
 * @param from the first to ask
 */
export function answerAll(from: number): void {
  dieWithParent();
  const questions: Questions = JSON.parse(readFileSync(`/proc/self/fd/${STDIN}`, "utf8"));
  for (const [index, [path]] of questions.entries()) {
    if (index < from) continue;
    for (const question of [statSync, statfsSync])
      try {
        question(bytesOf(path));
      } catch {}
    writeSync(STDOUT, Uint8Array.of(1), 0, 1, index);
  }
}
