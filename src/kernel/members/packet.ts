import { host, masked, network, raw } from "../../offsets/values.ts";
import { array, char } from "../synthetic/ctype.ts";
import { possibleNet } from "../synthetic/declarations.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { s32, skBuffData, to, u8, u16, u32 } from "./typedefs.ts";

/** What is known of an interface. */
export interface DeviceFacts {
  readonly name: string;
  readonly mtu: number;
  readonly index: number;
  readonly network: Thing;
}

/** include/linux/netdevice.h; 2 to 3 KiB. */
export const netDevice = struct<DeviceFacts>("net_device", 4096, ["name", "mtu"], {
  name: value(array(char, 16), ({ name }) => known(name, (it) => raw(new TextEncoder().encode(`${it}\0`)))),
  ifindex: value(s32, ({ index }) => known(index, (it) => host(4, it))),
  mtu: value(u32, ({ mtu }) => known(mtu, (it) => host(4, it))),
  nd_net: leads(possibleNet, ({ network }) => network),
});

/** What is known of data that waits for its reader. */
export interface BufferFacts {
  readonly length: number;
  /** Bytes of it that lie in pages of their own, not in the buffer. */
  readonly paged: number;
  readonly protocol: number;
  readonly mark: number;
  readonly priority: number;
  /** Bytes that it is counted with in the reader's receive buffer. */
  readonly size: number;
  readonly from: number;
  /** The low bits of its hash, as many as {@link HASH_BITS} has. */
  readonly hash: number;
  /** PACKET_HOST and so on of include/uapi/linux/if_packet.h. */
  readonly type: number;
  /** Where its data and its buffer end, from where that begins. */
  readonly tail: number;
  readonly end: number;
  readonly device: Thing | null;
}

/** What a filter tells of a packet's hash: so many bytes it leaves of the packet. */
export const HASH_BITS = 0x7ff;

/** A byte of bit-fields, under a name of ours. */
export const PACKET_TYPE = "pkt_type and so on";

/** include/linux/skbuff.h; 184 to 256 bytes. */
export const skBuff = struct<BufferFacts>(
  "sk_buff",
  320,
  ["len"],
  {
    len: value(u32, ({ length }) => known(length, (it) => host(4, it))),
    data_len: value(u32, ({ paged }) => known(paged, (it) => host(4, it))),
    protocol: value(u16, ({ protocol }) => known(protocol, (it) => network(2, it))),
    mark: value(u32, ({ mark }) => known(mark, (it) => host(4, it))),
    priority: value(u32, ({ priority }) => known(priority, (it) => host(4, it))),
    truesize: value(u32, ({ size }) => known(size, (it) => host(4, it))),
    [PACKET_TYPE]: { ...value(u8, ({ type }) => known(type, (it) => masked(1, it, 7))), isNamed: true },
    tail: value(skBuffData, ({ tail }) => known(tail, (it) => host(4, it))),
    end: value(skBuffData, ({ end }) => known(end, (it) => host(4, it))),
    hash: value(u32, ({ hash }) => known(hash, (it) => masked(4, it, HASH_BITS))),
    skb_iif: value(s32, ({ from }) => known(from, (it) => host(4, it))),
    dev: leads(to("net_device"), ({ device }) => device),
  },
  {
    relations: [
      {
        kind: "before",
        first: "len",
        second: PACKET_TYPE,
        because: "sk_buff declares cb, which may have a copy of pkt_type, ahead of len",
      },
    ],
  },
);
