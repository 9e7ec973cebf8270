import { readFileSync } from "node:fs";
import { AF_INET, AF_NETLINK, recv, SOCK_RAW, send, socket } from "../../ffi/socket-calls.ts";
import { Btf } from "../../src/btf/btf.ts";
import { btfOf } from "../../src/btf/encode.ts";
import { minimalTypes } from "../../src/btf/minimal.ts";
import { EbpfObject } from "../../src/bytecode/object.ts";
import { askedBy } from "../../src/bytecode/relocations.ts";
import { MetadataService } from "../../src/gateway/metadata.ts";
import { nameOf } from "../../src/input/name.ts";
import { makeBtf } from "../../src/kernel/synthetic/make.ts";
import type { IpAddress } from "../../src/net/address.ts";
import { formatIp } from "../../src/net/ip-text.ts";
import { attribute, attributesOf, messagesOf, nested, u32 } from "../../src/net/netlink.ts";
import { countNextHops, parseAddress, parseLink, RouteReader } from "../../src/net/route.ts";
import { assetBytes } from "../../src/self/assets.ts";
import { buildCoreReader } from "../core/reader.ts";
import type { Sample } from "./mutate.ts";
import { inputName, type Opened, same, type Target, unlessRefused, Wrong } from "./target.ts";

/** RTM_GETLINK, RTM_GETADDR and RTM_GETROUTE of rtnetlink.h, with the size of what follows the header. */
const dumps = [
  [18, 16],
  [22, 8],
  [26, 12],
] as const;
const NLM_F_REQUEST_DUMP = 0x301;

/** What this machine's kernel answers first when it is asked for its links, addresses and routes. */
const datagrams = (): readonly Buffer[] =>
  dumps.map(([type, size]) => {
    using netlink = socket(AF_NETLINK, SOCK_RAW);
    const question = Buffer.alloc(16 + size);
    question.writeUInt32LE(question.length, 0);
    question.writeUInt16LE(type, 4);
    question.writeUInt16LE(NLM_F_REQUEST_DUMP, 6);
    send(netlink.fd, question);
    const answer = Buffer.alloc(32 << 10);
    return answer.subarray(0, recv(netlink.fd, answer));
  });

/** A route with two next hops, as rtnetlink.h has it. */
function multipath(): Buffer {
  const hop = (index: number) =>
    Buffer.concat([Uint8Array.of(16, 0, 0, 0), u32(index), attribute(5, Uint8Array.of(192, 0, 2, index))]);
  const body = Buffer.concat([
    Uint8Array.of(AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0),
    attribute(4, u32(2)),
    nested(9, hop(1), hop(2)),
  ]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(24, 4);
  return Buffer.concat([header, body]);
}

/** The last attribute of a type, read once more in the simplest way; undefined where there is none. */
function attributeIn(body: Uint8Array, start: number, type: number): Uint8Array | undefined {
  const buffer = Buffer.from(body);
  let found: Uint8Array | undefined;
  for (let at = start; at + 4 <= buffer.length; at += (buffer.readUInt16LE(at) + 3) & ~3)
    if ((buffer.readUInt16LE(at + 2) & 0x3fff) === type)
      found = buffer.subarray(at + 4, at + buffer.readUInt16LE(at));
  return found;
}

/** An address in full, whose family and bytes must fit. */
function checkAddress(address: IpAddress | null, bytes: Uint8Array | undefined): void {
  if (address !== null)
    same("an address", [...address.address], bytes === undefined ? undefined : [...bytes]);
  if (address !== null && formatIp(address) === "") throw new Wrong("an address without a text");
}

/** One for all, as in a batch: what it remembers of other messages must not be told of this one. */
const routes = new RouteReader();

function checkMessage(body: Uint8Array): boolean {
  const [family = 0] = body;
  const number = (bytes: Uint8Array | undefined) =>
    bytes?.length === 4 ? Buffer.from(bytes).readUInt32LE() : "no number of 32 bits";
  const route = unlessRefused(() => routes.read(body));
  if (route !== null) {
    same("a route's interface", route.through, number(attributeIn(body, 12, 4)));
    same("a route's type", route.type, body[7]);
    checkAddress(route.source, attributeIn(body, 12, 7));
    const gateway = attributeIn(body, 12, 5);
    if (route.gateway?.family === family && gateway?.length === route.gateway.address.length)
      checkAddress(route.gateway, gateway);
  }
  const link = unlessRefused(() => parseLink(body));
  if (link !== null) {
    same("a link's index", link.index, number(body.subarray(4, 8)));
    if (/[\0/]/.test(link.name)) throw new Wrong(`a link's name ${JSON.stringify(link.name)}`);
  }
  const address = unlessRefused(() => parseAddress(body));
  if (address !== null) {
    same("an address's index", address.index, number(body.subarray(4, 8)));
    checkAddress(address.network, attributeIn(body, 8, 1));
    if (address.prefix > 8 * address.network.address.length) throw new Wrong(`a prefix of ${address.prefix}`);
  }
  const hops = unlessRefused(() => countNextHops(body));
  if (hops !== null && hops !== 1) {
    const bytes = attributeIn(body, 12, 9) ?? new Uint8Array(0);
    if (hops > bytes.length / 8) throw new Wrong(`${hops} next hops in ${bytes.length} bytes`);
  }
  unlessRefused(() => attributesOf(body, 0));
  return route !== null || link !== null || address !== null;
}

export const netlink: Target = {
  name: "netlink",
  what: "answers of rtnetlink: links, addresses, routes, next hops",
  share: 130,
  open: async (): Promise<Opened> => ({
    samples: [...datagrams(), multipath()].map((bytes): Sample => ({ bytes, hot: [[0, 64]] })),
    read: ({ bytes }) => {
      let isAnswered = false;
      for (const { body } of messagesOf(bytes)) isAnswered = checkMessage(body) || isAnswered;
      return isAnswered;
    },
  }),
};

/** Every symbol of a file of this byte order, read once more in the simplest way. */
function symbolsIn(bytes: Buffer): readonly { readonly name: string; readonly size: number }[] {
  const number = (at: number): number => Number(bytes.readBigUInt64LE(at));
  const headers = Array.from(
    { length: bytes.readUInt16LE(60) },
    (_, index) => number(40) + index * bytes.readUInt16LE(58),
  );
  return headers
    .filter((at) => bytes.readUInt32LE(at + 4) === 2)
    .flatMap((at) => {
      const strings = number((headers[bytes.readUInt32LE(at + 40)] ?? 0) + 24);
      return Array.from({ length: Math.floor(number(at + 32) / 24) }, (_, index) => {
        const symbol = number(at + 24) + index * 24;
        const start = strings + bytes.readUInt32LE(symbol);
        const name = nameOf(bytes.subarray(start, bytes.indexOf(0, start)));
        return { name, size: Math.min(8, number(symbol + 16)) };
      });
    });
}

/** Bytes that differ. */
const differing = (one: Uint8Array, other: Uint8Array): number =>
  one.reduce((count, byte, at) => count + Number(byte !== other[at]), 0);

export const objects: Target = {
  name: "object",
  what: "eBPF objects that constants are written into, and their BTF",
  share: 60,
  open: async (): Promise<Opened> => {
    const files = ["socket_typed.o", "socket_stepwise.o", "socket_reader.o"].map((name) =>
      Buffer.from(assetBytes(name)),
    );
    return {
      samples: files.map((bytes): Sample => {
        const sections = Number(bytes.readBigUInt64LE(40));
        return {
          bytes,
          hot: [
            [0, 64],
            [sections, bytes.length],
          ],
        };
      }),
      read: ({ bytes }) => {
        const object = new EbpfObject(bytes, inputName);
        const { constants } = object;
        unlessRefused(() => object.unresolved);
        void object.programs;
        const written = (value: bigint | null): Uint8Array | null =>
          unlessRefused(() => object.bake(new Map(constants.map(({ name }) => [name, value] as const))));
        const [zeros, ones] = [written(0n), written(null)];
        if (zeros === null || ones === null) return false;
        same("its size", [zeros.length, ones.length], [bytes.length, bytes.length]);
        if (object.unresolved.length > 0) return true; // these become loads, as many as there are
        // A name may stand there several times: each place of it is written.
        const names = new Set(constants.map(({ name }) => name));
        const most = symbolsIn(bytes).reduce((sum, { name, size }) => sum + (names.has(name) ? size : 0), 0);
        if (differing(zeros, ones) > most)
          throw new Wrong(`${differing(zeros, ones)} bytes written for constants of ${most}`);
        return constants.length > 0;
      },
    };
  },
};

export const relocations: Target = {
  name: "relocations",
  what: "CO-RE relocations of eBPF objects",
  share: 60,
  open: async (): Promise<Opened> => {
    const { asker, misser, object } = await buildCoreReader();
    const made = makeBtf((constant) => ({ value: 8 * constant.length }), "x64", [7, 2, 0]);
    if (made.bytes === null) throw new Error("no BTF was made");
    const against = {
      ...made,
      btf: new Btf(made.bytes, { path: "made" }),
      isMade: true,
      reason: () => undefined,
    };
    const files = [asker, misser, object].map((path) => readFileSync(path));
    return {
      samples: files.map((bytes): Sample => {
        const whole = new EbpfObject(bytes, inputName);
        const sections = [".BTF", ".BTF.ext", "raw_tp/sys_enter"].flatMap(
          (name) => whole.section(name) ?? [],
        );
        return { bytes, hot: sections.map(({ at, bytes: { length } }) => [at, at + length] as const) };
      }),
      read: ({ bytes }) => {
        const { functions, found } = askedBy(new EbpfObject(bytes, inputName), against, inputName);
        for (const { name, relocations, missing, absent } of functions)
          if (missing.length + absent.length > relocations)
            throw new Wrong(`${name} misses more than its ${relocations} relocations ask for`);
        const kept = new Btf(btfOf(minimalTypes(against.btf, found)), { path: "kept" });
        const again = askedBy(new EbpfObject(bytes, inputName), { ...against, btf: kept }, inputName).found;
        const places = (all: typeof found) => all.map(({ found: one }) => one.bitOffset);
        same("places in the types that were kept", places(again), places(found));
        return found.length > 0;
      },
    };
  },
};

export const metadata: Target = {
  name: "metadata",
  what: "answers of an instance metadata service, over HTTP",
  share: 3,
  open: async (): Promise<Opened> => {
    let text: Buffer = Buffer.alloc(0);
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ method, url }) => {
        if (method === "PUT") return new Response("token");
        if (url.endsWith("/subnet-id")) return new Response("subnet-0123456789abcdef0");
        return new Response(new Uint8Array(text));
      },
    });
    server.unref();
    const service = new MetadataService(new URL(server.url));
    return {
      samples: ["10.1.0.0/16", "2001:db8:1::/64\n2001:db8:2::/56", "subnet-0123456789abcdef0"].map(
        (each) => ({
          bytes: Buffer.from(each),
        }),
      ),
      read: async ({ bytes }) => {
        text = bytes;
        const subnets = await service.subnets("02:42:ac:11:00:02");
        for (const { network, length, alias } of subnets) {
          same("the subnet", alias, "subnet-0123456789abcdef0");
          if (!(length >= 0 && length <= 8 * network.address.length))
            throw new Wrong(`a prefix of ${length}`);
        }
        return subnets.length > 0;
      },
    };
  },
};
