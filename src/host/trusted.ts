import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";

const STICKY = 0o1000;
const WRITABLE_BY_OTHERS = 0o022;

/** A file that must not be used, with the reason; the message begins with the path it speaks of. */
export class UntrustedError extends Error {
  override readonly name = "UntrustedError";
}

/**
 * Reads a regular file that nobody but root and this process's user can have written or put in its place: the file,
 * and each folder and link on the way to it, belongs to one of the two, and no group or other may write to it (to a
 * sticky folder such as /tmp they may, as its entries stay their owners'). POSIX ACLs show in the group's bits. As
 * nobody else can change what was looked at, no one can slip another file in between looking and reading.
 *
 * @param limit most bytes the file may have
 * @returns null where there is nothing of that name
 * @throws UntrustedError when the file must not be used; the system's error when it cannot be read
 */
export function readTrusted(path: string, limit: number): Uint8Array | null {
  // Where nothing is, nobody needs to be trusted.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return null;
  const real = resolveTrusted(resolve(path));
  if (!lstatSync(real).isFile()) throw new UntrustedError(`${path} is not a regular file`);
  const fd = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const bytes = new Uint8Array(limit + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(fd, bytes, length, bytes.length - length, null);
    }
    if (length > limit) throw new UntrustedError(`${path} is larger than ${limit} bytes`);
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/** The path without links, each step checked. The kernel has followed it before, so that it holds no loop. */
function resolveTrusted(path: string): string {
  let real = "/";
  checkOwned(real, lstatSync(real));
  const todo = parts(path).reverse();
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === "..") {
      real = dirname(real);
      continue;
    }
    const next = join(real, part);
    const stat = lstatSync(next);
    checkOwned(next, stat);
    if (!stat.isSymbolicLink()) {
      real = next;
      continue;
    }
    const target = readlinkSync(next);
    if (target.startsWith("/")) real = "/";
    todo.push(...parts(target).reverse());
  }
  return real;
}

function checkOwned(path: string, stat: Stats): void {
  const user = process.geteuid?.() ?? 0;
  if (stat.uid !== 0 && stat.uid !== user) {
    const owners = user === 0 ? "root" : `root or user ${user}`;
    throw new UntrustedError(`${path} belongs to user ${stat.uid}; it must belong to ${owners} (chown)`);
  }
  const matters = stat.isFile() || (stat.isDirectory() && (stat.mode & STICKY) === 0);
  if (matters && (stat.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new UntrustedError(`${path} can be written by group or others; take that from them (chmod go-w)`);
  }
}
