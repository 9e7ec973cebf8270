import { SystemError } from "../../../ffi/error.ts";
import {
  AF_INET,
  AF_INET6,
  getsockopt,
  SOL_SOCKET,
  SOL_TCP,
  setsockopt,
  TCP_INFO,
} from "../../../ffi/socket-calls.ts";
import type { Family } from "../../net/address.ts";
import type { InetFlag } from "../members/socket.ts";

/** Options of include/uapi/asm-generic/socket.h, linux/in.h, in6.h and tcp.h. */
export const SO = {
  reuse: 2,
  type: 3,
  sendBuffer: 7,
  receiveBuffer: 8,
  priority: 12,
  passCredentials: 16,
  lowMark: 18,
  detachFilter: 27,
  mark: 36,
  reusePort: 15,
  protocol: 38,
  domain: 39,
  peekOffset: 42,
  pacing: 47,
  incomingCpu: 49,
  memory: 55,
  cookie: 57,
  boundTo: 62,
} as const;
export const IP = { tos: 1, ttl: 2, discovery: 10, minTtl: 21, multicastTtl: 33 } as const;
export const IP_FLAGS: Readonly<Record<InetFlag, number>> = {
  errors: 11,
  freebind: 15,
  transparent: 19,
  noPort: 24,
  multicastLoop: 34,
  multicastAll: 49,
};
export const IPV6 = { only: 26, trafficClass: 67, minHops: 73 } as const;
export const TCP = {
  maxSegment: 2,
  clamp: 10,
  congestion: 13,
  userTimeout: 18,
  repair: 19,
  repairQueue: 20,
  queueSequence: 21,
  repairWindow: 29,
  unsentLow: 25,
} as const;

/** Offsets in struct tcp_info: include/uapi/linux/tcp.h. */
export const INFO = {
  sendMss: 16,
  inFlight: 24,
  lost: 32,
  mostBacklog: 28,
  receiveThreshold: 64,
  threshold: 76,
  congestionWindow: 80,
  advertisedMss: 84,
  sentAgain: 100,
  segsOut: 136,
  segsIn: 140,
  dataSegsIn: 152,
  dataSegsOut: 156,
  delivered: 192,
  sendWindow: 228,
  receiveWindow: 232,
} as const;
export const INFO_LONG = { bytesAcked: 120, bytesReceived: 128, bytesSent: 200 } as const;
const SIZE_OF_TCP_INFO = 240;

/** Whether sockets of a family are of IP. */
export const isInet = (family: number): family is Family => family === AF_INET || family === AF_INET6;

/** What a call gives; undefined where the system refuses it. */
export function tried<Result>(call: () => Result): Result | undefined {
  try {
    return call();
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}

/** Sets an option of an int, where the kernel takes it. */
export const set = (fd: number, level: number, option: number, value: number): void => {
  tried(() => setsockopt(fd, level, option, value));
};

/** The number that an option of an int has; undefined where the kernel does not tell it. */
export const told = (fd: number, level: number, option: number): number | undefined =>
  tried(() => {
    const words = new Int32Array(1);
    return getsockopt(fd, level, option, new Uint8Array(words.buffer)) === 4 ? words[0] : undefined;
  });

/** As {@link told}, of an option of 64 bits of SOL_SOCKET. */
export const toldLong = (fd: number, option: number): bigint | undefined =>
  tried(() => {
    const words = new BigUint64Array(1);
    return getsockopt(fd, SOL_SOCKET, option, new Uint8Array(words.buffer)) === 8 ? words[0] : undefined;
  });

/** SK_MEMINFO_* of include/uapi/linux/sock_diag.h: what was received, and so on, in bytes. */
export const memoryOf = (fd: number): Uint32Array | undefined =>
  tried(() => {
    const memory = new Uint32Array(9);
    getsockopt(fd, SOL_SOCKET, SO.memory, new Uint8Array(memory.buffer));
    return memory;
  });

/** Words of struct tcp_info by their offsets, as far as this kernel has them. */
export function infoOf(fd: number): ((at: number) => number | undefined) | undefined {
  const bytes = new Uint8Array(SIZE_OF_TCP_INFO);
  const length = tried(() => getsockopt(fd, SOL_TCP, TCP_INFO, bytes));
  if (length === undefined) return undefined;
  const view = new DataView(bytes.buffer);
  return (at) => (at + 4 <= length ? view.getUint32(at, true) : undefined);
}
