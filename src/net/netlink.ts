import { errnoName, SystemError } from "../../ffi/error.ts";
import { AF_NETLINK, type FileDescriptor, recv, SOCK_RAW, send, socket } from "../../ffi/libc.ts";

/** Numbers of include/uapi/linux/netlink.h. */
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const NLA_F_NESTED = 0x8000;
const SIZE_OF_NLMSGHDR = 16;

/** Flags of a request that makes something which must not be there yet. */
export const CREATE = NLM_F_CREATE | NLM_F_EXCL;

/** What to do about an errno, by its name. */
export type Advice = Readonly<Record<string, string>>;

/** A netlink socket of the network namespace this thread is in when it is opened. */
export class Netlink implements Disposable {
  readonly #socket: FileDescriptor;
  #sequence = 0;

  /** @param protocol NETLINK_ROUTE and so on */
  constructor(protocol: number) {
    this.#socket = socket(AF_NETLINK, SOCK_RAW, protocol);
  }

  /**
   * Sends one request and waits for the kernel's acknowledgement.
   *
   * @param what for the error: what was to be done
   * @param advice for the error: what to do about an errno, by its name
   * @throws SystemError with the errno that the kernel answered
   */
  request(type: number, flags: number, body: Uint8Array, what: string, advice: Advice = {}): void {
    const sequence = ++this.#sequence;
    // struct nlmsghdr: u32 len, u16 type, u16 flags, u32 seq, u32 pid
    const message = new Uint8Array(SIZE_OF_NLMSGHDR + body.length);
    new Uint32Array(message.buffer, 0, 1).set([message.length]);
    new Uint16Array(message.buffer, 4, 2).set([type, flags | NLM_F_REQUEST | NLM_F_ACK]);
    new Uint32Array(message.buffer, 8, 1).set([sequence]);
    message.set(body, SIZE_OF_NLMSGHDR);
    send(this.#socket.fd, message);

    const answer = new Uint8Array(4096);
    recv(this.#socket.fd, answer);
    const [kind] = new Uint16Array(answer.buffer, 4, 1);
    const [answered] = new Uint32Array(answer.buffer, 8, 1);
    const [error = 0] = new Int32Array(answer.buffer, SIZE_OF_NLMSGHDR, 1);
    if (kind !== NLMSG_ERROR || answered !== sequence)
      throw new Error(`${what}: netlink answered out of turn`);
    if (error < 0) throw new SystemError(`netlink: ${what}`, -error, advice[errnoName(-error)]);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** struct nlattr (rtattr): u16 len, u16 type, then the payload, padded to 4 bytes. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + payload.length + 3) & ~3);
  new Uint16Array(bytes.buffer, 0, 2).set([4 + payload.length, type]);
  bytes.set(payload, 4);
  return bytes;
}

/** An attribute that holds attributes. */
export const nested = (type: number, ...attributes: Uint8Array[]): Uint8Array =>
  attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
