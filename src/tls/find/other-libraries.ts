import { basename } from "node:path";
import type { Elf } from "../../elf/elf.ts";

/** A TLS library of which nothing is known but how it is recognised: it is named, never measured. */
interface Other {
  readonly name: string;
  /** The soname of its library, as the library and what links it have it. */
  readonly soname?: RegExp;
  /** A function that its library, or a program with it inside, defines for others. */
  readonly defines?: string;
  /** A text of its own: `marker` is a part of each that `text` finds, which may tell the version as its first group. */
  readonly inside?: { readonly marker: string; readonly text: RegExp };
  /** How its library says which version it is, between zero bytes. First group: the version. */
  readonly version?: RegExp;
  /** How its library's file is called where that tells the version. First group: the version. */
  readonly file?: RegExp;
}

/**
 * Sources: the libraries' public headers and sonames; texts as their sources have them (`NSS_VERSION` behind "Version: NSS ",
 * LIBWOLFSSL_VERSION_STRING, `MBEDTLS_VERSION_STRING_FULL`, GnuTLS's lib/accelerated), paths of source files
 * in their errors, and Go's crypto/tls/conn.go.
 */
const others: readonly Other[] = [
  // It defines SSL_new as OpenSSL does, and has GnuTLS do the work.
  { name: "GnuTLS's OpenSSL interface", soname: /^libgnutls-openssl\.so\./ },
  {
    name: "GnuTLS without its symbols",
    inside: { marker: "GNUTLS_CPUID_OVERRIDE", text: /GNUTLS_CPUID_OVERRIDE/ },
  },
  {
    name: "NSS",
    soname: /^libssl3\.so$/,
    defines: "SSL_ImportFD",
    version: /\0Version: NSS (\d[\w.]{0,20})[^\0]{0,40}(?=\0)/g,
  },
  {
    name: "wolfSSL",
    soname: /^libwolfssl\.so\./,
    defines: "wolfSSL_new",
    inside: { marker: "wolfSSL ", text: /\0wolfSSL (\d[\w.]{0,20})\0/ },
    version: /\0wolfSSL (\d[\w.]{0,20})(?=\0)/g,
  },
  {
    name: "mbedTLS",
    soname: /^libmbedtls\.so\./,
    defines: "mbedtls_ssl_handshake",
    inside: { marker: "library/ssl_tls.c", text: /library\/ssl_tls\.c\0/ },
    file: /^libmbedtls\.so\.(\d+\.\d+\.\d+)$/,
  },
  {
    name: "s2n",
    soname: /^libs2n\.so/,
    defines: "s2n_negotiate",
    inside: { marker: "/tls/s2n_handshake", text: /\/tls\/s2n_handshake\w*\.c/ },
  },
  {
    name: "rustls",
    soname: /^librustls\.so/,
    defines: "rustls_connection_process_new_packets",
    inside: { marker: "rustls-", text: /(?:\/|__)rustls-(\d+\.\d+\.\d+)[\w.+-]{0,40}\/src\// },
  },
  {
    name: "Go crypto/tls",
    inside: {
      marker: "first record does not look like a TLS handshake",
      text: /first record does not look like a TLS handshake/,
    },
  },
];

/** Bytes. Larger libraries are named without their version. */
const largestLibrary = 32 << 20;
/** Bytes looked at around a marker. */
const around = 256;

const named = (name: string, version: string | null | undefined): string =>
  version == null ? name : `${name} ${version}`;

/** Which of them has that soname; null where none has. */
export const namesakeOf = (soname: string | null): string | null =>
  others.find((one) => soname !== null && one.soname?.test(soname))?.name ?? null;

/** The one that a library file is, with its version where it says one, e.g. `GnuTLS 3.7.9`. @throws InputError */
export function otherLibrary(elf: Elf): string | null {
  const { soname } = elf.dynamic();
  const other =
    others.find((one) => soname !== null && one.soname?.test(soname)) ??
    others.find(({ defines }) => defines !== undefined && elf.defines(defines));
  if (other === undefined) return null;
  const { name, version, file } = other;
  return named(name, version === undefined ? file?.exec(basename(elf.path))?.[1] : versionIn(elf, version));
}

/** The one that was linked into a program, which has no symbols of it: by its texts. @throws InputError */
export function otherInside(elf: Elf): string | null {
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) {
      for (const { name, inside } of others) {
        if (inside === undefined) continue;
        for (let at = bytes.indexOf(inside.marker); at >= 0; at = bytes.indexOf(inside.marker, at + 1)) {
          const text = bytes.toString("latin1", Math.max(0, at - around), at + around);
          const match = inside.text.exec(text);
          if (match !== null) return named(name, match[1]);
        }
      }
    }
  }
  return null;
}

/** Null where it says none, or several. @throws InputError */
function versionIn(elf: Elf, text: RegExp): string | null {
  if (elf.size > largestLibrary) return null;
  const found = new Set<string>();
  for (const region of elf.readOnly()) {
    for (const { bytes } of elf.bytes(region)) {
      for (const [, version = ""] of bytes.toString("latin1").matchAll(text)) found.add(version);
    }
  }
  const [version] = found;
  return found.size === 1 ? (version ?? null) : null;
}
