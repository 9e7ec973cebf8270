import type { LibraryReport } from "../../output/document.ts";
import { compareReleases, parseRelease } from "./release.ts";

/** A function of a library that programs attach to. */
export interface Attachable {
  /** As the document names it: as C does, whatever a C++ compiler made of it. */
  readonly name: string;
  /** What a symbol table may call it. */
  readonly symbols: readonly string[];
  /** The first release that has it. */
  readonly since?: string;
  /** Why no release has it. */
  readonly absent?: string;
}

/** What one source says of where a function begins: addresses before relocation. None, or several: see `reason`. */
export interface FunctionEvidence {
  readonly addresses: readonly number[];
  readonly reason?: string;
}

const exported = (name: string, more: Partial<Attachable> = {}): Attachable => ({
  name,
  symbols: [name],
  ...more,
});

/**
 * What eCapture, OBI and others attach to, by library: what carries a connection's data, what makes its handshake, and what writes the
 * key log. Sources: ssl/ssl_lib.c of OpenSSL, whose CHANGES names 1.1.1 for SSL_read_ex, SSL_write_ex and the key log; ssl/ssl_lib.cc and
 * ssl/internal.h of BoringSSL, where the key log's function took a pointer and a length before it took a span; lib/record.c,
 * lib/handshake.c and lib/kx.c of GnuTLS, whose NEWS names 3.6.13 for the key log's function.
 */
export const attachable: Partial<Record<LibraryReport["library"], readonly Attachable[]>> = {
  openssl: [
    exported("SSL_read"),
    exported("SSL_write"),
    exported("SSL_read_ex", { since: "1.1.1" }),
    exported("SSL_write_ex", { since: "1.1.1" }),
    exported("SSL_do_handshake"),
    exported("ssl_log_secret", { since: "1.1.1" }),
  ],
  boringssl: [
    exported("SSL_read"),
    exported("SSL_write"),
    exported("SSL_read_ex", { absent: "BoringSSL has no such function" }),
    exported("SSL_write_ex", { absent: "BoringSSL has no such function" }),
    exported("SSL_do_handshake"),
    {
      name: "ssl_log_secret",
      symbols: [
        "_ZN4bssl14ssl_log_secretEPK6ssl_stPKcNS_4SpanIKhEE",
        "_ZN4bssl14ssl_log_secretEPK6ssl_stPKcPKhm",
      ],
    },
  ],
  gnutls: [
    exported("gnutls_record_recv"),
    exported("gnutls_record_send"),
    exported("gnutls_handshake"),
    exported("_gnutls_call_keylog_func", { since: "3.6.13" }),
  ],
};

/** Names of all functions that a document can tell of. */
export const functionNames: readonly string[] = [
  ...new Set(
    Object.values(attachable)
      .flat()
      .map(({ name }) => name),
  ),
];

/** Why a library of this version has no such function; null where it has one. */
export function whyAbsent({ since, absent }: Attachable, version: string | null): string | null {
  if (absent !== undefined) return absent;
  const [first, own] = [parseRelease(since ?? ""), parseRelease(version ?? "")];
  return first !== null && own !== null && compareReleases(own, first) < 0
    ? `${since} is the first release that has it`
    : null;
}
