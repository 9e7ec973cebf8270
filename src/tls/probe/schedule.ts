/** The digest of a cipher suite, which fixes how long its secrets are. */
export type Digest = "sha256" | "sha384";

/** Bytes. */
export const digestSize: Readonly<Record<Digest, number>> = { sha256: 32, sha384: 48 };

/** The digest of a cipher suite of TLS 1.3 by its two bytes on the wire (RFC 8446, appendix B.4); undefined for any other. */
export const suiteDigest = (cipher: number): Digest | undefined => digests.get(cipher);
const digests: ReadonlyMap<number, Digest> = new Map([
  [0x1301, "sha256"],
  [0x1302, "sha384"],
  [0x1303, "sha256"],
]);

/** The hash of a handshake's messages, one after the other. */
export function transcriptHash(digest: Digest, ...messages: readonly Uint8Array[]): Uint8Array {
  const hash = new Bun.CryptoHasher(digest);
  for (const message of messages) hash.update(message);
  return hash.digest();
}

/** Without a pre-shared key the early secret is HKDF-Extract of zeros (RFC 8446, section 7.1): the same always. */
export function earlySecret(digest: Digest): Uint8Array {
  const zeros = new Uint8Array(digestSize[digest]);
  return new Bun.CryptoHasher(digest, zeros).update(zeros).digest();
}

/** HKDF-Expand-Label (RFC 8446, section 7.1) of one block: as many bytes as the digest has. */
export function expandLabel(
  digest: Digest,
  secret: Uint8Array,
  label: string,
  context: Uint8Array,
): Uint8Array {
  const name = new TextEncoder().encode(`tls13 ${label}`);
  const info = [0, digestSize[digest], name.length, ...name, context.length, ...context, 1];
  return new Bun.CryptoHasher(digest, secret).update(new Uint8Array(info)).digest();
}

/** Random bytes hold hardly a zero; most of a struct is nothing else. */
const MOST_ZEROS = 4;

/**
 * The handshake secret, which no function tells: the only run of bytes in `memory` from which the client's handshake
 * traffic secret comes (RFC 8446, section 7.1, label "c hs traffic"). Null where there is none.
 *
 * @param traffic the key log's CLIENT_HANDSHAKE_TRAFFIC_SECRET
 * @param hellos transcript hash of ClientHello and ServerHello
 */
export function findHandshakeSecret(
  memory: Uint8Array,
  digest: Digest,
  traffic: Uint8Array,
  hellos: Uint8Array,
): Uint8Array | null {
  const size = digestSize[digest];
  // Each look is a digest: first where the member is in every release, behind ints and pointers.
  for (const step of [4, 1]) {
    for (let start = 0; start + size <= memory.length; start += step) {
      if ((step === 1 && start % 4 === 0) || !isRandom(memory, start, start + size)) continue;
      const window = memory.subarray(start, start + size);
      if (Buffer.compare(expandLabel(digest, window, "c hs traffic", hellos), traffic) === 0)
        return window.slice();
    }
  }
  return null;
}

function isRandom(memory: Uint8Array, start: number, end: number): boolean {
  let zeros = 0;
  for (let at = start; at < end && zeros <= MOST_ZEROS; at++) if (memory[at] === 0) zeros++;
  return zeros <= MOST_ZEROS;
}
