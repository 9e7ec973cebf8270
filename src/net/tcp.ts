import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import {
  accept,
  connect,
  getsockopt,
  listen,
  MSG_DONTWAIT,
  MSG_PEEK,
  recv,
  resetOnClose,
  SHUT_RD,
  SHUT_WR,
  SO_SNDTIMEO,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  send,
  setsockopt,
  setsockoptBytes,
  shutdown,
  socket,
  TCP_INFO,
  TCP_NODELAY,
  TCP_QUICKACK,
  waitReadable,
} from "../../ffi/socket-calls.ts";
import { bindSomewhere, encodeSockaddr, type Family, formatAddress, type SocketAddress } from "./address.ts";

/** Socket states of include/net/tcp_states.h. */
export const TCP_ESTABLISHED = 1;
export const TCP_SYN_SENT = 2;
export const TCP_FIN_WAIT1 = 4;
export const TCP_CLOSE = 7;
export const TCP_CLOSE_WAIT = 8;
export const TCP_LAST_ACK = 9;
export const TCP_LISTEN = 10;

/** Offsets in struct tcp_info of include/uapi/linux/tcp.h, which never change. */
const TCPI_STATE = 0;
const TCPI_UNACKED = 24;
const TCPI_RTT = 68;
const TCPI_RTTVAR = 72;
const SIZE_OF_TCP_INFO_UP_TO_RTTVAR = 76;

/** How long a loopback peer may take before something is wrong, in milliseconds. */
const PATIENCE = 2000;

/** What the kernel tells of a TCP socket. */
export interface TcpInfo {
  /** TCP_ESTABLISHED and so on. */
  readonly state: number;
  /** Segments that were sent and not acknowledged; their acknowledgement will change the timing. */
  readonly unacknowledged: number;
  /** tcp_sock.srtt_us >> 3, in microseconds. */
  readonly rtt: number;
  /** tcp_sock.mdev_us >> 2, in microseconds. */
  readonly rttvar: number;
}

/** What a wait that was too long is put down to. */
const SILENCE = "packets over loopback are dropped, as an nft rule or an eBPF program of a cgroup can";

/** A TCP socket that is closed with its scope. Calls block, but no longer than {@link PATIENCE}. */
export class TcpSocket implements Disposable {
  readonly #descriptor: FileDescriptor;

  private constructor(descriptor: FileDescriptor) {
    this.#descriptor = descriptor;
  }

  /** A new socket, close-on-exec, whose connect(2) and sends give up after {@link PATIENCE}. @throws SystemError */
  static open(family: Family): TcpSocket {
    using undo = new DisposableStack();
    const descriptor = undo.use(socket(family, SOCK_STREAM));
    // struct timeval: seconds and microseconds. connect(2) keeps to it too.
    const patience = new BigInt64Array([
      BigInt(Math.floor(PATIENCE / 1000)),
      BigInt((PATIENCE % 1000) * 1000),
    ]);
    setsockoptBytes(descriptor.fd, SOL_SOCKET, SO_SNDTIMEO, new Uint8Array(patience.buffer));
    undo.move();
    return new TcpSocket(descriptor);
  }

  /**
   * Binds to some port of an address and returns it with that. The address may be one of a local
   * route that no interface bears.
   */
  bind(address: Omit<SocketAddress, "port">): SocketAddress {
    return bindSomewhere(this.#descriptor, address);
  }

  /** listen(2), with room for one connection. @throws SystemError */
  listen(): void {
    listen(this.#descriptor.fd, 1);
  }

  /** Takes a listening socket back to TCP_CLOSE, from where it can listen again. */
  unlisten(): void {
    shutdown(this.#descriptor.fd, SHUT_RD);
  }

  /** @throws SystemError ETIMEDOUT where nobody answers in time */
  connect(address: SocketAddress): void {
    const name = formatAddress(address);
    try {
      connect(this.#descriptor.fd, encodeSockaddr(address), name);
    } catch (error) {
      // connect(2): the time that SO_SNDTIMEO gives is over.
      const isSilent = error instanceof SystemError && error.code === "EINPROGRESS";
      throw isSilent ? new SystemError(`connect ${name}`, constants.errno.ETIMEDOUT, SILENCE) : error;
    }
  }

  /** Waits for a connection and takes it. @throws SystemError, or Error where none comes in time */
  accept(): TcpSocket {
    this.#awaitReadable("a connection");
    return new TcpSocket(accept(this.#descriptor.fd));
  }

  /** Acknowledges with data, not at once: a round trip then lasts as long as the peer's answer takes. */
  delayAcknowledgements(): void {
    setsockopt(this.#descriptor.fd, SOL_TCP, TCP_NODELAY, 1);
    this.#acknowledge(0);
  }

  /** Acknowledges what comes next as soon as it comes. */
  hastenAcknowledgements(): void {
    this.#acknowledge(1);
  }

  /** Sets TCP_QUICKACK where the kernel can: a socket that an eBPF program made one of MPTCP has no such option, and goes without. */
  #acknowledge(quickly: 0 | 1): void {
    try {
      setsockopt(this.#descriptor.fd, SOL_TCP, TCP_QUICKACK, quickly);
    } catch (error) {
      if (!(error instanceof SystemError && ["ENOPROTOOPT", "EOPNOTSUPP"].includes(error.code))) throw error;
    }
  }

  /** Sends all of the bytes. @throws SystemError, or Error where the kernel takes only some */
  send(bytes: Uint8Array): void {
    send(this.#descriptor.fd, bytes);
  }

  /** Waits for data; returns how many bytes came, 0 at the end of the stream. */
  receive(bytes: Uint8Array): number {
    this.#awaitReadable("data");
    return recv(this.#descriptor.fd, bytes);
  }

  /** Looks at the first received byte, which must be there, and leaves it where it is. */
  peek(): void {
    recv(this.#descriptor.fd, new Uint8Array(1), MSG_PEEK | MSG_DONTWAIT);
  }

  /** Sends the end of the stream. */
  shutdown(): void {
    shutdown(this.#descriptor.fd, SHUT_WR);
  }

  get isOpen(): boolean {
    return this.#descriptor.isOpen;
  }

  /** The inode number that the kernel gave the socket in sockfs. */
  get inode(): number {
    return fstatSync(this.#descriptor.fd).ino;
  }

  /** TCP_INFO of tcp(7), of this moment. @throws SystemError */
  info(): TcpInfo {
    const bytes = new Uint8Array(SIZE_OF_TCP_INFO_UP_TO_RTTVAR);
    getsockopt(this.#descriptor.fd, SOL_TCP, TCP_INFO, bytes);
    const words = new Uint32Array(bytes.buffer);
    return {
      state: bytes[TCPI_STATE] ?? 0,
      unacknowledged: words[TCPI_UNACKED / 4] ?? 0,
      rtt: words[TCPI_RTT / 4] ?? 0,
      rttvar: words[TCPI_RTTVAR / 4] ?? 0,
    };
  }

  /** Closes without a TIME_WAIT. */
  [Symbol.dispose](): void {
    if (!this.#descriptor.isOpen) return;
    resetOnClose(this.#descriptor.fd);
    this.#descriptor[Symbol.dispose]();
  }

  #awaitReadable(what: string): void {
    if (!waitReadable(this.#descriptor.fd, PATIENCE))
      throw new SystemError(
        `wait ${PATIENCE} ms for ${what} over loopback`,
        constants.errno.ETIMEDOUT,
        SILENCE,
      );
  }
}
