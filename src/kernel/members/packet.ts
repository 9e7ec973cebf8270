import { host, network, raw } from "../../offsets/values.ts";
import { array, char } from "../synthetic/ctype.ts";
import { possibleNet } from "../synthetic/declarations.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { s32, to, u16, u32 } from "./types.ts";

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
  /** So much of it lies in pages of their own. */
  readonly paged: number;
  readonly protocol: number;
  readonly mark: number;
  readonly priority: number;
  /** What it takes of the reader's buffer. */
  readonly size: number;
  readonly from: number;
  readonly device: Thing | null;
}

/** include/linux/skbuff.h; 184 to 256 bytes. */
export const skBuff = struct<BufferFacts>("sk_buff", 320, ["len"], {
  len: value(u32, ({ length }) => known(length, (it) => host(4, it))),
  data_len: value(u32, ({ paged }) => known(paged, (it) => host(4, it))),
  protocol: value(u16, ({ protocol }) => known(protocol, (it) => network(2, it))),
  mark: value(u32, ({ mark }) => known(mark, (it) => host(4, it))),
  priority: value(u32, ({ priority }) => known(priority, (it) => host(4, it))),
  truesize: value(u32, ({ size }) => known(size, (it) => host(4, it))),
  skb_iif: value(s32, ({ from }) => known(from, (it) => host(4, it))),
  dev: leads(to("net_device"), ({ device }) => device),
});
