/** Record and handshake message types, and sizes in bytes: RFC 8446, sections 4 and 5.1; the same in TLS 1.2. */
const HANDSHAKE = 22;
const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const RANDOM_AT = MESSAGE_HEADER + 2;
const RANDOM_SIZE = 32;

/** Flights from either side that a handshake may take; it has two or three. */
export const MOST_FLIGHTS = 10;

/**
 * The first handshake message of a flight, with its header: a ClientHello or a ServerHello, which come in the clear.
 * @throws RangeError where the flight does not begin with one, whole and in one record
 */
export function firstMessage(flight: Uint8Array): Uint8Array {
  const view = new DataView(flight.buffer, flight.byteOffset, flight.byteLength);
  if (flight[0] !== HANDSHAKE) throw new RangeError("the flight begins with no handshake record");
  const record = view.getUint16(3);
  const length = MESSAGE_HEADER + (view.getUint32(RECORD_HEADER) & 0xffffff);
  if (length > record) throw new RangeError("the first message fills more than one record");
  return flight.slice(RECORD_HEADER, RECORD_HEADER + length);
}

/** The number of the version that a ClientHello names in the place of old, in host order. */
export const legacyVersionOf = (hello: Uint8Array): number =>
  new DataView(hello.buffer, hello.byteOffset).getUint16(MESSAGE_HEADER);

/** The random of a ClientHello or a ServerHello: 32 bytes. */
export const randomOf = (hello: Uint8Array): Uint8Array => hello.slice(RANDOM_AT, RANDOM_AT + RANDOM_SIZE);

/** The cipher suite that a ServerHello chooses, which follows its session id: the two bytes on the wire. */
export function cipherOf(serverHello: Uint8Array): number {
  const session = RANDOM_AT + RANDOM_SIZE;
  const view = new DataView(serverHello.buffer, serverHello.byteOffset, serverHello.byteLength);
  return view.getUint16(session + 1 + view.getUint8(session));
}
