import type { Subject } from "./subject.ts";
import type { Witnesses } from "./witnesses.ts";

/** A row of the table of ciphers, by the name that begins it: its number of RFC 8446 and the one OpenSSL gives it. */
export const cipherNames = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] as const;
const numbers: Readonly<Record<(typeof cipherNames)[number], number>> = {
  TLS_AES_128_GCM_SHA256: 0x1301,
  TLS_AES_256_GCM_SHA384: 0x1302,
};
/** ORed to the number where the id says which version it is of (SSL3_CK_*). */
const version = 0x03000000;
/** Bytes of a row that are looked at behind its name. */
const row = 64;

/** Where a library has what in a row. Bytes from the row's beginning. */
export interface CipherRow {
  readonly name: number;
  /** The constant of the number with the version in it, 32 bits. */
  readonly id: string;
  /** The constant of the number alone, 16 bits. */
  readonly protocolId: string | null;
}

/**
 * The table of ciphers (ssl/ssl_cipher.cc, ssl/s3_lib.c): each row has the name, behind it the standard's, for these ciphers the same
 * text, and somewhere behind them the number: 32 bits with the version in them, or in BoringSSL since 2025-11 16 bits alone. Two rows
 * must agree.
 */
export function cipherTable(
  { image, names }: Subject,
  found: Witnesses,
  { name: begin, id, protocolId }: CipherRow,
): void {
  const offsets = new Map<string, Set<number>>();
  const addresses = new Map([...names].filter(([, name]) => Object.hasOwn(numbers, name)));
  const pointers = image.pointersTo(new Set(addresses.keys()));
  image.relocate([...pointers.values()].flat().map((from) => ({ from, size: row })));
  for (const [address, places] of pointers) {
    const name = addresses.get(address);
    const number = cipherNames.find((one) => one === name);
    if (number === undefined) continue;
    for (const place of places) {
      if (image.pointer(place + 8) !== address) continue;
      for (let at = 16; at < row; at += 4) {
        const key =
          image.u32(place + at) === (version | numbers[number])
            ? id
            : at % 8 === 0 && image.u16(place + at) === numbers[number]
              ? protocolId
              : null;
        if (key !== null)
          offsets.set(`${key} ${at}`, (offsets.get(`${key} ${at}`) ?? new Set()).add(numbers[number]));
      }
    }
  }
  for (const [key, agreeing] of offsets) {
    const [constant = "", at = ""] = key.split(" ");
    if (agreeing.size === cipherNames.length)
      found.table(constant, begin + Number(at), "the table of ciphers");
  }
}
