import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
  statfsSync,
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

/** A file that was opened, and where it lies. */
export interface OpenedFile {
  readonly fd: number;
  /** Where its tree begins on this host: `/`, or a container's `/proc/PID/root`. */
  readonly root: string;
  /** Its real path inside the tree: no link on the way. */
  readonly path: string;
  /** It lies there no longer. */
  readonly deleted?: boolean;
}

/** FUSE_SUPER_MAGIC: what such a file system says of owners, modes and contents is some program's word. */
const fuse = 0x65735546;

/**
 * Checks that a library may be executed: that nobody but root and this process's user can have written it. The file and
 * each folder on the way to it, from its tree's root on, belongs to one of the two, and no group or other may write to
 * it (to a sticky folder they may). Owners are this machine's, so that a container's root that is another user here is
 * not root. What is checked is the open file itself, which nothing can be put in the place of.
 *
 * @param named host paths of files that are executed all the same; such a path counts where that very file lies
 * @throws UntrustedError that says what is wrong and how it may be executed all the same
 */
export function checkExecutable(file: OpenedFile, named: readonly string[]): void {
  const name = join(file.root, file.path);
  const stat = fstatSync(file.fd);
  if (!stat.isFile()) throw new UntrustedError(`${name} is not a regular file`);
  const isThere = file.deleted !== true && isSame(stat, lstatSync(name, { throwIfNoEntry: false }));
  if (isThere && named.includes(name)) return;
  try {
    checkFile(name, file.fd, stat);
    if (!isThere && file.deleted !== true) throw new UntrustedError(`${name} is another file by now`);
    for (const folder of foldersOf(file.path)) checkFolder(join(file.root, folder));
  } catch (error) {
    const advice = isThere ? `; --trust ${name} has it executed all the same` : "";
    throw error instanceof UntrustedError ? new UntrustedError(`${error.message}${advice}`) : error;
  }
}

const isSame = (one: Stats, other: Stats | undefined): boolean =>
  one.dev === other?.dev && one.ino === other.ino;

function checkFile(name: string, fd: number, stat: Stats): void {
  const link = `/proc/self/fd/${fd}`;
  // Whoever made such a file writes to it as he likes, whatever its mode says by now.
  if (readlinkSync(link).startsWith("/memfd:")) throw new UntrustedError(`${name} lies in memory alone`);
  if (statfsSync(link).type === fuse) {
    throw new UntrustedError(`${name} lies in a file system that a program makes up (FUSE)`);
  }
  checkOwned(name, stat);
}

function checkFolder(path: string): void {
  // The last part is a point: the root of another tree is one of the kernel's own links.
  const stat = statSync(`${path}/.`, { throwIfNoEntry: false });
  if (stat === undefined) throw new UntrustedError(`${path} is gone, so nobody knows who could write to it`);
  checkOwned(path, stat);
}

/** All folders above, the root first. */
function foldersOf(path: string): readonly string[] {
  const names = parts(path).slice(0, -1);
  return ["/", ...names.map((_, index) => `/${names.slice(0, index + 1).join("/")}`)];
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
