import { statfsSync, statSync } from "node:fs";
import { bytesOf } from "./elf/name.ts";

/** Mounts that threads share the asking of. Shared memory. */
export interface Questions {
  /** A path of each. */
  readonly paths: readonly string[];
  /** How many were taken up, and behind that for each mount whether its server answered. */
  readonly state: Int32Array<SharedArrayBuffer>;
}

declare const self: Worker;

/** Asks for what the kernel does not remember of a file system: its server has to answer. An error is an answer too. */
function ask(path: string): void {
  for (const question of [statSync, statfsSync])
    try {
      question(bytesOf(path));
    } catch {}
}

// A thread of its own, which is left behind where it is not answered, see mounts.ts.
self.onmessage = ({ data: { paths, state } }: MessageEvent<Questions>) => {
  for (let index = Atomics.add(state, 0, 1); index < paths.length; index = Atomics.add(state, 0, 1)) {
    ask(paths[index] ?? "/");
    Atomics.store(state, 1 + index, 1);
    Atomics.notify(state, 0);
  }
};
