import { attribute, CREATE, Netlink } from "./netlink.ts";

/** Numbers of include/uapi/linux/{netlink,rtnetlink,if}.h. */
const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_NEWROUTE = 24;
const IFF_UP = 1;
const RT_TABLE_LOCAL = 255;
const RTPROT_BOOT = 3;
const RT_SCOPE_HOST = 254;
const RTN_LOCAL = 2;
const RTA_DST = 1;
const RTA_OIF = 4;

const ADVICE = { EPERM: "needs CAP_NET_ADMIN" };

/** The links and routes of the network namespace this thread is in when it is made. */
export class RouteNetlink implements Disposable {
  readonly #netlink = new Netlink(NETLINK_ROUTE);

  /** Sets an interface up. */
  setLinkUp(index: number): void {
    // struct ifinfomsg: u8 family, pad, u16 type, int index, u32 flags, u32 change
    const message = new Uint8Array(16);
    new Int32Array(message.buffer, 4, 1).set([index]);
    new Uint32Array(message.buffer, 8, 2).set([IFF_UP, IFF_UP]);
    this.#netlink.request(RTM_NEWLINK, 0, message, `set link ${index} up`, ADVICE);
  }

  /** Makes all addresses of a prefix local: packets to them are delivered through the interface to this host. */
  addLocalRoute(index: number, family: number, network: Uint8Array, prefix: number): void {
    // struct rtmsg: u8 family, dst_len, src_len, tos, table, protocol, scope, type, u32 flags
    const message = new Uint8Array(12);
    message.set([family, prefix, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL]);
    const interfaceIndex = new Uint8Array(new Uint32Array([index]).buffer);
    const body = Buffer.concat([message, attribute(RTA_DST, network), attribute(RTA_OIF, interfaceIndex)]);
    this.#netlink.request(RTM_NEWROUTE, CREATE, body, `add a local route to link ${index}`, ADVICE);
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}
