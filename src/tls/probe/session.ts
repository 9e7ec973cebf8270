import { randomBytes, randomInt } from "../../self/random.ts";

const INTEGER = 2;
const OCTET_STRING = 4;
/** Context-specific, constructed: [1] and [2]. */
const TIME = 0xa1;
const TIMEOUT = 0xa2;
const SEQUENCE = 0x30;
/** SSL_SESSION_ASN1_VERSION of OpenSSL, kSession's version of BoringSSL. */
const FORMAT = 1;

/** The version of sessions of our own making: TLS 1.2. */
export const craftedVersion = 0x0303;

/** Secrets for two sessions of our own making. No two have one length, nor that of a handshake's (32, 48). */
export const craftedSecrets = (): readonly [Uint8Array, Uint8Array] => [
  randomBytes(randomInt(17, 32)),
  randomBytes(randomInt(33, 48)),
];

/** A value in DER; it is shorter than 128 bytes, so that its length is one byte. */
const der = (tag: number, ...value: readonly number[]): readonly number[] => [tag, value.length, ...value];

/**
 * A TLS 1.2 session as i2d_SSL_SESSION writes it, with the members that must be there: SSL_SESSION_ASN1 in
 * ssl/ssl_asn1.c, SSL_SESSION_parse in BoringSSL's ssl/ssl_asn1.cc. `cipher` is the suite's two bytes on the wire.
 */
export function encodeSession(cipher: number, id: Uint8Array, masterKey: Uint8Array): Uint8Array {
  return new Uint8Array(
    der(
      SEQUENCE,
      ...der(INTEGER, FORMAT),
      ...der(INTEGER, craftedVersion >> 8, craftedVersion & 0xff),
      ...der(OCTET_STRING, cipher >> 8, cipher & 0xff),
      ...der(OCTET_STRING, ...id),
      ...der(OCTET_STRING, ...masterKey),
      ...der(TIME, ...der(INTEGER, 1)),
      ...der(TIMEOUT, ...der(INTEGER, 1)),
    ),
  );
}
