import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { fileSystem, isSealed, PROC_SUPER_MAGIC, ST_NOSUID, statusOf } from "../../ffi/descriptors.ts";
import { identityOf } from "../input/input.ts";
import { below, bytesOf, folderOf, nameOf, shownName } from "../input/name.ts";
import { otherHolder } from "./holders.ts";

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
  const named = statSync(bytesOf(path), { bigint: true, throwIfNoEntry: false });
  if (named === undefined) return null;
  const real = resolveTrusted(path.startsWith("/") ? path : below(process.cwd(), path));
  if (!lstatSync(bytesOf(real)).isFile()) throw new UntrustedError(`${path} is not a regular file`);
  const fd = openSync(bytesOf(real), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    // The kernel's own links in procfs lead to files, not to the texts that they show.
    if (identityOf(statusOf(fd, shownName(path))) !== identityOf(named))
      throw new UntrustedError(
        `${path} does not lie at ${real}, where its links lead; name it by its own path`,
      );
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

/** A folder on the way to a file, or the file. */
export interface PathStep {
  /** Inside the tree. */
  readonly path: string;
  readonly stat: BigIntStats;
}

/** A file system tree: this machine's, or what a container sees from its root. */
export interface Tree {
  /** The folders that lead to a path, the tree's root first, and then what lies there; null where nothing does. */
  way(path: string): readonly PathStep[] | null;
  /** How this machine calls that path. */
  name(path: string): string;
}

/** A file that was opened, and where it lies. */
export interface OpenedFile {
  readonly fd: number;
  readonly tree: Tree;
  /** Its real path inside the tree: no link on the way. */
  readonly path: string;
  /** Whether it lies there no longer. */
  readonly deleted?: boolean;
  /** The way to it, where somebody has just walked it. Default: it is walked again. */
  readonly way?: readonly PathStep[];
}

/** FUSE_SUPER_MAGIC, of linux/magic.h as all of these. */
const fuse = 0x65735546;
/** TMPFS_MAGIC and RAMFS_MAGIC. */
const memory: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/**
 * Why owners and modes prove nothing in the file system of an open file or folder; null where they are what the kernel
 * keeps. What a user can have mounted, such as a disk image or a stick, is nosuid: its owners are whatever was written into
 * it. A file system in memory starts empty, and the one that this process's root lies in is what the machine runs from: of
 * those nosuid says nothing.
 */
function whyUnproven(fd: number, { dev }: BigIntStats): string | null {
  const { type, flags } = fileSystem(fd);
  if (type === fuse) return "lies in a file system that a program makes up (FUSE)";
  if (type === PROC_SUPER_MAGIC) return "lies in procfs, whose links lead anywhere";
  const isProven =
    (flags & ST_NOSUID) === 0 || memory.has(type) || dev === lstatSync("/", { bigint: true }).dev;
  return isProven ? null : "lies in a file system that is mounted with nosuid, where owners prove nothing";
}

/**
 * Checks that a library may be executed: that nobody but root and this process's user can have written it. The file and
 * each folder on the way to it, from its tree's root on, belongs to one of the two, and no group or other may write to
 * it (to a sticky folder they may). Owners are this machine's, so that a container's root that is another user here is
 * not root. What is checked is the open file itself, which nothing can be put in the place of, and the very folders
 * through which it is reached. A file in memory has no folder: no other user's process may have it, or it is sealed.
 *
 * @param isNamed whether a file of this device and inode (`identityOf`) is executed all the same
 * @param proc where the procfs of the processes that may have it is mounted
 * @throws UntrustedError that says what is wrong and how it may be executed all the same
 */
export function checkExecutable(
  file: OpenedFile,
  isNamed: (identity: string) => boolean,
  proc = "/proc",
): void {
  const { fd, tree, path, deleted = false, way: walked = null } = file;
  const name = shownName(tree.name(path));
  const stat = statusOf(fd, name);
  const identity = identityOf(stat);
  if (!stat.isFile()) throw new UntrustedError(`${name} is not a regular file`);
  if (isNamed(identity)) return;
  if (isInMemory(fd)) {
    checkMemory(name, fd, { stat, proc });
    return;
  }
  const way = deleted ? null : (walked ?? tree.way(path));
  const last = way?.at(-1);
  const isThere = last !== undefined && identityOf(last.stat) === identity;
  try {
    checkFile(name, fd, stat);
    if (!isThere && !deleted) throw new UntrustedError(`${name} is another file by now`);
    for (const folder of way?.slice(0, -1) ?? wayToDeleted(tree, path)) {
      checkOwned(shownName(tree.name(folder.path)), folder.stat);
    }
  } catch (error) {
    const advice = isThere ? `; --trust ${name} has it executed all the same` : "";
    throw error instanceof UntrustedError ? new UntrustedError(`${error.message}${advice}`) : error;
  }
}

/** Whether {@link checkExecutable} lets a file pass. */
export function mayExecute(...args: Parameters<typeof checkExecutable>): boolean {
  try {
    checkExecutable(...args);
    return true;
  } catch (error) {
    if (error instanceof UntrustedError) return false;
    throw error;
  }
}

/** The number of the user that an open file belongs to. */
export const ownerOf = (fd: number): number => fstatSync(fd).uid;

/** The folders in which a file lay. */
function wayToDeleted(tree: Tree, path: string): readonly PathStep[] {
  const folder = folderOf(path);
  const way = tree.way(folder);
  if (way !== null && way.at(-1)?.path === folder) return way;
  throw new UntrustedError(`${shownName(tree.name(folder))} is gone, so nobody knows who could write to it`);
}

const linkTo = (fd: number): string => `/proc/self/fd/${fd}`;

function checkFile(name: string, fd: number, stat: BigIntStats): void {
  const reason = whyUnproven(fd, stat);
  if (reason !== null) throw new UntrustedError(`${name} ${reason}`);
  checkOwned(name, stat);
}

/**
 * Checks that nobody but root and this process's user says what a name leads to: what is looked at on the way to it, a folder
 * or a link. @throws UntrustedError
 */
export const checkLookedIn = checkFile;

/** Checks that nobody else may put what is looked for into a folder, where nothing of its name is. @throws UntrustedError */
export function checkLacking(name: string, { mode }: BigIntStats): void {
  if ((Number(mode) & WRITABLE_BY_OTHERS) === 0) return;
  throw new UntrustedError(`${name} can be added to by group or others`);
}

/** Whether a file lies in memory alone (memfd_create): it is in no folder, and whoever has it open may write to it, unless it is sealed. */
const isInMemory = (fd: number): boolean => readlinkSync(linkTo(fd)).startsWith("/memfd:");

function checkMemory(name: string, fd: number, { stat, proc }: { stat: BigIntStats; proc: string }): void {
  checkOwner(name, stat);
  const other = isSealed(fd) ? null : otherHolder(stat, proc);
  if (other === null) return;
  throw new UntrustedError(`${name} lies in memory, where process ${other} of another user may write to it`);
}

const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/** The path without links, each step checked. The kernel has followed it before, so that it holds no loop. */
function resolveTrusted(path: string): string {
  let real = "/";
  checkOwned(real, lstatSync(bytesOf(real)));
  const todo = parts(path).reverse();
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === "..") {
      real = folderOf(real);
      continue;
    }
    const next = below(real, part);
    const stat = lstatSync(bytesOf(next));
    checkOwned(shownName(next), stat);
    if (!stat.isSymbolicLink()) {
      real = next;
      continue;
    }
    const target = nameOf(readlinkSync(bytesOf(next), "buffer"));
    if (target.startsWith("/")) real = "/";
    todo.push(...parts(target).reverse());
  }
  return real;
}

function checkOwner(path: string, stat: Stats | BigIntStats): void {
  const user = process.geteuid?.() ?? 0;
  const owner = Number(stat.uid);
  if (owner !== 0 && owner !== user) {
    const owners = user === 0 ? "root" : `root or user ${user}`;
    throw new UntrustedError(`${path} belongs to user ${owner}; it must belong to ${owners} (chown)`);
  }
}

function checkOwned(path: string, stat: Stats | BigIntStats): void {
  checkOwner(path, stat);
  const mode = Number(stat.mode);
  const matters = stat.isFile() || (stat.isDirectory() && (mode & STICKY) === 0);
  if (matters && (mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new UntrustedError(`${path} can be written by group or others; take that from them (chmod go-w)`);
  }
}
