import type { FileDescriptor } from "../../../ffi/libc.ts";
import { changeOwner } from "../../../ffi/process.ts";
import {
  AF_PACKET,
  SO_SNDTIMEO,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  setsockoptBytes,
  socket,
} from "../../../ffi/socket-calls.ts";
import { sleep } from "../../../ffi/thread.ts";
import type { Family } from "../../net/address.ts";
import { randomInt } from "../../self/random.ts";
import type { Thing } from "../members/row.ts";
import type { Network } from "../stimulus/private-network.ts";
import type { Files } from "./open-files.ts";
import { type KnownOfSocket, SocketThings } from "./socket-facts.ts";
import { IP, IP_FLAGS, IPV6, isInet, memoryOf, SO, set, TCP, tried } from "./socket-options.ts";

/** EtherTypes: include/uapi/linux/if_ether.h. */
export const [ETH_P_ALL, ETH_P_IP, ETH_P_IPV6] = [3, 0x0800, 0x86dd];
const RENO = new TextEncoder().encode("reno");
/** How long a peer of ours may take, in milliseconds. */
export const PATIENCE = 2000;

/** How many bytes of its buffer what comes next takes, beside those before; undefined where nothing comes in time. */
export function awaited(fd: number, before: number): number | undefined {
  const until = performance.now() + PATIENCE;
  for (;;) {
    const taken = (memoryOf(fd)?.[0] ?? 0) - before;
    if (taken > 0) return taken;
    if (performance.now() > until) return undefined;
    sleep(100);
  }
}

/**
 * What a packet takes beside its buffer: struct sk_buff, 224 to 256 bytes, and skb_shared_info, 320, each up to a line of the cache.
 * Where a kernel has others the buffer's end is refuted.
 */
export const BESIDE = 256 + 320;

/** A length in bytes that needs another buffer than that of the last turn. */
export const lengthOf = (turn: number): number =>
  turn % 2 === 0 ? randomInt(100, 300) : randomInt(750, 1000);

/** Makes sockets in a network of ours, each unlike all others. */
export class SocketMaker {
  /** Those of AF_PACKET, for whose end the kernel waits. */
  readonly packets: FileDescriptor[] = [];
  readonly #known: SocketThings;
  /** How often something was sent. */
  #turn = 0;
  /** The network that they are made in, and what is known of it. */
  #place: { readonly network: Network; readonly namespace: Thing | undefined } | undefined;

  constructor(
    readonly owned: DisposableStack,
    files: Files,
  ) {
    this.#known = new SocketThings(files);
  }

  /** Has `act` make sockets in a network. @param namespace what is known of that */
  inside(network: Network, namespace: Thing | undefined, act: () => void): void {
    this.#place = { network, namespace };
    network.inside(act);
  }

  /** An address of the network that nobody else has. @throws RangeError where none was entered */
  address(family: Family): Uint8Array {
    if (this.#place === undefined) throw new RangeError("no network to take an address of");
    return this.#place.network.address(family);
  }

  /** A number that is another each time. */
  turn(): number {
    return this.#turn++;
  }

  /** One that goes with what owns all of them; a peer of it has {@link PATIENCE}. @throws SystemError */
  open(family: number, type: number, protocol = 0): FileDescriptor {
    const one = this.owned.use(socket(family, type, protocol));
    if (family === AF_PACKET) this.packets.push(one);
    const patience = new BigInt64Array([BigInt(PATIENCE / 1000), 0n]); // struct timeval
    setsockoptBytes(one.fd, SOL_SOCKET, SO_SNDTIMEO, new Uint8Array(patience.buffer));
    // The congestion control that keeps no numbers of its own, which could be the same as others.
    if (isInet(family)) tried(() => setsockoptBytes(one.fd, SOL_TCP, TCP.congestion, RENO));
    return one;
  }

  /** Sets all that can be set to what no other has. @param isAtWork whether it is to send or receive */
  vary(descriptor: FileDescriptor, isAtWork = false): void {
    const { fd } = descriptor;
    for (const [level, option, value] of [
      [SOL_IP, IP.tos, 4 * randomInt(1, 63)],
      [SOL_IP, IP.ttl, randomInt(2, 255)],
      [SOL_IP, IP.multicastTtl, randomInt(2, 255)],
      [SOL_IP, IP.minTtl, isAtWork ? 0 : randomInt(2, 255)],
      [SOL_IP, IP.discovery, randomInt(0, 4)],
      [SOL_IPV6, IPV6.trafficClass, 4 * randomInt(1, 63)],
      [SOL_IPV6, IPV6.minHops, isAtWork ? 0 : randomInt(2, 255)],
      [SOL_TCP, TCP.userTimeout, randomInt(2 ** 20, 2 ** 30)],
      [SOL_TCP, TCP.unsentLow, randomInt(2 ** 20, 2 ** 30)],
      [SOL_SOCKET, SO.priority, randomInt(1, 2 ** 30)],
      [SOL_SOCKET, SO.mark, randomInt(1, 2 ** 30)],
      [SOL_SOCKET, SO.sendBuffer, randomInt(5000, 50_000)],
      [SOL_SOCKET, SO.receiveBuffer, randomInt(5000, 50_000)],
      [SOL_SOCKET, SO.passCredentials, randomInt(0, 2)],
      [SOL_SOCKET, SO.reuse, randomInt(0, 2)],
      [SOL_SOCKET, SO.reusePort, randomInt(0, 2)],
      ...Object.values(IP_FLAGS).map((option) => [SOL_IP, option, randomInt(0, 2)] as const),
    ] as const)
      set(fd, level, option, value);
    if (isAtWork) return;
    set(fd, SOL_SOCKET, SO.boundTo, randomInt(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.incomingCpu, randomInt(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.lowMark, randomInt(1, 2 ** 30));
    set(fd, SOL_SOCKET, SO.peekOffset, randomInt(1, 2 ** 30));
    const pacing = new BigUint64Array([BigInt(randomInt(2 ** 30, 2 ** 45))]);
    tried(() => setsockoptBytes(fd, SOL_SOCKET, SO.pacing, new Uint8Array(pacing.buffer)));
    tried(() => changeOwner(descriptor, randomInt(1, 2 ** 30), randomInt(1, 2 ** 30)));
  }

  /** The thing that is the socket behind a descriptor, by what it tells, and what is known besides. */
  add(descriptor: FileDescriptor, family: number, known: KnownOfSocket): Thing {
    return this.#known.add(descriptor, family, { ...known, network: this.#place?.namespace });
  }
}
