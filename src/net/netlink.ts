import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import {
  AF_NETLINK,
  bind,
  Datagrams,
  MSG_TRUNC,
  recvNow,
  SOCK_RAW,
  send,
  setsockopt,
  socket,
  waitReadable,
} from "../../ffi/socket-calls.ts";

/** Numbers of include/uapi/linux/netlink.h. */
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const SOL_NETLINK = 270;
const NETLINK_GET_STRICT_CHK = 12;
const SIZE_OF_NLMSGHDR = 16;
export const SIZE_OF_NLATTR = 4;

/** The kernel never answers with more than this at once (netlink_dump). */
const LARGEST_DATAGRAM = 32 << 10;
/** Answers that one call receives of those to many questions, and the bytes of each; a longer one is asked for alone. */
const [FLIGHT, LARGEST_IN_FLIGHT] = [32, 2048];
/** The kernel answers before send returns; only a fault makes this wait longer than a moment. */
const TIMEOUT_MS = 2000;
/** A dump during which things changed is asked for anew, so many times. */
const DUMP_ATTEMPTS = 5;

/** Flags of a request that makes something which must not be there yet. */
export const CREATE = NLM_F_CREATE | NLM_F_EXCL;

/** The kernel did not answer, or not as it should. An errno that it answered is a SystemError. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
}

/** One message: the header's type, flags and sequence number, and what follows the header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** A netlink socket of the network namespace this thread is in when it is opened. */
export class Netlink implements Disposable {
  readonly #socket: FileDescriptor;
  readonly #answer = new Uint8Array(LARGEST_DATAGRAM);
  #questions = new Uint8Array(0);
  #flight: Datagrams | undefined;
  #sequence = 0;

  /** @param protocol NETLINK_ROUTE and so on */
  constructor(protocol: number) {
    this.#socket = socket(AF_NETLINK, SOCK_RAW, protocol);
  }

  /**
   * Sends one request and waits for the kernel's acknowledgement.
   *
   * @param what for the error: what was to be done
   * @throws SystemError with the errno that the kernel answered
   */
  request(type: number, flags: number, body: Uint8Array, what: string): void {
    const [answer] = this.#answers(this.#send(type, flags | NLM_F_ACK, body), what);
    if (answer?.type !== NLMSG_ERROR) throw new NetlinkError(`${what}: netlink answered out of turn`);
    refuseError(answer, what);
  }

  /** Sends one question and returns the one message that answers it. @throws SystemError as `request` does */
  ask(type: number, body: Uint8Array, what: string): Uint8Array {
    const [answer] = this.#answers(this.#send(type, 0, body), what);
    if (answer === undefined) throw new NetlinkError(`${what}: netlink answered nothing`);
    refuseError(answer, what);
    return answer.body;
  }

  /**
   * Sends questions of one type all at once, and has the message that answers each read where it was received. Nothing is read of
   * one that the kernel refused, or where what it said did not fit: to `ask` that one alone tells.
   *
   * @param size bytes of a question's body at most
   * @param write puts the body of a question there; returns where it ends
   * @param read is told which question is answered, and where in `bytes` the body lies, good until it returns
   */
  askAll(
    type: number,
    count: number,
    size: number,
    write: (which: number, bytes: Uint8Array, at: number) => number,
    read: (which: number, bytes: Uint8Array, start: number, end: number) => void,
  ): void {
    if (count === 0) return;
    const room = count * (SIZE_OF_NLMSGHDR + size);
    if (this.#questions.length < room) this.#questions = new Uint8Array(room);
    const [questions, first] = [this.#questions, this.#sequence + 1];
    let end = 0;
    for (let which = 0; which < count; which++) {
      const start = end;
      // Each has a length that is a multiple of NLMSG_ALIGNTO: attributes have.
      end = write(which, questions, start + SIZE_OF_NLMSGHDR);
      this.#writeHeader(questions, start, end - start, type, 0);
    }
    send(this.#socket.fd, questions.subarray(0, end));
    this.#flight ??= new Datagrams(FLIGHT, LARGEST_IN_FLIGHT);
    const flight = this.#flight;
    let left = count;
    const readMessages = (bytes: Uint8Array, from: number, to: number): void => {
      for (let at = from; at + SIZE_OF_NLMSGHDR <= to; ) {
        const length = messageLength(bytes, at, to);
        const which = u32At(bytes, at + 8) - first;
        if (which >= 0 && which < count) {
          left--;
          if (u16At(bytes, at + 4) !== NLMSG_ERROR) read(which, bytes, at + SIZE_OF_NLMSGHDR, at + length);
        }
        at += aligned(length);
      }
    };
    // The kernel has answered them all before send returned: where nothing comes any more, what is left did not fit.
    const receive = (): number => flight.receive(this.#socket.fd, readMessages);
    while (left > 0 && unlessFull(receive, 1) > 0);
  }

  /**
   * Asks for all things of a kind that are as the header says. Linux before 4.20 tells of all: who asks still has to look.
   * @throws SystemError as `request` does
   */
  dumpLike(type: number, body: Uint8Array, what: string): Uint8Array[] {
    this.#setStrict(true);
    try {
      return this.dump(type, body, what);
    } finally {
      this.#setStrict(false); // the kernel takes other questions amiss meanwhile
    }
  }

  #setStrict(isStrict: boolean): void {
    try {
      setsockopt(this.#socket.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, Number(isStrict));
    } catch (error) {
      if (!(error instanceof SystemError && error.code === "ENOPROTOOPT")) throw error;
    }
  }

  /** Asks for all things of a kind, as they were at one moment. @throws SystemError as `request` does */
  dump(type: number, body: Uint8Array, what: string): Uint8Array[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const bodies = this.#dumpOnce(type, body, what);
      if (bodies !== null) return bodies;
    }
    throw new NetlinkError(`${what}: things changed during each of ${DUMP_ATTEMPTS} dumps`);
  }

  /** One dump; null where things changed while it went on, so that it may mix old and new. */
  #dumpOnce(type: number, body: Uint8Array, what: string): Uint8Array[] | null {
    const sequence = this.#send(type, NLM_F_DUMP, body);
    const bodies: Uint8Array[] = [];
    let isWhole = true;
    for (;;) {
      for (const message of this.#answers(sequence, what)) {
        refuseError(message, what);
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) isWhole = false;
        if (message.type === NLMSG_DONE) return isWhole ? bodies : null;
        bodies.push(message.body);
      }
    }
  }

  #send(type: number, flags: number, body: Uint8Array): number {
    send(this.#socket.fd, this.#message(type, flags, body));
    return this.#sequence;
  }

  /** The next message to send. */
  #message(type: number, flags: number, body: Uint8Array): Uint8Array {
    const message = new Uint8Array(SIZE_OF_NLMSGHDR + body.length);
    this.#writeHeader(message, 0, message.length, type, flags);
    message.set(body, SIZE_OF_NLMSGHDR);
    return message;
  }

  /** Writes struct nlmsghdr: u32 len, u16 type, u16 flags, u32 seq, u32 pid (0: the kernel knows whose socket it is). */
  #writeHeader(bytes: Uint8Array, at: number, length: number, type: number, flags: number): void {
    setU32(bytes, at, length);
    setU32(bytes, at + 4, ((flags | NLM_F_REQUEST) << 16) | type);
    setU32(bytes, at + 8, ++this.#sequence);
    setU32(bytes, at + 12, 0);
  }

  /** The messages of the next datagram that answers; what answers a question given up earlier is dropped. */
  #answers(sequence: number, what: string): NetlinkMessage[] {
    for (;;) {
      const length = recvNow(this.#socket.fd, this.#answer, MSG_TRUNC);
      if (length === null) {
        if (waitReadable(this.#socket.fd, TIMEOUT_MS)) continue;
        throw new NetlinkError(`${what}: netlink did not answer within ${TIMEOUT_MS} ms`);
      }
      if (length > this.#answer.length)
        throw new NetlinkError(`${what}: netlink answered ${length} bytes at once`);
      const messages = [...messagesOf(this.#answer.subarray(0, length))];
      const ours = messages.filter((message) => message.sequence === sequence);
      if (ours.length > 0) return ours;
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Tells whether anything changed in the network namespace this thread is in when it is made. */
export class NetlinkMonitor implements Disposable {
  readonly #socket: FileDescriptor;
  readonly #message = new Uint8Array(LARGEST_DATAGRAM);

  /** @param groups bits of multicast groups: 1 << (RTNLGRP_… - 1) */
  constructor(protocol: number, groups: number) {
    using undo = new DisposableStack();
    this.#socket = undo.use(socket(AF_NETLINK, SOCK_RAW, protocol));
    // struct sockaddr_nl: u16 family, u16 pad, u32 pid, u32 groups
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    address.writeUInt32LE(groups, 8);
    bind(this.#socket.fd, address, "netlink groups");
    undo.move();
  }

  /** Whether there was a message since the last call. The kernel sends them before a change's own call returns. */
  changed(): boolean {
    let isChanged = false;
    // More came than the socket holds: a change all the same.
    while (unlessFull(() => recvNow(this.#socket.fd, this.#message), 0) !== null) isChanged = true;
    return isChanged;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** What `receive` gives; `full` where a socket could not hold all that was sent to it, which is said once. */
function unlessFull<Received>(receive: () => Received, full: Received): Received {
  try {
    return receive();
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOBUFS") return full;
    throw error;
  }
}

/** Throws what NLMSG_ERROR, or a dump's NLMSG_DONE, carries: a negative errno first, 0 for success. */
function refuseError({ type, body }: NetlinkMessage, what: string): void {
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) return;
  const error = body.length < 4 ? 0 : u32At(body, 0) | 0;
  if (error < 0) throw new SystemError(`netlink: ${what}`, -error);
}

/** A number in host order, which is little-endian on both architectures. A DataView of each message takes longer to make. */
export const u16At = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
const u32At = (bytes: Uint8Array, at: number): number =>
  (u16At(bytes, at) | (u16At(bytes, at + 2) << 16)) >>> 0;

/** Writes a u32 in host order. */
export function setU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  bytes[at + 2] = value >> 16;
  bytes[at + 3] = value >> 24;
}

/** Where what follows something of so many bytes begins: NLMSG_ALIGN, NLA_ALIGN. */
export const aligned = (length: number): number => (length + 3) & ~3;

/** Bytes of the message at `at`. @throws where it does not lie before `end` */
function messageLength(bytes: Uint8Array, at: number, end: number): number {
  const length = u32At(bytes, at);
  if (length >= SIZE_OF_NLMSGHDR && at + length <= end) return length;
  throw new NetlinkError(`netlink: a message of ${length} bytes at ${at} of ${end}`);
}

/** The messages of a datagram, copied out. @throws where one does not lie inside */
export function* messagesOf(datagram: Uint8Array): Generator<NetlinkMessage> {
  for (let at = 0; at + SIZE_OF_NLMSGHDR <= datagram.length; ) {
    const length = messageLength(datagram, at, datagram.length);
    yield {
      type: u16At(datagram, at + 4),
      flags: u16At(datagram, at + 6),
      sequence: u32At(datagram, at + 8),
      body: datagram.slice(at + SIZE_OF_NLMSGHDR, at + length),
    };
    at += aligned(length);
  }
}

/** Bytes of the attribute at `at`, its own header included. @throws where it does not lie before `end` */
export function attributeLength(bytes: Uint8Array, at: number, end: number): number {
  const length = u16At(bytes, at);
  if (length >= SIZE_OF_NLATTR && at + length <= end) return length;
  throw new NetlinkError(`netlink: an attribute of ${length} bytes at ${at} of ${end}`);
}

/** The number of the type of the attribute at `at`, without its flags. */
export const attributeType = (bytes: Uint8Array, at: number): number => u16At(bytes, at + 2) & NLA_TYPE_MASK;

/** The attributes by type, from `start` on, copied out; of equal types the last. @throws where one does not lie inside */
export function attributesOf(body: Uint8Array, start: number): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  for (let at = start; at + SIZE_OF_NLATTR <= body.length; ) {
    const length = attributeLength(body, at, body.length);
    attributes.set(attributeType(body, at), body.slice(at + SIZE_OF_NLATTR, at + length));
    at += aligned(length);
  }
  return attributes;
}

/** The u32 that these bytes are. @throws where they are not four: the message was cut short, or means something else */
export function u32Of(bytes: Uint8Array, start = 0, end = bytes.length): number {
  if (end - start === 4) return u32At(bytes, start);
  throw new NetlinkError(`netlink: ${end - start} bytes where a number of 4 should be`);
}

/** A u32 as an attribute's payload. */
export const u32 = (value: number): Uint8Array => Uint8Array.of(value, value >> 8, value >> 16, value >> 24);

/** struct nlattr (rtattr): u16 len, u16 type, then the payload, padded to 4 bytes. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(SIZE_OF_NLATTR + payload.length));
  writeAttribute(bytes, 0, type, payload);
  return bytes;
}

/** Writes an attribute there. @returns the byte at which the next one begins */
export function writeAttribute(bytes: Uint8Array, at: number, type: number, payload: Uint8Array): number {
  const [length, start] = [SIZE_OF_NLATTR + payload.length, at + SIZE_OF_NLATTR];
  const end = at + aligned(length);
  setU32(bytes, at, (type << 16) | length);
  // For so few bytes a call of the runtime takes longer.
  for (let next = start; next < end; next++) bytes[next] = payload[next - start] ?? 0;
  return end;
}

/** An attribute that holds attributes. */
export const nested = (type: number, ...attributes: Uint8Array[]): Uint8Array =>
  attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
