import { type Digest, digestSize, expandLabel } from "../tls/probe/schedule.ts";
import type { TlsEvent } from "./events.ts";

/** Cipher suites of TLS 1.3 whose hash is SHA-384 (RFC 8446 B.4); all others have SHA-256. IANA's numbers. */
const sha384Suites: ReadonlySet<number> = new Set([0x1302]);
const TLS1_3 = 0x0304;

/** Labels of the NSS key log format. */
export type KeyLogLabel =
  | "CLIENT_RANDOM"
  | "CLIENT_EARLY_TRAFFIC_SECRET"
  | "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
  | "SERVER_HANDSHAKE_TRAFFIC_SECRET"
  | "CLIENT_TRAFFIC_SECRET_0"
  | "SERVER_TRAFFIC_SECRET_0"
  | "EXPORTER_SECRET";

/**
 * What a key log says of the connection in an event: its secrets by their labels, cut to the hash of its cipher. The
 * handshake's are derived where the library does not keep them. Empty where the version is not known, or in TLS 1.3 the hash.
 *
 * Where the secrets are by direction, they are a server's; a client's are the other way round. All are copies, for the
 * caller to wipe.
 */
export function secretsOf(event: TlsEvent): ReadonlyMap<KeyLogLabel, Uint8Array> {
  const log = new Map<KeyLogLabel, Uint8Array>();
  const add = (label: KeyLogLabel, secret: Uint8Array | null): void => {
    if (secret !== null) log.set(label, secret);
  };
  const copy = (secret: Uint8Array | null, length?: number) => secret?.slice(0, length) ?? null;
  if (event.version === null) return log;
  if (event.version !== TLS1_3) {
    add("CLIENT_RANDOM", copy(event.master_key));
    return log;
  }
  const hash = hashOf(event);
  if (hash === null) return log;
  const length = digestSize[hash];
  const secret = event.handshake_secret?.subarray(0, length) ?? null;
  const transcript = event.handshake_traffic_hash?.subarray(0, length) ?? null;
  if (secret !== null && transcript !== null) {
    add("CLIENT_HANDSHAKE_TRAFFIC_SECRET", expandLabel(hash, secret, "c hs traffic", transcript));
    add("SERVER_HANDSHAKE_TRAFFIC_SECRET", expandLabel(hash, secret, "s hs traffic", transcript));
  }
  add("CLIENT_EARLY_TRAFFIC_SECRET", copy(event.client_early_traffic_secret, length));
  add("CLIENT_HANDSHAKE_TRAFFIC_SECRET", copy(event.client_handshake_traffic_secret, length));
  add("SERVER_HANDSHAKE_TRAFFIC_SECRET", copy(event.server_handshake_traffic_secret, length));
  add("CLIENT_TRAFFIC_SECRET_0", copy(event.client_app_traffic_secret, length));
  add("SERVER_TRAFFIC_SECRET_0", copy(event.server_app_traffic_secret, length));
  add("EXPORTER_SECRET", copy(event.exporter_master_secret, length));
  return log;
}

/** The hash of the connection's cipher; null where neither the hash nor the cipher is known. */
function hashOf({ cipher_id: cipher, hash_size: size }: TlsEvent): Digest | null {
  if (cipher !== null) return sha384Suites.has(cipher & 0xffff) ? "sha384" : "sha256";
  return (["sha256", "sha384"] as const).find((digest) => digestSize[digest] === size) ?? null;
}
