import { read } from "node:fs";
import { promisify } from "node:util";
import { SystemError } from "../../ffi/error.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import {
  AF_NETLINK,
  bind,
  MSG_DONTWAIT,
  recv,
  recvNow,
  SO_RCVBUF,
  SO_RCVTIMEO,
  SOCK_DGRAM,
  SOL_SOCKET,
  send,
  setsockopt,
  setsockoptBytes,
  socket,
  waitReadable,
} from "../../ffi/socket-calls.ts";
import { randomInt } from "../self/random.ts";
import { codeOf } from "../self/thrown.ts";
import { now } from "../self/whereabouts.ts";
import { messagesOf } from "./netlink.ts";

/** Numbers of linux/netlink.h, linux/connector.h and linux/cn_proc.h. */
const NETLINK_CONNECTOR = 11;
const NLMSG_DONE = 3;
const CN_IDX_PROC = 1;
const CN_VAL_PROC = 1;
const PROC_CN_MCAST_LISTEN = 1;
const PROC_EVENT_NONE = 0;
const PROC_EVENT_EXEC = 0x2;
const PROC_EVENT_EXIT = 0x80000000;
/** struct nlmsghdr and struct cn_msg; in struct proc_event what is told stands behind what, cpu and timestamp. */
const [SIZE_OF_NLMSGHDR, SIZE_OF_CN_MSG, TOLD] = [16, 20, 16];

/** Milliseconds that the kernel may take to say that it will tell: it says so before send returns. */
const patience = 200;
/** Microseconds after which a waiting read comes back, so that it ends with the watch. */
const turn = 200_000;
/** Bytes of events that wait to be read. */
const room = 1 << 20;
const largestMessage = 4096;

/** A process that runs another program from now on, or has ended. */
export interface ProcessEvent {
  readonly kind: "exec" | "exit";
  readonly pid: number;
}

const readSome = promisify(read);

/** What the kernel's process connector tells of all processes of the machine (Documentation/driver-api/connector.rst). */
export class ProcessEvents implements Disposable {
  readonly #socket: FileDescriptor;
  readonly #bytes = Buffer.alloc(largestMessage);

  /**
   * @throws SystemError where this process may not listen; Error where nobody tells: below the first namespace of processes, or where
   * the kernel was built without CONFIG_PROC_EVENTS
   */
  constructor() {
    using undo = new DisposableStack();
    this.#socket = undo.use(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR));
    const { fd } = this.#socket;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, room);
    const time = new BigInt64Array([0n, BigInt(turn)]); // struct timeval
    setsockoptBytes(fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(time.buffer));
    // struct sockaddr_nl: u16 family, u16 pad, u32 pid, u32 groups
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    address.writeUInt32LE(CN_IDX_PROC, 8);
    bind(fd, address, "the process connector");
    const mark = randomInt(0, 2 ** 32 - 1);
    send(fd, listenRequest(mark));
    this.#checkAnswer(mark);
    undo.move();
  }

  /** Who listens gets what others asked for too, even where this process would be told nothing: its own answer counts. */
  #checkAnswer(mark: number): void {
    const end = now() + patience;
    while (waitReadable(this.#socket.fd, Math.max(0, Math.ceil(end - now())))) {
      const length = recv(this.#socket.fd, this.#bytes, MSG_DONTWAIT);
      for (const { what, told, asked } of eventsIn(this.#bytes.subarray(0, length))) {
        if (what !== PROC_EVENT_NONE || asked !== mark) continue;
        const errno = told.readUInt32LE(0);
        if (errno !== 0) throw new SystemError("the process connector", errno);
        return;
      }
    }
    throw new Error("the process connector does not answer here");
  }

  /** What has happened; nothing where nothing did for a while. @throws the system's error */
  async next(): Promise<readonly ProcessEvent[]> {
    const happened: ProcessEvent[] = [];
    try {
      const { bytesRead } = await readSome(this.#socket.fd, this.#bytes, 0, this.#bytes.length, null);
      happened.push(...processEvents(this.#bytes.subarray(0, bytesRead)));
      for (;;) {
        const length = recvNow(this.#socket.fd, this.#bytes);
        if (length === null) break;
        happened.push(...processEvents(this.#bytes.subarray(0, length)));
      }
    } catch (error) {
      // ENOBUFS: more happened than there was room for. Whoever listens has to look around from time to time.
      if (!["ENOBUFS", "EAGAIN", "EINTR"].includes(codeOf(error) ?? "")) throw error;
    }
    return happened;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** One message: struct nlmsghdr, struct cn_msg (u32 idx, val, seq, ack; u16 len, flags), u32 enum proc_cn_mcast_op. */
function listenRequest(mark: number): Buffer {
  const message = Buffer.alloc(SIZE_OF_NLMSGHDR + SIZE_OF_CN_MSG + 4);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(NLMSG_DONE, 4);
  message.writeUInt32LE(CN_IDX_PROC, SIZE_OF_NLMSGHDR);
  message.writeUInt32LE(CN_VAL_PROC, SIZE_OF_NLMSGHDR + 4);
  message.writeUInt32LE(mark, SIZE_OF_NLMSGHDR + 12);
  message.writeUInt16LE(4, SIZE_OF_NLMSGHDR + 16);
  message.writeUInt32LE(PROC_CN_MCAST_LISTEN, SIZE_OF_NLMSGHDR + SIZE_OF_CN_MSG);
  return message;
}

/**
 * struct proc_event: u32 what, u32 cpu, u64 timestamp, and what is told. An answer's ack is one more than that of its question. Those
 * cut short are passed over.
 */
function eventsIn(datagram: Uint8Array): readonly { what: number; told: Buffer; asked: number }[] {
  return [...messagesOf(datagram)].flatMap(({ body }) => {
    const message = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const event = message.subarray(SIZE_OF_CN_MSG);
    if (event.length < TOLD + 8) return [];
    return [{ what: event.readUInt32LE(0), told: event.subarray(TOLD), asked: message.readUInt32LE(12) - 1 }];
  });
}

/** The events of whole processes; those of single threads are left out. In both structs pid_t process_pid and process_tgid come first. */
export const processEvents = (datagram: Uint8Array): readonly ProcessEvent[] =>
  eventsIn(datagram).flatMap(({ what, told }): readonly ProcessEvent[] => {
    const [pid, group] = [told.readInt32LE(0), told.readInt32LE(4)];
    if (pid !== group) return [];
    if (what === PROC_EVENT_EXEC) return [{ kind: "exec", pid }];
    return what === PROC_EVENT_EXIT ? [{ kind: "exit", pid }] : [];
  });
