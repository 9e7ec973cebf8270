import { randomBytes } from "node:crypto";
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
import { basename, dirname, join } from "node:path";
import { Failure } from "./failure.ts";

/**
 * Writes a file whole or not at all: beside its place, then in it. A regular file that is there is replaced, as compilers
 * do, at the end of a link too; anything else is refused. What fails leaves nothing behind.
 * @throws Failure that names the file
 */
export function writeFileWhole(path: string, bytes: Uint8Array): void {
  try {
    const target = placeOf(path);
    const beside = join(
      dirname(target),
      `.${basename(target).slice(0, 200)}.${randomBytes(8).toString("hex")}`,
    );
    const fd = openSync(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    try {
      try {
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(beside, target);
    } catch (error) {
      unlinkSync(beside);
      throw error;
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    const why = error instanceof Error && "code" in error ? error.code : error;
    throw new Failure("E_OUTPUT", `${path} cannot be written: ${why}`);
  }
}

/** Where links lead to. @throws Failure where something else than a regular file is there */
function placeOf(path: string): string {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
  if (statSync(path).isFile()) return realpathSync(path);
  throw new Failure("E_OUTPUT", `${path} is no regular file; for standard output use -o -`);
}
