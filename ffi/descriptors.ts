import { type Pointer, toArrayBuffer } from "bun:ffi";
import { type BigIntStats, fstatSync } from "node:fs";
import { bind, lastErrno } from "./bind.ts";
import { ClosedError, SystemError } from "./error.ts";
import { check, cString, FileDescriptor, terminated, withAddresses } from "./libc.ts";

// Only symbols that glibc had by 2.17 may stand here, as in libc.ts.
const c = bind("libc.so.6", {
  dup: { args: ["i32"], returns: "i32" },
  dup2: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  fstatfs: { args: ["i32", "buffer"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  munmap: { args: ["u64", "u64"], returns: "i32" },
  openat: { args: ["i32", "buffer", "i32", "u32"], returns: "i32" },
  readlinkat: { args: ["i32", "buffer", "buffer", "u64"], returns: "i32" },
  syscall: { args: ["i64", "u64", "u64", "u64"], returns: "i32" },
  write: { args: ["i32", "buffer", "u64"], returns: "i32" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64, but where it says otherwise. */
const F_SETFD = 2;
const F_GET_SEALS = 1034;
const F_SEAL_WRITE = 8;
const FD_CLOEXEC = 1;
const MFD_CLOEXEC = 1;
const MFD_NOEXEC_SEAL = 8;
export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_CLOEXEC = 0x80000;
const O_PATH = 0x200000;
const O_NOFOLLOW = process.arch === "arm64" ? 0x8000 : 0x20000;
/** Bytes that the kernel gives of a path at most, with its closing zero byte. */
const PATH_MAX = 4096;
const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
/** Bytes of a page at most, on any of the architectures. */
const LARGEST_PAGE = 0x10000;
/** Bytes that are mapped of a file when only the mapping itself matters. */
const SOME = 4096;
const EACCES = 13;
/** memfd_create has no wrapper in glibc before 2.27, so it goes by number. */
const SYS_MEMFD_CREATE = process.arch === "arm64" ? 279 : 319;

/**
 * Opens a file (close-on-exec).
 * @param path text, or bytes without a closing zero byte @param shown the name in errors @param flags O_*; default: for reading
 * @throws SystemError
 */
export function open(path: string | Uint8Array, shown = String(path), flags = O_RDONLY): FileDescriptor {
  const fd = c.openat(AT_FDCWD, terminated(path), flags | O_CLOEXEC, 0);
  return new FileDescriptor(check(fd, `open ${shown}`), shown);
}

/** What a path that is not absolute counts from: the working directory, in place of a folder's descriptor. */
export const AT_FDCWD = -100;
/** PROC_SUPER_MAGIC of linux/magic.h. */
export const PROC_SUPER_MAGIC = 0x9fa0;

/**
 * A handle to what a path names, which does not open it (O_PATH, close-on-exec): no device starts, no FIFO blocks.
 *
 * @param folder descriptor that a relative path counts from @param path bytes, without a closing zero byte
 * @param follow follow a link in the last part; without it the link itself is named
 * @param shown the name in errors @throws SystemError
 */
export function openPath(folder: number, path: Uint8Array, follow: boolean, shown: string): FileDescriptor {
  const fd = c.openat(folder, terminated(path), O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), 0);
  return new FileDescriptor(check(fd, `open ${shown}`), shown);
}

/**
 * What a descriptor or handle leads to. @param shown the name in errors
 * @throws SystemError such as ENOTCONN, ESTALE or EACCES, where a file system behind a server cannot or does not want to say
 */
export function statusOf(fd: number, shown: string): BigIntStats {
  try {
    return fstatSync(fd, { bigint: true });
  } catch (error) {
    const errno = error instanceof Error && "errno" in error ? Math.abs(Number(error.errno)) : 0;
    throw new SystemError(`stat ${shown}`, errno);
  }
}

/** Where the link leads that {@link openPath} gave: bytes, as they stand in it. @throws SystemError */
export function readLink(fd: number): Uint8Array {
  const text = new Uint8Array(PATH_MAX);
  return text.subarray(0, check(c.readlinkat(fd, new Uint8Array(1), text, text.byteLength), "readlink"));
}

/** ST_NOSUID of statfs(2): the file system is mounted so that no program in it gains rights by its owner. */
export const ST_NOSUID = 2;

/** The file system that holds an open file: its type by linux/magic.h, and its mount's flags of statfs(2). @throws SystemError */
export function fileSystem(fd: number): { readonly type: number; readonly flags: number } {
  const statfs = new BigUint64Array(32); // struct statfs, 120 bytes: f_type is its first member of 8, f_flags its eleventh
  check(c.fstatfs(fd, new Uint8Array(statfs.buffer)), "fstatfs");
  return { type: Number(statfs[0] ?? 0n), flags: Number(statfs[10] ?? 0n) };
}

/** Whether the kernel refuses all writing to an open file in memory for good, by whomever (F_SEAL_WRITE). */
export function isSealed(fd: number): boolean {
  const seals = c.fcntl(fd, F_GET_SEALS, 0);
  return seals >= 0 && (seals & F_SEAL_WRITE) !== 0;
}

/** An anonymous file in memory that holds `bytes`; it has no name in any file system. @throws SystemError of memfd_create */
export function memoryFile(name: string, bytes: Uint8Array): FileDescriptor {
  const fd = withAddresses([cString(name)], (title) => {
    const make = (flags: number): number => Number(c.syscall(SYS_MEMFD_CREATE, title, flags, 0));
    const made = make(MFD_CLOEXEC);
    if (made >= 0) return made;
    // With vm.memfd_noexec=2 only non-executable files may be made; mapping them executable stays allowed.
    const again = lastErrno() === EACCES ? make(MFD_CLOEXEC | MFD_NOEXEC_SEAL) : made;
    const refusal = new SystemError("memfd_create", lastErrno());
    const other = again < 0 ? sharedMemory() : again;
    if (other < 0) throw refusal;
    return other;
  });
  const file = new FileDescriptor(fd, name);
  writeAll(file.fd, bytes, name);
  return file;
}

/**
 * An anonymous file in memory where memfd_create is not to be had, before Linux 3.17: memory that may be shared lies in one,
 * and /proc leads root to it (Linux 3.3, CONFIG_CHECKPOINT_RESTORE). @returns its descriptor; below 0 where there is none
 */
function sharedMemory(): number {
  const address = Number(c.mmap(null, LARGEST_PAGE, PROT_READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (address < 0) return address;
  try {
    const ends = [address, address + LARGEST_PAGE].map((each) => each.toString(16));
    const path = terminated(`/proc/self/map_files/${ends.join("-")}`);
    const fd = c.openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd >= 0) check(c.ftruncate(fd, 0), "ftruncate");
    return fd;
  } finally {
    c.munmap(address, LARGEST_PAGE);
  }
}

/** Writes all of `bytes`; blocks meanwhile on a blocking descriptor. `what` is named in errors. @throws SystemError */
export function writeAll(fd: number, bytes: Uint8Array, what: string): void {
  for (let at = 0; at < bytes.byteLength; ) {
    const rest = bytes.subarray(at);
    at += check(c.write(fd, rest, rest.byteLength), `write ${what}`);
  }
}

/** Another descriptor of an open file (not close-on-exec). @throws SystemError */
export const duplicate = (fd: number): number => check(c.dup(fd), `dup(${fd})`);

/** Makes `to` a name of what `from` names; what `to` named before is closed. @throws SystemError */
export function replaceDescriptor(from: number, to: number): void {
  check(c.dup2(from, to), `dup2(${from}, ${to})`);
}

/** Whether the descriptor reaches a program that this process executes. A number that is not open is no error. */
export function setInherited(fd: number, isInherited: boolean): void {
  c.fcntl(fd, F_SETFD, isInherited ? 0 : FD_CLOEXEC);
}

/** Has the beginning of an open file mapped for reading while `look` runs. @param look is given its address @throws SystemError */
export function whileMapped<Result>(fd: number, what: string, look: (address: number) => Result): Result {
  const address = check(c.mmap(null, SOME, PROT_READ, MAP_PRIVATE, fd, 0), `mmap ${what}`);
  try {
    return look(address);
  } finally {
    c.munmap(address, SOME);
  }
}

/**
 * A whole file's bytes as they lie in memory, to the end of this process. Only for what never becomes shorter: to read behind
 * its end would end the process.
 *
 * @returns null where the file cannot be mapped
 */
export function mappedForEver(fd: number, size: number): Uint8Array | null {
  const address = Number(c.mmap(null, size, PROT_READ, MAP_PRIVATE, fd, 0));
  return address < 0 ? null : new Uint8Array(toArrayBuffer(address as Pointer, 0, size));
}

/** Shared memory mapped from a file descriptor, unmapped with its scope. */
export class Mapping implements Disposable {
  #address: number;
  readonly #bytes: Uint8Array;

  /** @param offset in the file, in bytes: a multiple of a page's */
  constructor(fd: number, size: number, what: string, offset = 0) {
    const address = check(c.mmap(null, size, PROT_READ_WRITE, MAP_SHARED, fd, offset), `mmap ${what}`);
    this.#address = address;
    this.#bytes = new Uint8Array(toArrayBuffer(address as Pointer, 0, size));
  }

  /** A copy of `length` bytes at `at`: views of the mapping itself never leave, they would outlive it. */
  copy(at: number, length: number): Uint8Array {
    return this.#live().slice(at, at + length);
  }

  /** Writes `bytes` at `at`. */
  write(at: number, bytes: Uint8Array): void {
    this.#live().set(bytes, at);
  }

  #live(): Uint8Array {
    if (this.#address === 0) throw new ClosedError("a memory mapping");
    return this.#bytes;
  }

  [Symbol.dispose](): void {
    if (this.#address === 0) return;
    c.munmap(this.#address, this.#bytes.byteLength);
    this.#address = 0;
  }
}
