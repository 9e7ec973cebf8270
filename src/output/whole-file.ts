import {
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { bytesOf, lastOf, nameOf } from "../input/name.ts";
import { randomBytes } from "../self/random.ts";
import { codeOf } from "../self/thrown.ts";
import { Failure } from "./failure.ts";

/**
 * Writes a file whole or not at all: beside its place, then in it. A regular file that is there is replaced, as compilers
 * do, at the end of a link too; anything else is refused. What fails leaves nothing behind.
 * @throws Failure that names the file
 */
export function writeFileWhole(path: string, bytes: Uint8Array): void {
  try {
    const target = placeOf(path);
    const folder = target.slice(0, target.lastIndexOf("/") + 1);
    const name = `.${lastOf(target).slice(0, 50)}.${randomBytes(8).toString("hex")}`;
    const beside = bytesOf(folder + name);
    const fd = openSync(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    try {
      try {
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(beside, bytesOf(target));
    } catch (error) {
      unlinkSync(beside);
      throw error;
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("E_OUTPUT", `${path} cannot be written: ${codeOf(error) ?? error}`);
  }
}

/** Where links lead to. @throws Failure where something else than a regular file is there */
function placeOf(path: string): string {
  const itself = lstatSync(bytesOf(path), { throwIfNoEntry: false });
  if (itself === undefined) return path;
  const stat = statSync(bytesOf(path));
  if (!stat.isFile())
    throw new Failure("E_OUTPUT", `${path} is no regular file; for standard output use -o -`);
  if (!itself.isSymbolicLink()) return path;
  const real = nameOf(realpathSync(bytesOf(path), "buffer"));
  const there = statSync(bytesOf(real), { throwIfNoEntry: false });
  // The kernel's own links in procfs lead to files, not to the texts that they show.
  if (there?.dev === stat.dev && there.ino === stat.ino) return real;
  throw new Failure(
    "E_OUTPUT",
    `${path} leads to a file that does not lie at ${real}; name it by its own path`,
  );
}
