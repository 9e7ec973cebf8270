import type { FileDescriptor } from "../../ffi/libc.ts";
import {
  connect,
  IP_OPTIONS,
  SOCK_DGRAM,
  SOL_IP,
  send,
  setsockoptBytes,
  socket,
} from "../../ffi/socket-calls.ts";
import { bindSomewhere, encodeSockaddr, type Family, formatAddress, type SocketAddress } from "./address.ts";

/** IPOPT_NOOP: one byte of padding in the options of an IPv4 header. */
const IPOPT_NOOP = 1;

/** A UDP socket that is closed with its scope. */
export class UdpSocket implements Disposable {
  readonly #descriptor: FileDescriptor;

  private constructor(descriptor: FileDescriptor) {
    this.#descriptor = descriptor;
  }

  /** A new socket, close-on-exec. @throws SystemError */
  static open(family: Family): UdpSocket {
    return new UdpSocket(socket(family, SOCK_DGRAM));
  }

  /** Binds to some port of an address and returns it with that. */
  bind(address: Omit<SocketAddress, "port">): SocketAddress {
    return bindSomewhere(this.#descriptor, address);
  }

  /** Sets where packets go; none is sent by that. @throws SystemError */
  connect(address: SocketAddress): void {
    connect(this.#descriptor.fd, encodeSockaddr(address), formatAddress(address));
  }

  /** Makes the IPv4 header of every packet longer, by a multiple of 4 bytes up to 40. */
  padHeader(bytes: number): void {
    setsockoptBytes(this.#descriptor.fd, SOL_IP, IP_OPTIONS, new Uint8Array(bytes).fill(IPOPT_NOOP));
  }

  /** Sends one packet to the address that it is connected to. @throws SystemError */
  send(bytes: Uint8Array): void {
    send(this.#descriptor.fd, bytes);
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}
