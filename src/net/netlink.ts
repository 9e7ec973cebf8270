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
const SIZE_OF_NLATTR = 4;

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
   * Sends questions of one type all at once, and returns the body of the message that answers each. Null where the kernel
   * refused one, or what it said did not fit: to `ask` that one alone tells.
   */
  askAll(type: number, bodies: readonly Uint8Array[]): (Uint8Array | null)[] {
    if (bodies.length === 0) return [];
    const first = this.#sequence + 1;
    // Each has a length that is a multiple of NLMSG_ALIGNTO: attributes have.
    send(this.#socket.fd, Buffer.concat(bodies.map((body) => this.#message(type, 0, body))));
    const answers = bodies.map((): Uint8Array | null => null);
    this.#flight ??= new Datagrams(FLIGHT, LARGEST_IN_FLIGHT);
    const flight = this.#flight;
    // The kernel has answered them all before send returned.
    for (let left = bodies.length; left > 0; ) {
      const datagrams = unlessFull(() => flight.receive(this.#socket.fd), [null]);
      if (datagrams.length === 0) break;
      left -= datagrams.length;
      for (const datagram of datagrams) {
        for (const { type, sequence, body } of datagram === null ? [] : messagesOf(datagram))
          if (sequence >= first && type !== NLMSG_ERROR) answers[sequence - first] = body;
      }
    }
    return answers;
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
    // struct nlmsghdr: u32 len, u16 type, u16 flags, u32 seq, u32 pid
    const message = new Uint8Array(SIZE_OF_NLMSGHDR + body.length);
    setU32(message, 0, message.length);
    setU32(message, 4, ((flags | NLM_F_REQUEST) << 16) | type);
    setU32(message, 8, ++this.#sequence);
    message.set(body, SIZE_OF_NLMSGHDR);
    return message;
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
const u16At = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
const u32At = (bytes: Uint8Array, at: number): number =>
  (u16At(bytes, at) | (u16At(bytes, at + 2) << 16)) >>> 0;

function setU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  bytes[at + 2] = value >> 16;
  bytes[at + 3] = value >> 24;
}

/** The messages of a datagram, copied out. @throws where one does not lie inside */
export function* messagesOf(datagram: Uint8Array): Generator<NetlinkMessage> {
  for (let at = 0; at + SIZE_OF_NLMSGHDR <= datagram.length; ) {
    const length = u32At(datagram, at);
    if (length < SIZE_OF_NLMSGHDR || at + length > datagram.length)
      throw new NetlinkError(`netlink: a message of ${length} bytes at ${at} of ${datagram.length}`);
    yield {
      type: u16At(datagram, at + 4),
      flags: u16At(datagram, at + 6),
      sequence: u32At(datagram, at + 8),
      body: datagram.slice(at + SIZE_OF_NLMSGHDR, at + length),
    };
    at += (length + 3) & ~3;
  }
}

/**
 * The attributes by type, from `start` on, copied out; of equal types the last.
 * @param wanted types: the others are passed over @throws where one does not lie inside
 */
export function attributesOf(
  body: Uint8Array,
  start: number,
  wanted?: ReadonlySet<number>,
): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  for (let at = start; at + SIZE_OF_NLATTR <= body.length; ) {
    const length = u16At(body, at);
    if (length < SIZE_OF_NLATTR || at + length > body.length)
      throw new NetlinkError(`netlink: an attribute of ${length} bytes at ${at} of ${body.length}`);
    const type = u16At(body, at + 2) & NLA_TYPE_MASK;
    // A view of so few bytes takes longer to make than a copy.
    if (wanted?.has(type) !== false) attributes.set(type, body.slice(at + SIZE_OF_NLATTR, at + length));
    at += (length + 3) & ~3;
  }
  return attributes;
}

/** The u32 that these bytes are. @throws where they are not four: the message was cut short, or means something else */
export function u32Of(bytes: Uint8Array): number {
  if (bytes.length === 4) return u32At(bytes, 0);
  throw new NetlinkError(`netlink: ${bytes.length} bytes where a number of 4 should be`);
}

/** A u32 as an attribute's payload. */
export const u32 = (value: number): Uint8Array => Uint8Array.of(value, value >> 8, value >> 16, value >> 24);

/** struct nlattr (rtattr): u16 len, u16 type, then the payload, padded to 4 bytes. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const length = SIZE_OF_NLATTR + payload.length;
  const bytes = new Uint8Array((length + 3) & ~3);
  bytes.set([length & 0xff, length >> 8, type & 0xff, type >> 8]);
  bytes.set(payload, SIZE_OF_NLATTR);
  return bytes;
}

/** An attribute that holds attributes. */
export const nested = (type: number, ...attributes: Uint8Array[]): Uint8Array =>
  attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
