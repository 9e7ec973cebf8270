import { ptr } from "bun:ffi";
import { bind as bindFunctions, lastErrno } from "./bind.ts";
import { check, EINTR, FileDescriptor, withAddresses } from "./libc.ts";

// Only symbols that glibc had by 2.17 may stand here, as in libc.ts.
const c = bindFunctions("libc.so.6", {
  accept4: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  bind: { args: ["i32", "buffer", "u32"], returns: "i32" },
  connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
  getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "buffer", "buffer"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  poll: { args: ["buffer", "u64", "i32"], returns: "i32" },
  recv: { args: ["i32", "buffer", "u64", "i32"], returns: "i32" },
  recvmmsg: { args: ["i32", "buffer", "u32", "i32", "ptr"], returns: "i32" },
  send: { args: ["i32", "buffer", "u64", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "buffer", "u32"], returns: "i32" },
  shutdown: { args: ["i32", "i32"], returns: "i32" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "buffer"], returns: "i32" },
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
export const POLLIN = 1;
export const MSG_OOB = 1;
const [POLLERR, POLLHUP] = [8, 16];
export const MSG_PEEK = 2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_MORE = 0x8000;
const EAGAIN = 11;

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

/** An instruction of a socket's filter (struct sock_filter of linux/filter.h): how many are left out where a jump is taken, or not. */
export interface FilterInstruction {
  readonly code: number;
  readonly k: number;
  readonly taken?: number;
  readonly not?: number;
}

/** Puts a filter before a socket: of what comes it keeps as many bytes as that returns. @throws SystemError */
export function setFilter(fd: number, instructions: readonly FilterInstruction[]): void {
  const filter = new Uint32Array(
    instructions.flatMap(({ code, k, taken = 0, not = 0 }) => [code | (taken << 16) | (not << 24), k]),
  );
  withAddresses([filter], (at) => {
    // struct sock_fprog: u16 len, struct sock_filter *filter
    const program = new BigUint64Array([BigInt(instructions.length), BigInt(at)]);
    setsockoptBytes(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(program.buffer));
  });
}

/** Whatever comes for a socket is dropped. */
export const dropIncoming = (fd: number): void => setFilter(fd, [{ code: BPF_RET_K, k: 0 }]);

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

/** Receives what has come already, as {@link recv} does, and returns how many bytes that is; null where nothing has. @throws SystemError */
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
  readonly #numbers: Int32Array;

  /** @param count most datagrams @param size bytes of each */
  constructor(
    readonly count: number,
    size: number,
  ) {
    this.#size = size;
    this.#bytes = new Uint8Array(count * size);
    this.#vectors = new BigUint64Array((count * SIZE_OF_IOVEC) / 8);
    this.#headers = new Uint8Array(count * mmsghdr.size);
    this.#numbers = new Int32Array(this.#headers.buffer);
    const headers = new BigUint64Array(this.#headers.buffer);
    const [first, vectors] = [ptr(this.#bytes), ptr(this.#vectors)];
    for (let at = 0; at < count; at++) {
      this.#vectors.set([BigInt(first + at * size), BigInt(size)], 2 * at);
      headers[(at * mmsghdr.size + mmsghdr.iov) / 8] = BigInt(vectors + at * SIZE_OF_IOVEC);
      headers[(at * mmsghdr.size + mmsghdr.iovlen) / 8] = 1n;
    }
  }

  /**
   * Receives what has come already. A view of each datagram would take longer to make than most take to read.
   *
   * @param read is told where in `bytes` each datagram lies, good until it returns; not of one that is longer than there is room
   * @returns how many came, 0 where nothing has @throws SystemError
   */
  receive(fd: number, read: (bytes: Uint8Array, start: number, end: number) => void): number {
    const count = c.recvmmsg(fd, this.#headers, this.count, MSG_DONTWAIT, null);
    if (count < 0 && lastErrno() === EAGAIN) return 0;
    check(count, "recvmmsg");
    for (let which = 0; which < count; which++) {
      const header = which * mmsghdr.size;
      const isCut = ((this.#numbers[(header + mmsghdr.flags) / 4] ?? 0) & MSG_TRUNC) !== 0;
      const start = which * this.#size;
      if (!isCut) read(this.#bytes, start, start + (this.#numbers[(header + mmsghdr.length) / 4] ?? 0));
    }
    return count;
  }
}

/** Whether whoever could read what is written to `fd` has closed its end. */
export function isAbandoned(fd: number): boolean {
  const entry = new Int32Array([fd, 0]); // POLLERR is reported without being asked for
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
