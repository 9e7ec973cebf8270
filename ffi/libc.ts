import { CString, linkSymbols, type Pointer, ptr, read, toArrayBuffer } from "bun:ffi";
import { bind as bindFunctions } from "./bind.ts";
import { ClosedError, SystemError } from "./error.ts";
import { globalSymbol } from "./library.ts";

// The C library is in every process already, so its bare name never reaches the file system; musl takes this name
// for itself too. Only symbols that glibc had by 2.17 may stand here.
const c = bindFunctions("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  _exit: { args: ["i32"], returns: "void" },
  accept4: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  bind: { args: ["i32", "buffer", "u32"], returns: "i32" },
  clearenv: { args: [], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
  dup: { args: ["i32"], returns: "i32" },
  dup2: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  fstatfs: { args: ["i32", "buffer"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  getpgid: { args: ["i32"], returns: "i32" },
  getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "buffer", "buffer"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  malloc_usable_size: { args: ["ptr"], returns: "u64" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  munmap: { args: ["u64", "u64"], returns: "i32" },
  openat: { args: ["i32", "buffer", "i32", "u32"], returns: "i32" },
  poll: { args: ["buffer", "u64", "i32"], returns: "i32" },
  posix_spawn: { args: ["buffer", "cstring", "ptr", "ptr", "buffer", "buffer"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  readlinkat: { args: ["i32", "buffer", "buffer", "u64"], returns: "i64" },
  recv: { args: ["i32", "buffer", "u64", "i32"], returns: "i64" },
  recvmmsg: { args: ["i32", "buffer", "u32", "i32", "ptr"], returns: "i32" },
  send: { args: ["i32", "buffer", "u64", "i32"], returns: "i64" },
  setgroups: { args: ["u64", "ptr"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
  setresgid: { args: ["u32", "u32", "u32"], returns: "i32" },
  setresuid: { args: ["u32", "u32", "u32"], returns: "i32" },
  getrlimit: { args: ["i32", "buffer"], returns: "i32" },
  setrlimit: { args: ["i32", "buffer"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "buffer", "u32"], returns: "i32" },
  shutdown: { args: ["i32", "i32"], returns: "i32" },
  signal: { args: ["i32", "ptr"], returns: "ptr" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "buffer"], returns: "i32" },
  syscall: { args: ["i64", "u64", "u64", "u64"], returns: "i64" },
  unshare: { args: ["i32"], returns: "i32" },
  usleep: { args: ["u32"], returns: "i32" },
  vsnprintf: { args: ["buffer", "u64", "ptr", "ptr"], returns: "i32" },
  waitpid: { args: ["i32", "buffer", "i32"], returns: "i32" },
  write: { args: ["i32", "buffer", "u64"], returns: "i64" },
});

/** From the kernel's uapi headers: the same on x86-64 and arm64. */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_NETLINK = 16;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SOL_IP = 0;
export const IP_OPTIONS = 4;
export const SOL_SOCKET = 1;
export const SO_RCVBUF = 8;
export const SO_RCVTIMEO = 20;
export const SOL_TCP = 6;
export const SOL_IPV6 = 41;
export const IPV6_FREEBIND = 78;
export const SO_PRIORITY = 12;
const SO_LINGER = 13;
export const SO_SNDTIMEO = 21;
const SO_ATTACH_FILTER = 26;
const BPF_RET_K = 6;
export const TCP_NODELAY = 1;
export const TCP_INFO = 11;
export const TCP_QUICKACK = 12;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWUTS = 0x4000000;
export const CLONE_NEWIPC = 0x8000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;
export const RLIMIT_CPU = 0;
export const RLIMIT_FSIZE = 1;
export const RLIMIT_CORE = 4;
export const RLIMIT_NPROC = 6;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_AS = 9;
export const POLLIN = 1;
export const MSG_OOB = 1;
const [POLLERR, POLLHUP] = [8, 16];
export const MSG_PEEK = 2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_MORE = 0x8000;
export const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_NAME = 15;
const PR_GET_NAME = 16;
const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
export const SIGKILL = 9;
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
/** Bytes that are mapped of a file whose contents are not asked for. */
const SOME = 4096;
const EACCES = 13;
const EINTR = 4;
const EAGAIN = 11;

/** memfd_create has no wrapper in glibc before 2.27, so it goes by number. */
const SYS_MEMFD_CREATE = process.arch === "arm64" ? 279 : 319;
/** capget(2) and capset(2) have none in the C library at all. */
const SYS_CAPGET = process.arch === "arm64" ? 90 : 125;
const SYS_CAPSET = process.arch === "arm64" ? 91 : 126;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
/** seccomp(2) never had one. */
const SYS_SECCOMP = process.arch === "arm64" ? 277 : 317;

/** The number of getpgid(2). */
export const GETPGID = process.arch === "arm64" ? 155 : 121;

/** A system call that changes nothing, and that the runtime makes none of. */
export function getProcessGroup(): void {
  c.getpgid(0);
}

/** TASK_COMM_LEN of the kernel: a thread's name with its closing zero byte. */
export const TASK_COMM_LEN = 16;

/** Usable bytes of the block that malloc gave at `address`, which must be one. */
export const usableSize = (address: number): number => Number(c.malloc_usable_size(address as Pointer));

/** The version of the GNU C library in this process, as `2.36`; null where it is another one, as musl. */
export function glibcVersion(): string | null {
  asked ??= { version: askGlibcVersion() };
  return asked.version;
}

/** Each file of a TLS library is compared with it. */
let asked: { readonly version: string | null } | undefined;

function askGlibcVersion(): string | null {
  // The musl that the executable carries has the name as well, as Bun asks for it.
  const address = muslVersion() === null ? globalSymbol("gnu_get_libc_version") : null;
  if (address === null) return null;
  const { symbols } = linkSymbols({ version: { ptr: address, args: [], returns: "cstring" } });
  return symbols.version()?.toString() ?? null;
}

/** The version of the musl in this process that the executable carries (assets/build/launcher); a host's musl tells none. */
function muslVersion(): string | null {
  const address = globalSymbol("__libc_version");
  return address === null ? null : new CString(Number(address) as Pointer).toString();
}

/** The kinds of C library; what is made for one cannot be loaded into the other. */
export type LibraryKind = "glibc" | "musl";

/** Which is in this process. */
export const libraryKind = (): LibraryKind => (glibcVersion() === null ? "musl" : "glibc");

/** The C library in this process, as `glibc 2.36` or `musl 1.2.5`. */
export function cLibrary(): string {
  const glibc = glibcVersion();
  return glibc === null ? `musl ${muslVersion() ?? ""}`.trimEnd() : `glibc ${glibc}`;
}

/** The errno of the last failed call on this thread; read it before anything else runs. @throws Error where the C library has none */
export function lastErrno(): number {
  const location = c.__errno_location();
  if (location === null) throw new Error("__errno_location gave no address");
  return read.i32(location);
}

/** What native code may read or write at this moment. */
const inUse = new Set<ArrayBufferView>();

/**
 * Has a function called that takes addresses as numbers, or in structs: what lies there stays alive until it has returned.
 * To the garbage collector an address is a number like others.
 */
export function withAddresses<Arrays extends readonly NodeJS.TypedArray[], Result>(
  arrays: readonly [...Arrays],
  call: (...addresses: { readonly [Index in keyof Arrays]: Pointer }) => Result,
): Result {
  for (const each of arrays) inUse.add(each);
  try {
    return call(...(arrays.map((each) => ptr(each)) as { readonly [Index in keyof Arrays]: Pointer }));
  } finally {
    for (const each of arrays) inUse.delete(each);
  }
}

/** Passes a call's result on, or throws when it is negative. Only for ffi/. */
export function check(result: number | bigint, call: string): number {
  if (result < 0) throw new SystemError(call, lastErrno());
  return Number(result);
}

/** An open file descriptor that is closed with its scope. */
export class FileDescriptor implements Disposable {
  #fd: number;

  constructor(
    fd: number,
    private readonly what: string,
  ) {
    this.#fd = fd;
  }

  /** The descriptor's number. Throws ClosedError once closed. */
  get fd(): number {
    if (this.#fd < 0) throw new ClosedError(this.what);
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Gives the number away: who takes it closes it. */
  release(): number {
    const { fd } = this;
    this.#fd = -1;
    return fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    c.close(this.#fd);
    this.#fd = -1;
  }
}

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

/** Creates a socket (close-on-exec). `protocol` 0 is the family's default. @throws SystemError */
export function socket(family: number, type: number, protocol = 0): FileDescriptor {
  const fd = check(
    c.socket(family, type | SOCK_CLOEXEC, protocol),
    `socket(${family}, ${type}, ${protocol})`,
  );
  return new FileDescriptor(fd, "a socket");
}

/** Two stream sockets that are connected with each other (close-on-exec); none of them blocks. @throws SystemError */
export function socketPair(): readonly [FileDescriptor, FileDescriptor] {
  const fds = new Int32Array(2);
  check(c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), "socketpair");
  const [one = -1, other = -1] = fds;
  return [new FileDescriptor(one, "a socket"), new FileDescriptor(other, "a socket")];
}

/** Binds to an encoded sockaddr. @throws SystemError */
export function bind(fd: number, address: Uint8Array, name: string): void {
  check(c.bind(fd, address, address.byteLength), `bind ${name}`);
}

/** Connects to an encoded sockaddr; blocks until connected on a blocking socket. @throws SystemError */
export function connect(fd: number, address: Uint8Array, name: string): void {
  check(c.connect(fd, address, address.byteLength), `connect ${name}`);
}

/** listen(2). @param backlog connections that may wait to be accepted @throws SystemError */
export function listen(fd: number, backlog: number): void {
  check(c.listen(fd, backlog), "listen");
}

/** Takes one connection from a listening socket (close-on-exec). @throws SystemError */
export function accept(fd: number): FileDescriptor {
  return new FileDescriptor(check(c.accept4(fd, null, null, SOCK_CLOEXEC), "accept4"), "an accepted socket");
}

/** The socket's own address, as an encoded sockaddr. @throws SystemError */
export function getsockname(fd: number): Uint8Array {
  const address = new Uint8Array(128);
  const length = new Uint32Array([address.byteLength]);
  check(c.getsockname(fd, address, length), "getsockname");
  return address.subarray(0, length[0]);
}

/** Fills `value` and returns how many bytes the kernel wrote; an old kernel may write fewer than asked. @throws SystemError */
export function getsockopt(fd: number, level: number, option: number, value: Uint8Array): number {
  const length = new Uint32Array([value.byteLength]);
  check(c.getsockopt(fd, level, option, value, length), `getsockopt(${level}, ${option})`);
  return length[0] ?? 0;
}

/** Sets an option of one or more ints. @throws SystemError */
export function setsockopt(fd: number, level: number, option: number, ...values: number[]): void {
  setsockoptBytes(fd, level, option, new Uint8Array(new Int32Array(values).buffer));
}

/** Sets an option of raw bytes. @throws SystemError */
export function setsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): void {
  check(c.setsockopt(fd, level, option, value, value.byteLength), `setsockopt(${level}, ${option})`);
}

/** Has a connection reset when it is closed, so that no TIME_WAIT stays for a minute. What a listener accepts inherits it. */
export const resetOnClose = (fd: number): void => setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 0);

/** Whatever comes for a socket is dropped, by a filter of one instruction: BPF_RET | BPF_K, no byte. */
export function dropIncoming(fd: number): void {
  const filter = new Uint16Array([BPF_RET_K, 0, 0, 0]); // struct sock_filter: u16 code, u8 jt, jf, u32 k
  withAddresses([filter], (at) => {
    const program = new BigUint64Array([1n, BigInt(at)]); // struct sock_fprog: u16 len, struct sock_filter *filter
    setsockoptBytes(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(program.buffer));
  });
}

/** Closes one direction of a connection. @throws SystemError */
export function shutdown(fd: number, how: number): void {
  check(c.shutdown(fd, how), "shutdown");
}

/** Sends all of `bytes` or throws. */
export function send(fd: number, bytes: Uint8Array, flags = 0): void {
  const sent = check(c.send(fd, bytes, bytes.byteLength, flags), "send");
  if (sent !== bytes.byteLength) throw new Error(`send: only ${sent} of ${bytes.byteLength} bytes went out`);
}

/** Receives at most `bytes.byteLength` bytes; returns how many came, 0 at the end of the stream. @throws SystemError */
export function recv(fd: number, bytes: Uint8Array, flags = 0): number {
  return check(c.recv(fd, bytes, bytes.byteLength, flags), "recv");
}

/** Receives what has come already, as {@link recv} does; null where nothing has. @throws SystemError */
export function recvNow(fd: number, bytes: Uint8Array, flags = 0): number | null {
  const length = c.recv(fd, bytes, bytes.byteLength, flags | MSG_DONTWAIT);
  return length < 0 && lastErrno() === EAGAIN ? null : check(length, "recv");
}

/** Bytes of struct mmsghdr, and where in it are: struct iovec *msg_iov, msg_iovlen, int msg_flags, unsigned int msg_len. */
const mmsghdr = { size: 64, iov: 16, iovlen: 24, flags: 48, length: 56 } as const;
const SIZE_OF_IOVEC = 16;

/** Room for datagrams that one call receives. */
export class Datagrams {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  readonly #vectors: BigUint64Array;
  readonly #headers: Uint8Array;
  readonly #numbers: DataView;

  /** @param count most datagrams @param size bytes of each */
  constructor(
    readonly count: number,
    size: number,
  ) {
    this.#size = size;
    this.#bytes = new Uint8Array(count * size);
    this.#vectors = new BigUint64Array((count * SIZE_OF_IOVEC) / 8);
    this.#headers = new Uint8Array(count * mmsghdr.size);
    this.#numbers = new DataView(this.#headers.buffer);
    const [first, vectors] = [ptr(this.#bytes), ptr(this.#vectors)];
    for (let at = 0; at < count; at++) {
      this.#vectors.set([BigInt(first + at * size), BigInt(size)], 2 * at);
      this.#numbers.setBigUint64(at * mmsghdr.size + mmsghdr.iov, BigInt(vectors + at * SIZE_OF_IOVEC), true);
      this.#numbers.setBigUint64(at * mmsghdr.size + mmsghdr.iovlen, 1n, true);
    }
  }

  /**
   * Receives what has come already, good until the next call; null stands for a datagram that is longer than there is room.
   * Nothing where nothing has come. @throws SystemError
   */
  receive(fd: number): (Uint8Array | null)[] {
    const count = c.recvmmsg(fd, this.#headers, this.count, MSG_DONTWAIT, null);
    if (count < 0 && lastErrno() === EAGAIN) return [];
    return Array.from({ length: check(count, "recvmmsg") }, (_, at) => {
      const header = at * mmsghdr.size;
      const isCut = (this.#numbers.getInt32(header + mmsghdr.flags, true) & MSG_TRUNC) !== 0;
      const length = this.#numbers.getUint32(header + mmsghdr.length, true);
      return isCut ? null : this.#bytes.subarray(at * this.#size, at * this.#size + length);
    });
  }
}

/** Whether whoever could read what is written to `fd` has closed its end. */
export function isAbandoned(fd: number): boolean {
  const entry = new Int32Array([fd, 0]); // what is asked for here is told unasked
  if (c.poll(entry, 1, 0) <= 0) return false;
  return (((entry[1] ?? 0) >> 16) & (POLLERR | POLLHUP)) !== 0;
}

/** Waits until `fd` can be read, at most `milliseconds`; returns whether it can. @throws SystemError */
export function waitReadable(fd: number, milliseconds: number): boolean {
  const entry = new Int32Array([fd, POLLIN]); // struct pollfd: int fd, short events, short revents
  for (;;) {
    const ready = c.poll(entry, 1, milliseconds);
    // poll is never restarted after a signal, and the runtime's garbage collector uses signals.
    if (ready >= 0 || lastErrno() !== EINTR) return check(ready, "poll") > 0;
  }
}

/** Blocks this thread. For waits that no event can end. */
export function sleep(microseconds: number): void {
  c.usleep(microseconds);
}

/** Moves this thread into a new network namespace. Needs CAP_SYS_ADMIN. @throws SystemError */
export function unshareNetwork(): void {
  check(c.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)");
}

/** Moves this thread into the network namespace that `namespace` was opened from. @throws SystemError */
export function enterNetwork(namespace: FileDescriptor): void {
  check(c.setns(namespace.fd, CLONE_NEWNET), "setns");
}

/** This thread's name as its TASK_COMM_LEN raw bytes, with the closing zeros. @throws SystemError */
export function threadName(): Uint8Array {
  const name = new Uint8Array(TASK_COMM_LEN);
  withAddresses([name], (at) => check(c.prctl(PR_GET_NAME, at, 0, 0, 0), "prctl(PR_GET_NAME)"));
  return name;
}

/** Names this thread; `name` is TASK_COMM_LEN bytes that end in zero. @throws SystemError */
export function setThreadName(name: Uint8Array): void {
  withAddresses([name], (at) => check(c.prctl(PR_SET_NAME, at, 0, 0, 0), "prctl(PR_SET_NAME)"));
}

/** Formats what C code would print; returns the length that the whole text needs, which may be more than fits. @throws SystemError */
export function vsnprintf(text: Uint8Array, format: Pointer, list: Pointer): number {
  return check(c.vsnprintf(text, text.byteLength, format, list), "vsnprintf");
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

const cString = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);

/** A path as the system calls take it. Only for ffi/. */
export function terminated(path: string | Uint8Array): Uint8Array {
  if (typeof path === "string") return cString(path);
  const text = new Uint8Array(path.byteLength + 1);
  text.set(path);
  return text;
}

/** Writes all of `bytes`; blocks meanwhile on a blocking descriptor. `what` is named in errors. @throws SystemError */
export function writeAll(fd: number, bytes: Uint8Array, what: string): void {
  for (let at = 0; at < bytes.byteLength; ) {
    const rest = bytes.subarray(at);
    at += check(c.write(fd, rest, rest.byteLength), `write ${what}`);
  }
}

/** Another number for an open file (not close-on-exec). @throws SystemError */
export const duplicate = (fd: number): number => check(c.dup(fd), `dup(${fd})`);

/** Makes `to` a name of what `from` names; what `to` named before is closed. @throws SystemError */
export function replaceDescriptor(from: number, to: number): void {
  check(c.dup2(from, to), `dup2(${from}, ${to})`);
}

/** Whether the descriptor reaches a program that this process executes. A number that is not open is no error. */
export function setInherited(fd: number, isInherited: boolean): void {
  c.fcntl(fd, F_SETFD, isInherited ? 0 : FD_CLOEXEC);
}

/** The signals by which the kernel and abort(3) end a process for its own mistakes: SIGILL, TRAP, ABRT, BUS, FPE, SEGV. */
export const faultSignals: readonly number[] = [4, 5, 6, 7, 8, 11];

/**
 * From now on a mistake of native code ends the process at once, with the signal's number as its exit code: without the
 * runtime's report, and without the line that the kernel logs of a process that dies by such a signal.
 * @throws Error where the C library has no _exit
 */
export function exitOnFault(): void {
  const handler = globalSymbol("_exit"); // it takes the signal's number, as a handler does
  if (handler === null) throw new Error("the C library has no _exit");
  for (const signal of faultSignals) c.signal(signal, handler);
}

/** Ends the process with all its threads at once (exit_group(2)), without a word. Works from any thread. */
export function exitNow(status: number): void {
  c._exit(status);
}

/**
 * Runs a program with this environment alone and waits, blocked, for its end. It inherits this thread's namespaces,
 * no_new_privs and all descriptors that are not close-on-exec.
 *
 * @param last done when all else is ready: a thread whose children are to have a new pid namespace can start no thread any
 *   more (clone(2): EINVAL), which this runtime does whenever something became worth compiling, and crashes
 * @returns its exit code, or 128 + the signal that ended it
 * @throws SystemError
 */
export function runProgram(
  path: string,
  args: readonly string[],
  environment: readonly string[] = [],
  last?: () => void,
): number {
  const [pid, status] = [new Int32Array(1), new Int32Array(1)];
  const list = (texts: readonly number[]) => new BigUint64Array([...texts.map(BigInt), 0n]);
  const errno = withAddresses([...args, ...environment].map(cString), (...texts) => {
    const lists = [list(texts.slice(0, args.length)), list(texts.slice(args.length))] as const;
    last?.();
    return c.posix_spawn(pid, path, null, null, ...lists);
  });
  if (errno !== 0) throw new SystemError(`posix_spawn ${path}`, errno);
  while (c.waitpid(pid[0] ?? 0, status, 0) < 0) {
    const failed = lastErrno();
    if (failed !== EINTR) throw new SystemError("waitpid", failed);
  }
  const word = status[0] ?? 0; // WTERMSIG: the low 7 bits; WEXITSTATUS: the byte above
  return (word & 0x7f) === 0 ? (word >> 8) & 0xff : 128 + (word & 0x7f);
}

/** Moves this thread, or for CLONE_NEWPID its children, into a new namespace. @returns whether that was permitted */
export const unshare = (flag: number): boolean => c.unshare(flag) === 0;

/** This process is killed when the thread that started it ends. A change of the user clears this. @throws SystemError */
export function dieWithParent(): void {
  check(c.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)");
}

/** No program that this thread executes gains rights: neither by a set-uid bit nor by file capabilities. @throws SystemError */
export function setNoNewPrivileges(): void {
  check(c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
}

/** Capabilities are not handed on to a program that this thread executes. Linux before 4.3 has none to hand on. */
export function clearAmbientCapabilities(): void {
  c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/** The capability sets of a thread. */
export interface Capabilities {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

/** struct __user_cap_header_struct, of the calling thread. */
const capabilityHeader = (): Uint32Array => new Uint32Array([LINUX_CAPABILITY_VERSION_3, 0]);

/** The capability sets of this thread. @throws SystemError */
export function capabilities(): Capabilities {
  const sets = new Uint32Array(6); // effective, permitted, inheritable: the low halves, then the high ones
  withAddresses([capabilityHeader(), sets], (...at) => check(c.syscall(SYS_CAPGET, ...at, 0), "capget"));
  const of = (index: number) => BigInt(sets[index] ?? 0) | (BigInt(sets[index + 3] ?? 0) << 32n);
  return { effective: of(0), permitted: of(1), inheritable: of(2) };
}

/** Sets the capability sets of this thread. @throws SystemError, as for a capability that is not permitted */
export function setCapabilities({ effective, permitted, inheritable }: Capabilities): void {
  const all = [effective, permitted, inheritable];
  const sets = new Uint32Array([
    ...all.map((set) => Number(set & 0xffffffffn)),
    ...all.map((set) => Number(set >> 32n)),
  ]);
  withAddresses([capabilityHeader(), sets], (...at) => check(c.syscall(SYS_CAPSET, ...at, 0), "capset"));
}

/**
 * Capabilities of this thread that a program which it executes could take up again by its file's are none any more; those in
 * effect stay. Container runtimes hand them to all that they start (CVE-2022-24769).
 * @throws SystemError
 */
export const clearInheritableCapabilities = (): void =>
  setCapabilities({ ...capabilities(), inheritable: 0n });

/**
 * This thread has no capability any more. With no_new_privs a program that it executes has none either, root's in a user
 * namespace included.
 * @throws SystemError
 */
export const clearCapabilities = (): void =>
  setCapabilities({ effective: 0n, permitted: 0n, inheritable: 0n });

/** No core dump of this process, and no process of the same user may trace it. @throws SystemError */
export function setUndumpable(): void {
  check(c.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)");
}

/**
 * Makes the whole process another user's and another group's, without further groups: the C library tells all threads.
 * From 0 this gives up all capabilities.
 * @throws SystemError
 */
export function changeUser(uid: number, gid: number): void {
  check(c.setgroups(0, null), "setgroups");
  check(c.setresgid(gid, gid, gid), `setresgid(${gid})`);
  check(c.setresuid(uid, uid, uid), `setresuid(${uid})`);
}

/**
 * Lowers the soft and the hard limit of a resource: never above the hard limit that is there, which needs no privilege.
 * @throws SystemError
 */
export function lowerLimit(resource: number, limit: number): void {
  const limits = new BigUint64Array(2); // struct rlimit: the soft one, the hard one
  check(c.getrlimit(resource, limits), `getrlimit(${resource})`);
  const [, hard = 0n] = limits;
  setLimit(resource, hard < BigInt(limit) ? Number(hard) : limit);
}

/** Sets the soft and the hard limit of a resource; only lowering needs no privilege. @throws SystemError */
export function setLimit(resource: number, limit: number): void {
  check(
    c.setrlimit(resource, new BigUint64Array([BigInt(limit), BigInt(limit)])),
    `setrlimit(${resource}, ${limit})`,
  );
}

/** @param program the address of a struct sock_fprog; 0 for NULL */
const filterAllThreads = (program: number): number =>
  check(
    c.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program),
    "seccomp(SECCOMP_SET_MODE_FILTER)",
  );

/** Whether the kernel has system call filters for all threads, by seccomp(2)'s own recipe. @throws SystemError where it has none */
export function checkSystemCallFilter(): void {
  try {
    filterAllThreads(0);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== "EFAULT") throw error;
  }
}

/**
 * Puts a system call filter (an array of struct sock_filter) on all threads. Needs no_new_privs or CAP_SYS_ADMIN.
 * @throws SystemError, or Error where a thread has a filter of its own
 */
export function setSystemCallFilter(filter: Uint8Array): void {
  const unsynced = withAddresses([filter], (at) => {
    const program = new BigUint64Array([BigInt(filter.byteLength / 8), BigInt(at)]); // struct sock_fprog
    return withAddresses([program], filterAllThreads);
  });
  if (unsynced !== 0) throw new Error(`seccomp: thread ${unsynced} has a filter of its own`);
}

/** Takes all variables from this process's environment, the launcher's and the runtime's own included. @throws SystemError */
export function clearEnvironment(): void {
  check(c.clearenv(), "clearenv");
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

  constructor(fd: number, size: number, what: string) {
    const address = check(c.mmap(null, size, PROT_READ_WRITE, MAP_SHARED, fd, 0), `mmap ${what}`);
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
