import type { InferOutput } from "valibot";
import type { layoutsSchema } from "./layouts-schema.ts";

/** What is published of one library. */
export type Layouts = InferOutput<typeof layoutsSchema>;

/** Libraries of which layouts are published. Loaded on demand: other subcommands never need them. */
const files = {
  openssl: () => import("../../../assets/layouts/openssl.json", { with: { type: "json" } }),
  boringssl: () => import("../../../assets/layouts/boringssl.json", { with: { type: "json" } }),
  gnutls: () => import("../../../assets/layouts/gnutls.json", { with: { type: "json" } }),
};

/** Constants that no layout is published of, with their members. */
export const unpublished: Readonly<Record<string, string>> = {
  SSL_CTX_ST_KEYLOG_CALLBACK: "ssl_ctx_st.keylog_callback",
  SSL_SESSION_ST_MASTER_KEY_LENGTH: "ssl_session_st.master_key_length",
};

/** A library that can be measured, and of which layouts are known. */
export type KnownLibrary = keyof typeof files;
export const knownLibraries = Object.keys(files) as readonly KnownLibrary[];
/** Whether layouts of a library of this name are known. */
export const isKnownLibrary = (library: string): library is KnownLibrary => Object.hasOwn(files, library);

/** Every constant that any library can have. */
export async function tlsConstants(): Promise<readonly string[]> {
  const all = await Promise.all(knownLibraries.map(libraryConstants));
  return [...new Set(all.flat())];
}

/**
 * Bytes that no struct of this name has more of: twice the largest that is known, or more, as vendors add members. Of what lies in a
 * library's own data as much is looked at.
 */
export const mostBytes: Readonly<Record<string, number>> = {
  ssl_st: 16 << 10,
  ssl_connection_st: 16 << 10,
  ssl_session_st: 2 << 10,
  ssl_ctx_st: 4 << 10,
  ssl3_state_st: 4 << 10,
  quic_conn_st: 4 << 10,
  ssl_cipher_st: 128,
  bio_st: 512,
  bio_method_st: 256,
  "bssl::SSL3_STATE": 4 << 10,
  "bssl::SSL_HANDSHAKE": 8 << 10,
  gnutls_session_int: 32 << 10,
  security_parameters_st: 4 << 10,
  version_entry_st: 128,
  mac_entry_st: 128,
};

/**
 * Every constant that a library of this kind can have, with the bytes that its struct has at most; no offset reaches them.
 */
export async function boundsOf(library: string): Promise<ReadonlyMap<string, number>> {
  const layouts = await loadLayouts(library);
  const members = layouts === null ? {} : { ...layouts.members, ...unpublished };
  return new Map(
    Object.entries(members).map(([constant, member]) => [
      constant,
      mostBytes[member.split(".")[0] ?? ""] ?? 0,
    ]),
  );
}

/** Every constant that a library of this kind can have. */
export async function libraryConstants(library: string): Promise<readonly string[]> {
  const layouts = await loadLayouts(library);
  return layouts === null ? [] : [...Object.keys(layouts.members), ...Object.keys(unpublished)];
}

/**
 * The published layouts of a library, null where there are none. They are checked where they are made, where the executable is built, and by
 * the tests, not in each run: nobody but who built this put them there.
 */
export async function loadLayouts(library: string): Promise<Layouts | null> {
  if (!isKnownLibrary(library)) return null;
  const file: { default: unknown } = await files[library]();
  return file.default as Layouts;
}
