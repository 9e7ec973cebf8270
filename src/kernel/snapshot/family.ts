import { existsSync } from "node:fs";
import { SystemError } from "../../../ffi/error.ts";
import {
  AF_PACKET,
  bind,
  SO_PRIORITY,
  SOCK_RAW,
  SOL_SOCKET,
  send,
  setsockopt,
  socket,
} from "../../../ffi/socket-calls.ts";
import { LOOPBACK } from "../../net/namespace.ts";
import { occurs } from "../../offsets/observation.ts";
import { pointerAt } from "../../offsets/pointers.ts";
import { host } from "../../offsets/values.ts";
import { randomInt } from "../../self/random.ts";
import { addressing } from "../running/addressing.ts";
import { facts } from "../stimulus/facts.ts";
import type { GuessScene, Site } from "./sites.ts";

/** There once the kernel has packet sockets. Where it is not, asking for one would load their module (__sock_create). */
const PACKET_SOCKETS = "/proc/self/net/packet";
/** An Ethernet frame of the type that IEEE 802 leaves to local experiments: nobody takes it in. */
const FRAME = Uint8Array.of(...new Uint8Array(12), 0x88, 0xb5, ...new Uint8Array(46));

/**
 * Shows struct sock of a third address family, where IPv4's alone are to be had: what a packet socket sends leads to
 * it by sk_buff.sk. It is a struct sock like any other as far as sock_common goes. In namespaces of our own alone.
 *
 * @param skOffset of sk_buff.sk
 */
export function showPacketSocket({ recorder, sites }: GuessScene, skOffset: number): void {
  if (!existsSync(PACKET_SOCKETS)) return;
  for (const site of sites.filter(({ network }) => network.shared === null)) {
    try {
      site.network.inside(() => sendFrame({ recorder }, site, skOffset));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error; // without CAP_NET_RAW there are no packet sockets
    }
  }
}

function sendFrame({ recorder }: Pick<GuessScene, "recorder">, { witness }: Site, skOffset: number): void {
  using sender = socket(AF_PACKET, SOCK_RAW);
  // struct sockaddr_ll: u16 family, be16 protocol, i32 ifindex, u16 hatype, u8 pkttype, u8 halen, u8 addr[8]
  const address = new Uint8Array(20);
  new Uint16Array(address.buffer, 0, 1).set([AF_PACKET]);
  new Int32Array(address.buffer, 4, 1).set([LOOPBACK]);
  bind(sender.fd, address, "a packet socket");
  // By this number the socket is known to be ours.
  const priority = randomInt(1, 0x7fffffff);
  setsockopt(sender.fd, SOL_SOCKET, SO_PRIORITY, priority);
  const [hit] = recorder.during(() => send(sender.fd, FRAME), { sk_buff: 1 }, [skOffset]);
  const instance = hit === undefined ? null : pointerAt(hit, skOffset, addressing);
  if (hit?.target === undefined || instance === null || !occurs(hit.target, host(4, priority).value)) return;
  witness.note("sock", { ...hit.target, instance }, facts([["offset_family", host(2, AF_PACKET)]]));
}
