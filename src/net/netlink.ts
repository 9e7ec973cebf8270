import { SystemError } from "../../ffi/error.ts";
import { AF_NETLINK, type FileDescriptor, recv, SOCK_RAW, send, socket } from "../../ffi/libc.ts";

/** Numbers of include/uapi/linux/{netlink,rtnetlink,if}.h. */
const NETLINK_ROUTE = 0;
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const RTM_NEWLINK = 16;
const RTM_NEWROUTE = 24;
const IFF_UP = 1;
const RT_TABLE_LOCAL = 255;
const RTPROT_BOOT = 3;
const RT_SCOPE_HOST = 254;
const RTN_LOCAL = 2;
const RTA_DST = 1;
const RTA_OIF = 4;

const SIZE_OF_NLMSGHDR = 16;
const align4 = (size: number): number => (size + 3) & ~3;

/** A routing netlink socket of the network namespace this thread is in when it is opened. */
export class RouteNetlink implements Disposable {
  readonly #socket: FileDescriptor = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  #sequence = 0;

  /** Sets an interface up. */
  setLinkUp(index: number): void {
    // struct ifinfomsg: u8 family, pad, u16 type, int index, u32 flags, u32 change
    const message = new Uint8Array(16);
    new Int32Array(message.buffer, 4, 1).set([index]);
    new Uint32Array(message.buffer, 8, 2).set([IFF_UP, IFF_UP]);
    this.#request(RTM_NEWLINK, 0, message, `set link ${index} up`);
  }

  /** Makes all addresses of a prefix local: packets to them are delivered through the interface to this host. */
  addLocalRoute(index: number, family: number, network: Uint8Array, prefix: number): void {
    // struct rtmsg: u8 family, dst_len, src_len, tos, table, protocol, scope, type, u32 flags
    const message = new Uint8Array(12);
    message.set([family, prefix, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL]);
    const interfaceIndex = new Uint8Array(new Uint32Array([index]).buffer);
    const body = Buffer.concat([message, attribute(RTA_DST, network), attribute(RTA_OIF, interfaceIndex)]);
    this.#request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, `add a local route to link ${index}`);
  }

  /** Sends one request and waits for the kernel's acknowledgement. */
  #request(type: number, flags: number, body: Uint8Array, what: string): void {
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
    if (error < 0) throw new SystemError(`netlink: ${what}`, -error);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** struct rtattr: u16 len, u16 type, then the payload, padded to 4 bytes. */
function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align4(4 + payload.length));
  new Uint16Array(bytes.buffer, 0, 2).set([4 + payload.length, type]);
  bytes.set(payload, 4);
  return bytes;
}
