import type { Elf } from "../../elf/elf.ts";
import { definesStatic } from "../../elf/symbols.ts";
import { constructors } from "./search-path.ts";

/** A source file that every TLS library is made of, whose path stands in the errors it makes. */
export const sourceMarker = Buffer.from("ssl_lib.c");
const sourcePath = /(?:^|\/)ssl_lib\.cc?$/;

/** No text that names a library is longer; what lies in a longer string is not one. */
const longestText = 256;

/** The C string that holds the byte at `at`, or null where it does not end within {@link longestText} bytes. */
export function cStringAround(bytes: Buffer, at: number): string | null {
  // Looked for within bounds: a file full of markers would otherwise cost their number times its size.
  const first = Math.max(0, at - longestText);
  const before = bytes.subarray(first, at).lastIndexOf(0);
  if (before < 0 && first > 0) return null;
  const start = first + before + 1;
  const length = bytes.subarray(start, start + longestText + 1).indexOf(0);
  return length < 0 ? null : bytes.toString("latin1", start, start + length);
}

/** Bytes. No program with a TLS library inside is smaller. */
const smallestProgram = 512 << 10;
const libsslName = /^libssl[.-]/;

/**
 * Whether a TLS library is inside: `SSL_new` or `gnutls_init` is defined, for others or, where there is a full symbol table, for
 * itself; or the path of a source file of OpenSSL or BoringSSL stands in the constants. A file that only imports them has
 * none. @throws InputError
 */
export function holdsTls(elf: Elf): boolean {
  if (constructors.some((name) => elf.defines(name))) return true;
  if (elf.size < smallestProgram || elf.dynamic().needed.some((name) => libsslName.test(name))) return false;
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) {
      for (let at = bytes.indexOf(sourceMarker); at >= 0; at = bytes.indexOf(sourceMarker, at + 1)) {
        if (sourcePath.test(cStringAround(bytes, at) ?? "")) return true;
      }
    }
  }
  return definesStatic(elf, ...constructors);
}
