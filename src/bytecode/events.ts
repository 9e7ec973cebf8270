/**
 * Events of the embedded objects, as bpf/tls.h and bpf/socket_reader.bpf.c lay them out. Numbers are little-endian, as on
 * every machine that this program runs on; addresses and ports of sockets are in network order. Offsets and sizes in bytes.
 */

/** struct tls_event: offset and size of each member. */
export const tlsEvent = {
  size: 704,
  members: {
    thread: [0, 8],
    ssl: [8, 8],
    present: [16, 4],
    fd: [20, 4],
    version: [24, 4],
    server: [28, 4],
    cipher_id: [32, 4],
    master_key_length: [36, 4],
    client_random: [40, 32],
    master_key: [72, 48],
    early_secret: [120, 64],
    handshake_secret: [184, 64],
    handshake_traffic_hash: [248, 64],
    client_app_traffic_secret: [312, 64],
    server_app_traffic_secret: [376, 64],
    exporter_master_secret: [440, 64],
    hash_size: [504, 4],
    unused: [508, 4],
    client_early_traffic_secret: [512, 64],
    client_handshake_traffic_secret: [576, 64],
    server_handshake_traffic_secret: [640, 64],
  },
} as const;

/** struct socket_event, likewise. */
export const socketEvent = {
  size: 72,
  members: {
    thread: [0, 8],
    present: [8, 4],
    family: [12, 2],
    sport: [14, 2],
    dport: [16, 2],
    num: [18, 2],
    ino: [20, 4],
    rtt: [24, 4],
    rtt_var: [28, 4],
    state: [32, 4],
    unused: [36, 4],
    saddr: [40, 16],
    daddr: [56, 16],
  },
} as const;

/** Members of enum tls_present by their bit. */
export const tlsPresent = [
  "fd",
  "version",
  "server",
  "cipher_id",
  "client_random",
  "master_key",
  "master_key_length",
  "early_secret",
  "handshake_secret",
  "handshake_traffic_hash",
  "client_app_traffic_secret",
  "server_app_traffic_secret",
  "exporter_master_secret",
  "by_direction",
  "hash_size",
  "client_early_traffic_secret",
  "client_handshake_traffic_secret",
  "server_handshake_traffic_secret",
] as const;

/** Members of enum socket_present by their bit. */
export const socketPresent = [
  "saddr",
  "daddr",
  "sport",
  "dport",
  "num",
  "state",
  "ino",
  "rtt",
  "rtt_var",
] as const;

/**
 * One connection as it stood; of several with one client random the last one counts. What is null was not read, or was
 * not there yet: see enum tls_present.
 */
export interface TlsEvent {
  /** tgid and tid of the first pid namespace, which another one does not know by these numbers. */
  readonly tgid: number;
  readonly tid: number;
  /** Address of the SSL object in its process. */
  readonly ssl: bigint;
  readonly fd: number | null;
  /** e.g. 0x0304 */
  readonly version: number | null;
  readonly server: boolean | null;
  /** e.g. 0x03001302; the low 16 bits are IANA's number. */
  readonly cipher_id: number | null;
  readonly client_random: Uint8Array | null;
  /** As long as the library says, 48 bytes where it does not. */
  readonly master_key: Uint8Array | null;
  /** These are 64 bytes, of which as many count as the cipher's hash has; zeros follow. */
  readonly early_secret: Uint8Array | null;
  readonly handshake_secret: Uint8Array | null;
  readonly handshake_traffic_hash: Uint8Array | null;
  readonly client_app_traffic_secret: Uint8Array | null;
  readonly server_app_traffic_secret: Uint8Array | null;
  readonly exporter_master_secret: Uint8Array | null;
  /** Bytes of the cipher's hash, where the library tells it instead of the cipher. */
  readonly hash_size: number | null;
  readonly client_early_traffic_secret: Uint8Array | null;
  readonly client_handshake_traffic_secret: Uint8Array | null;
  readonly server_handshake_traffic_secret: Uint8Array | null;
  /** The client's secret is the one that this side reads by, the server's the one it writes by: see TLS_BY_DIRECTION. */
  readonly by_direction: boolean;
}

/** One socket as it stood. What is null was not read. */
export interface SocketEvent {
  readonly tgid: number;
  readonly tid: number;
  readonly family: "ipv4" | "ipv6";
  /** 4 or 16 bytes, network order. */
  readonly saddr: Uint8Array | null;
  readonly daddr: Uint8Array | null;
  readonly sport: number | null;
  readonly dport: number | null;
  readonly num: number | null;
  readonly state: number | null;
  /** Inode number of the network namespace. */
  readonly ino: number | null;
  /** srtt_us: TCP_INFO's tcpi_rtt << 3. */
  readonly rtt: number | null;
  /** mdev_us: TCP_INFO's tcpi_rttvar << 2. */
  readonly rtt_var: number | null;
}

const AF_INET6 = 10;

type Members = Readonly<Record<string, readonly [offset: number, size: number]>>;

/** Reads members of an event; `null` for those whose bit is not set. */
function reader<Layout extends Members, Bit extends string>(
  name: string,
  { size, members }: { readonly size: number; readonly members: Layout },
  bits: readonly Bit[],
  bytes: Uint8Array,
) {
  // A perf buffer pads its records.
  if (bytes.length < size) throw new RangeError(`${name} of ${bytes.length} bytes, expected ${size}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  const at = (member: keyof Layout & string): number => members[member]?.[0] ?? 0;
  const present = view.getUint32(at("present"), true);
  const has = (bit: Bit): boolean => ((present >>> bits.indexOf(bit)) & 1) === 1;
  return {
    view,
    at,
    has,
    tid: view.getUint32(at("thread"), true),
    tgid: view.getUint32(at("thread") + 4, true),
    u32: (member: Bit & keyof Layout & string) => (has(member) ? view.getUint32(at(member), true) : null),
    u16: (member: Bit & keyof Layout & string, little: boolean) =>
      has(member) ? view.getUint16(at(member), little) : null,
    bytes: (member: Bit & keyof Layout & string, length = members[member]?.[1] ?? 0) =>
      has(member) ? bytes.slice(at(member), at(member) + length) : null,
  };
}

/** Reads one struct tls_event; the secrets are copies. @throws RangeError when the bytes are too few */
export function readTlsEvent(bytes: Uint8Array): TlsEvent {
  const event = reader("tls_event", tlsEvent, tlsPresent, bytes);
  const length = Math.min(event.u32("master_key_length") ?? 48, 48);
  return {
    tgid: event.tgid,
    tid: event.tid,
    ssl: event.view.getBigUint64(event.at("ssl"), true),
    fd: event.u32("fd"),
    version: event.u32("version"),
    server: event.has("server") ? event.u32("server") !== 0 : null,
    cipher_id: event.u32("cipher_id"),
    client_random: event.bytes("client_random"),
    master_key: event.bytes("master_key", length),
    early_secret: event.bytes("early_secret"),
    handshake_secret: event.bytes("handshake_secret"),
    handshake_traffic_hash: event.bytes("handshake_traffic_hash"),
    client_app_traffic_secret: event.bytes("client_app_traffic_secret"),
    server_app_traffic_secret: event.bytes("server_app_traffic_secret"),
    exporter_master_secret: event.bytes("exporter_master_secret"),
    hash_size: event.u32("hash_size"),
    client_early_traffic_secret: event.bytes("client_early_traffic_secret"),
    client_handshake_traffic_secret: event.bytes("client_handshake_traffic_secret"),
    server_handshake_traffic_secret: event.bytes("server_handshake_traffic_secret"),
    by_direction: event.has("by_direction"),
  };
}

/** Reads one struct socket_event. @throws RangeError when the bytes are too few */
export function readSocketEvent(bytes: Uint8Array): SocketEvent {
  const event = reader("socket_event", socketEvent, socketPresent, bytes);
  const isIpv6 = event.view.getUint16(event.at("family"), true) === AF_INET6;
  const length = isIpv6 ? 16 : 4;
  return {
    tgid: event.tgid,
    tid: event.tid,
    family: isIpv6 ? "ipv6" : "ipv4",
    saddr: event.bytes("saddr", length),
    daddr: event.bytes("daddr", length),
    sport: event.u16("sport", false),
    dport: event.u16("dport", false),
    num: event.u16("num", true),
    state: event.u32("state"),
    ino: event.u32("ino"),
    rtt: event.u32("rtt"),
    rtt_var: event.u32("rtt_var"),
  };
}
