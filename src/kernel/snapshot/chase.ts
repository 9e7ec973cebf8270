import { SystemError } from "../../../ffi/error.ts";
import { AF_INET, AF_INET6 } from "../../../ffi/socket-calls.ts";
import type { Family, SocketAddress } from "../../net/address.ts";
import { TcpSocket } from "../../net/tcp.ts";
import { UdpSocket } from "../../net/udp.ts";
import { crop, type Observation, occurs } from "../../offsets/observation.ts";
import {
  pointerAt,
  pointersInAll,
  pointersOfEach,
  pointersToGroup,
  untagged,
} from "../../offsets/pointers.ts";
import { placesOf, type Solution, solve, type Unknown } from "../../offsets/solver.ts";
import { host, pointer } from "../../offsets/values.ts";
import { randomBytes, randomInt } from "../../self/random.ts";
import { fieldOf, type KernelConstant } from "../fields/fields.ts";
import { addressing } from "../running/addressing.ts";
import { failureOf } from "../stimulus/connection.ts";
import { facts } from "../stimulus/facts.ts";
import { PrivateNetwork, whyNoNamespaces } from "../stimulus/private-network.ts";
import { findHeaders } from "./packet-headers.ts";
import type { Hit } from "./recorder.ts";
import {
  byInstance,
  type Chased,
  chase,
  type GuessScene,
  Missed,
  MOST_POINTERS,
  onlyOne,
  type Site,
  sightings,
} from "./sites.ts";
import { type Sighting, Witness } from "./witness.ts";

type Solutions = [KernelConstant, Solution][];

/** Bytes of a chased window in which a small struct's own members are looked for. */
const SMALL_STRUCT = 128;
/** struct socket_alloc: the struct socket and behind it the inode, 1472 bytes with lockdep and LOCK_STAT. */
const SOCKET_ALLOC = 2048;
/** struct file, 216 to 296 bytes (with real-time locks), 504 with lockdep and LOCK_STAT. */
const FILE = 768;
/** struct net, 3 to 5 KiB; with lockdep and randomized layouts ns.inum was seen at 4544 and 5520. */
export const NET = 16384;
/** Of the smallest pages that there are. */
const PAGE = 4096n;

/**
 * Finds the pointer to struct net and the inode number in it: of the pointers that tell the namespaces apart, the
 * one that leads to each namespace's own inode number, at the same place in both.
 *
 * All of the struct is looked through, however early the number is met: a pointer into the midst of struct net leads
 * to it as well, and in an earlier window than the pointer to its beginning.
 *
 * @param sportOffset inet_sock.inet_sport, below which all of struct sock lies
 */
export function chaseNamespace(scene: GuessScene, sportOffset: number | null): Solutions {
  const open = (reason: string): Solutions => [
    ["offset_netns", { is: "open", reason }],
    ["offset_ino", { is: "open", reason }],
  ];
  const ino = fieldOf("offset_ino");
  const oneNamespace = whyNoNamespaces(scene.sites.map(({ network }) => network));
  if (oneNamespace !== null) return open(oneNamespace);
  const seen = scene.sites.map(({ witness }) => witness.seen("sock"));
  const pointers = pointersToGroup(seen, addressing, sportOffset ?? undefined);
  if (pointers.length > MOST_POINTERS) return open(`${pointers.length} pointers tell the namespaces apart`);
  const inoBehind = (at: number, size: number, within = scene): Solution => {
    const namespaces = chase(within, [at], size).map(({ site, hit, target }) => ({
      ...upToUnmapped(target, pointerAt(hit, at, addressing) ?? 0n),
      expected: facts([["offset_ino", host(4, site.network.inode ?? 0)]]),
    }));
    return solve([ino], [], namespaces).get(ino.constant) ?? { is: "open", reason: "not observed" };
  };
  const leading = pointers.flatMap((at) => {
    const found = inoBehind(at, NET);
    const told =
      found.is === "ambiguous" ? (withAnother(scene, (more) => inoBehind(at, NET, more)) ?? found) : found;
    return placesOf(told).length > 0 ? [[at, told] as const] : [];
  });
  const { solution, found = { is: "open", reason: "the pointer to struct net is not known" } as const } =
    onlyOne(leading);
  // The kernel gives inode numbers again, and namespaces that are gone lie in memory beside ours: if a window of ours were read
  // wrongly, such a one alone would hold the number. So fresh sockets must find the same, and nothing before it.
  const [at] = placesOf(solution);
  if (found.is === "solved" && at !== undefined) {
    const again = placesOf(inoBehind(at, found.offset + ino.shape.width));
    if (again.length !== 1 || again[0] !== found.offset)
      return open(`the number was found at ${found.offset}, and then at ${again.join(", ") || "no place"}`);
  }
  return [
    ["offset_netns", solution],
    ["offset_ino", found],
  ];
}

/**
 * With one more namespace: dead ones behind both of ours may hold the numbers that the kernel gave again, as those of a guess
 * before have them, but hardly one behind the third as well. Null where no other may be made.
 */
function withAnother(scene: GuessScene, tell: (scene: GuessScene) => Solution): Solution | null {
  const [site] = scene.sites;
  using owned = new DisposableStack();
  let network: PrivateNetwork | undefined;
  failureOf(() => {
    network = owned.use(new PrivateNetwork());
  });
  if (site === undefined || network === undefined) return null;
  const another = { network, witness: new Witness(scene.recorder, site.witness.stability) };
  return tell({ ...scene, sites: [...scene.sites, another] });
}

/** What may be of the struct at `address`: all of one that lives is mapped, so it ends where a page begins that is not. */
export function upToUnmapped<Part extends Pick<Observation, "bytes" | "readable">>(
  part: Part,
  address: bigint,
): Part {
  const [first] = part.readable;
  const end = first?.start === 0 ? first.end : 0;
  const toPage = Number(BigInt.asUintN(64, -(address + BigInt(end))) % PAGE);
  return crop(part, end + toPage);
}

/**
 * Finds sock.sk_socket where no rung shows struct socket: the pointer that is the socket's own, and leads to a
 * struct socket_alloc, which points back and holds the inode number that fstat tells.
 *
 * @param sportOffset inet_sock.inet_sport, below which all of struct sock lies
 */
export function chaseSocket(scene: GuessScene, sportOffset: number | null): Solutions {
  const pointers = foreignPointers(byInstance(sightings(scene, "sock")), sportOffset ?? undefined);
  if (pointers.length > MOST_POINTERS) {
    return [
      ["offset_sk_socket", { is: "open", reason: `${pointers.length} pointers are each socket's own` }],
    ];
  }
  const leading = pointers.flatMap((at) => {
    const chased = chase(scene, [at]);
    return areSockets(chased) ? [[at, chased] as const] : [];
  });
  const { solution, found } = onlyOne(leading);
  for (const one of found ?? []) {
    const [at = 0] = placesOf(solution);
    const { expected, ...target } = socketOf(one);
    one.site.witness.note(
      "socket",
      { ...target, instance: pointerAt(one.hit, at, addressing) ?? 0n },
      expected,
    );
  }
  return [["offset_sk_socket", solution]];
}

/** What a pointer of one of our sockets leads to. */
type Target = Pick<Chased, "target" | "inode"> & { readonly hit: Pick<Hit, "instance"> };

/** As a struct socket, which points back to the struct sock. */
const socketOf = ({ target, hit }: Target) => ({
  ...crop(target, SMALL_STRUCT),
  expected: facts([["offset_socket_sk", pointer(hit.instance)]]),
});

/** Whether these are the structs socket_alloc of our sockets: each points back and holds the inode number of its own. */
export function areSockets(targets: readonly Target[]): boolean {
  const sk = fieldOf("offset_socket_sk");
  const pointsBack = placesOf(solve([sk], [], targets.map(socketOf)).get(sk.constant)).length > 0;
  return (
    pointsBack &&
    targets.every(({ target, inode }) => occurs(crop(target, SOCKET_ALLOC), host(8, inode).value))
  );
}

/** Pointers that each instance has for itself and that do not lead back into it, as list heads do. */
function foreignPointers(groups: readonly (readonly Sighting[])[], below?: number): number[] {
  return pointersOfEach(groups, addressing, below).filter((at) => isForeign(groups.flat(), at));
}

/**
 * Whether a pointer leads elsewhere than into its own struct, of which no more is known than that it reaches up to the
 * pointer: what lies behind may be another object of the slab already, as sk_buff.head does on SLOB kernels.
 */
export const isForeign = (all: readonly Pick<Sighting, "bytes" | "instance">[], at: number): boolean =>
  all.every((sighting) => {
    const pointer = pointerAt(sighting, at, addressing) ?? 0n;
    const distance = untagged(pointer, addressing) - untagged(sighting.instance, addressing);
    return distance < 0n || distance >= BigInt(at + 8);
  });

/**
 * Finds socket.file: the pointer from struct socket, before sk, to a struct that points back to it, as
 * file.private_data does.
 *
 * @param skOffset socket.sk
 * @param skSocket sock.sk_socket, the way from struct sock to struct socket
 */
export function chaseFile(scene: GuessScene, skOffset: number, skSocket: number): Solutions {
  // file lies right before sk (see `relations`), so few pointers are left.
  const pointers = foreignPointers(byInstance(sightings(scene, "socket")), skOffset);
  const leading = pointers.flatMap((at) => {
    const files = chase(scene, [skSocket, at]).map(({ hit, target }) => ({
      ...crop(target, FILE),
      expected: new Map([[back.constant, pointer(pointerAt(hit, skSocket, addressing) ?? 0n)]]),
    }));
    const places = placesOf(solve([back], [], files).get(back.constant));
    return places.length > 0 ? [[at, files] as const] : [];
  });
  return [["offset_socket_file", onlyOne(leading).solution]];
}

/** A pointer back, of no constant that is published. */
const back: Unknown = { constant: "back", shape: { width: 8, align: 8 } };

/** A packet of ours, and what was seen of it. */
interface Packet {
  readonly site: Site;
  readonly own: SocketAddress;
  readonly peer: SocketAddress;
  readonly hit: Hit;
}

/** Packets whose headers begin at different places. IPv4 options lengthen a header by these bytes. */
const packetKinds = [
  { protocol: "udp", pad: 0 },
  { protocol: "udp", pad: 8 },
  { protocol: "syn", pad: 0 },
] as const;
type PacketKind = (typeof packetKinds)[number];

/**
 * Finds sk_buff.head, the pointer that leads to a buffer with our packet's headers, and notes where in the buffer
 * they begin, which the other members must hold.
 * @throws Missed where a packet was not seen: that tells nothing of the pointers
 */
export function chaseHead(scene: GuessScene, skOffset: number | null): Solutions {
  const [site] = scene.sites;
  if (site === undefined) return [];
  // A packet that waits to be received keeps its buffer, so that the next one has another.
  using receivers = new DisposableStack();
  const seen = sightings(scene, "sk_buff");
  const pointers = pointersInAll(seen, addressing).filter((at) => at !== skOffset && isForeign(seen, at));
  const headersOf = ({ hit, own, peer }: Packet) =>
    hit.target === undefined ? null : findHeaders(hit.target.bytes, own, peer);
  const [kind] = packetKinds;
  const families = packetFamilies(scene, site);
  if (families.length === 0)
    return [
      ["offset_sk_buff_head", { is: "open", reason: "UDP is left out (collect_udpv4, collect_udpv6)" }],
    ];
  // No other pointer of struct sk_buff should lead to the packet: data is not aligned.
  const leadingFor = (family: Family) =>
    pointers.flatMap((at) => {
      const packet = sendPacket(scene, site, family, kind, [at], receivers);
      if (packet === null)
        throw new Missed("a packet of ours was not seen, so that its pointers are not known");
      return headersOf(packet) === null ? [] : [[at, at] as const];
    });
  const { solution, found: head } = onlyOne(ofAnyFamily(families, leadingFor));
  if (head === undefined) return [["offset_sk_buff_head", solution]];

  for (const family of families) {
    const kinds = family === AF_INET ? packetKinds : packetKinds.filter(({ pad }) => pad === 0);
    failureOf(() => {
      for (const sent of kinds)
        notePacket(sendPacket(scene, site, family, sent, [head], receivers), headersOf, head);
    });
  }
  return [];
}

/** What the first family has to tell that is not refused. @throws SystemError where all are */
function ofAnyFamily<Result>(families: readonly Family[], tell: (family: Family) => Result): Result {
  for (const [index, family] of families.entries()) {
    try {
      return tell(family);
    } catch (error) {
      if (!(error instanceof SystemError) || index === families.length - 1) throw error;
    }
  }
  throw new TypeError("there is no address family");
}

/** The address families of which packets are sent. */
const packetFamilies = ({ families }: GuessScene, { network }: Site): Family[] => [
  ...(families.udpv4 ? ([AF_INET] as const) : []),
  ...(families.udpv6 && network.withoutIpv6 === null ? ([AF_INET6] as const) : []),
];

function notePacket(
  packet: Packet | null,
  headersOf: (packet: Packet) => ReturnType<typeof findHeaders>,
  at: number,
): void {
  const headers = packet === null ? null : headersOf(packet);
  const head = packet === null ? null : pointerAt(packet.hit, at, addressing);
  if (packet === null || headers === null || head === null) return;
  const expected = facts([
    ["offset_sk_buff_head", pointer(head)],
    ["offset_sk_buff_transport_header", host(2, headers.transport)],
    ["offset_sk_buff_network_header", host(2, headers.network)],
    ["offset_sk_buff_mac_header", host(2, headers.mac)],
    // A device is handed packets that begin with the link-layer header: skb->data is at skb_mac_header().
    ["offset_sk_buff_data", pointer(head + BigInt(headers.mac))],
  ]);
  packet.site.witness.note("sk_buff", packet.hit, expected);
}

/** Sends a packet over loopback and follows the path from its sk_buff; null when it was not seen. */
function sendPacket(
  { recorder }: GuessScene,
  site: Site,
  family: Family,
  kind: PacketKind,
  path: number[],
  receivers: DisposableStack,
): Packet | null {
  const { network } = site;
  const [from, to] = [network.address(family), network.address(family)];
  const random = randomBytes(randomInt(1, 65));
  return network.inside(() => {
    const receiver = receivers.use(UdpSocket.open(family));
    const peer = receiver.bind({ family, address: to });
    using sender = kind.protocol === "udp" ? UdpSocket.open(family) : TcpSocket.open(family);
    const own = sender.bind({ family, address: from });
    if (sender instanceof UdpSocket) {
      if (kind.pad > 0) sender.padHeader(kind.pad);
      sender.connect(peer);
    }
    const [hit] = recorder.during(() => send(sender, peer, random), { sk_buff: 1 }, path);
    return hit === undefined ? null : { site, own, peer, hit };
  });
}

/** One datagram, or the first packet of a connection that nobody accepts. */
function send(sender: UdpSocket | TcpSocket, peer: SocketAddress, bytes: Uint8Array): void {
  if (sender instanceof UdpSocket) {
    sender.send(bytes);
    return;
  }
  try {
    sender.connect(peer);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ECONNREFUSED")) throw error;
  }
}
