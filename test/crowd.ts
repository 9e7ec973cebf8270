import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { buildHostile } from "./hostile.ts";

/** An ordinary user of no name. */
const id = 1234;

/** A program of that user's, which was waited for until it said that it is ready, and ends when this is disposed. */
export class Beside implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "inherit">;

  private constructor(command: readonly string[]) {
    const user = ["setpriv", `--reuid=${id}`, `--regid=${id}`, "--clear-groups"];
    this.#process = Bun.spawn([...user, ...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  }

  static async start(command: readonly string[]): Promise<Beside> {
    const beside = new Beside(command);
    const { value } = await beside.#process.stdout.getReader().read();
    if (new TextDecoder().decode(value) !== "ready\n") throw new Error(`${command[0]} did not come up`);
    return beside;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

/** Gives files and folders to that user. */
export const give = (...paths: readonly string[]): void => {
  for (const path of paths) chownSync(path, id, id);
};

/** Builds crowd.c in a folder that everybody may look into. @returns the command that starts a hostile user's processes */
export function buildCrowd(folder: string, count: number): readonly string[] {
  const [program, theirs] = [join(folder, "crowd"), join(folder, "theirs")];
  const flags = ["-static", "-pthread", "-O1", "-Wall", "-Wno-unused-result"];
  const { success, stderr } = Bun.spawnSync([
    "gcc",
    ...flags,
    "-o",
    program,
    join(import.meta.dir, "crowd.c"),
  ]);
  if (!success) throw new Error(stderr.toString());
  mkdirSync(theirs);
  const library = buildHostile({ name: "hostile", code: "return 77;" }, theirs);
  // On most distributions everybody may open it.
  Bun.spawnSync(["mknod", "--mode=666", join(theirs, "fuse"), "c", "10", "229"]);
  give(theirs, library);
  return [program, theirs, String(count), library];
}
