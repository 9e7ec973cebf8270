import { AF_INET } from "../../ffi/socket-calls.ts";
import { attribute, CREATE, Netlink, nested } from "./netlink.ts";

/** Numbers of include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack,nf_conntrack_common}.h. */
const NETLINK_NETFILTER = 12;
const IPCTNL_MSG_CT_NEW = (1 << 8) | 0; // NFNL_SUBSYS_CTNETLINK
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_TIMEOUT = 7;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;

/** Status bits of enum ip_conntrack_status. A new entry has to be CONFIRMED, or the kernel answers EBUSY. */
export const IPS_SEEN_REPLY = 1 << 1;
export const IPS_ASSURED = 1 << 2;
export const IPS_CONFIRMED = 1 << 3;

export const IPPROTO_UDP = 17;
/** Long enough for a run; entries die with their namespace anyway. */
const TIMEOUT_SECONDS = 60;

/** One direction of a tracked IPv4 UDP flow; addresses are 4 bytes in network order, ports in host order. */
export interface Tuple {
  readonly source: { readonly address: Uint8Array; readonly port: number };
  readonly destination: { readonly address: Uint8Array; readonly port: number };
}

/** The connection tracking table of the network namespace this thread is in when it is made. */
export class ConntrackNetlink implements Disposable {
  readonly #netlink = new Netlink(NETLINK_NETFILTER);

  /** Makes an entry without any traffic. */
  add(original: Tuple, reply: Tuple, status: number): void {
    const body = Buffer.concat([
      Uint8Array.of(AF_INET, 0, 0, 0), // struct nfgenmsg: u8 family, u8 version, be16 res_id
      encodeTuple(CTA_TUPLE_ORIG, original),
      encodeTuple(CTA_TUPLE_REPLY, reply),
      attribute(CTA_STATUS, be32(status)),
      attribute(CTA_TIMEOUT, be32(TIMEOUT_SECONDS)),
    ]);
    this.#netlink.request(IPCTNL_MSG_CT_NEW, CREATE, body, "add a conntrack entry");
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}

const encodeTuple = (type: number, { source, destination }: Tuple): Uint8Array =>
  nested(
    type,
    nested(
      CTA_TUPLE_IP,
      attribute(CTA_IP_V4_SRC, source.address),
      attribute(CTA_IP_V4_DST, destination.address),
    ),
    nested(
      CTA_TUPLE_PROTO,
      attribute(CTA_PROTO_NUM, Uint8Array.of(IPPROTO_UDP)),
      attribute(CTA_PROTO_SRC_PORT, be16(source.port)),
      attribute(CTA_PROTO_DST_PORT, be16(destination.port)),
    ),
  );

const be16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value);
const be32 = (value: number): Uint8Array => Uint8Array.of(value >> 24, value >> 16, value >> 8, value);
