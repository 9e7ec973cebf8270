import type { KnownLibrary } from "../layouts/layouts.ts";

/**
 * What the accessor functions of OpenSSL, BoringSSL and GnuTLS reveal. Each does one thing, by its manual page, since it was introduced:
 * so the offset it loads from, or copies from, is the member's. Sources: ssl/ssl_lib.c, ssl/ssl_sess.c, ssl/ssl_ciph.c and
 * crypto/bio/bio_lib.c of OpenSSL 1.0.2 to 4.0; the same names in ssl/*.cc and crypto/bio/bio.c of BoringSSL; lib/protocols.c,
 * lib/state.c of GnuTLS 3.6 to 3.8.
 */
export interface Accessor {
  readonly name: string;
  /** The library that defines it, where they are two files. */
  readonly file: "ssl" | "crypto";
  /** How the member leaves the function; `pass`: as an argument of another. */
  readonly by: "return" | "copy" | { readonly to: string; readonly argument: number };
  /** How many bytes the caller asks for, by the third argument: then only the way that copies so many is followed. */
  readonly length?: number;
  /** Bytes of the member, as C declares it; for a copy any. */
  readonly widths: readonly number[];
  /**
   * The constants of the offsets on the way to the member, in order. Of several rows the one that is as long as the way
   * holds: a member may be embedded in one version and behind a pointer in another.
   */
  readonly constants: readonly (readonly string[])[];
}

/** SSL3_RANDOM_SIZE and SSL3_MASTER_SECRET_SIZE of ssl3.h. */
const randomSize = 32;
const masterKeySize = 48;

const pointer = [8];
const int = [4];

/** A struct of OpenSSL's that holds a connection: `ssl_connection_st` stands for the one from 3.2 on. */
export type ConnectionStruct = "ssl_st" | "ssl_connection_st";

/**
 * The accessor that tells the shape: since 3.2 `int type` is the first member, which every accessor tests
 * (SSL_CONNECTION_FROM_CONST_SSL).
 */
export const shapeAccessor: Omit<Accessor, "constants"> = {
  name: "SSL_version",
  file: "ssl",
  by: "return",
  widths: int,
};
export const typeConstant = "SSL_ST_TYPE";

const returns = (name: string, widths: readonly number[], ...constants: string[]): Accessor => ({
  name,
  file: "ssl",
  by: "return",
  widths,
  constants: [constants],
});

/**
 * Two functions of ssl/tls13_enc.c that have done the same since 1.1.1: they take the connection first, and hand a
 * secret inside it to another function. Shared libraries hide them, programs with OpenSSL inside often do not.
 */
const secrets = (prefix: string): readonly Accessor[] =>
  (
    [
      // (connection, md, secret, …), from 3.5 on (libctx, propq, md, secret, …).
      ["tls13_export_keying_material", "tls13_hkdf_expand", 2, "EXPORTER_MASTER_SECRET"],
      ["tls13_export_keying_material", "tls13_hkdf_expand_ex", 3, "EXPORTER_MASTER_SECRET"],
      // (connection, md, previous secret, …, secret).
      ["tls13_generate_handshake_secret", "tls13_generate_secret", 2, "EARLY_SECRET"],
      ["tls13_generate_handshake_secret", "tls13_generate_secret", 5, "HANDSHAKE_SECRET"],
    ] as const
  ).map(([name, to, argument, member]) => ({
    name,
    file: "ssl",
    by: { to, argument },
    widths: [],
    constants: [[`${prefix}_${member}`]],
  }));

/** Accessors of the connection, whose constants differ in name. */
const connection: Readonly<Record<ConnectionStruct, readonly Accessor[]>> = {
  ssl_st: [
    { ...shapeAccessor, constants: [["SSL_ST_VERSION"]] },
    returns("SSL_get_rbio", pointer, "SSL_ST_RBIO"),
    // The one that is set while no filter BIO is in front of it: with one, it calls BIO_next.
    returns("SSL_get_wbio", pointer, "SSL_ST_WBIO"),
    returns("SSL_get_session", pointer, "SSL_ST_SESSION"),
    returns("SSL_is_server", int, "SSL_ST_SERVER"),
    {
      name: "SSL_get_client_random",
      file: "ssl",
      by: "copy",
      length: randomSize,
      widths: [],
      // Up to 1.1.1 s3 is a pointer, in 3.0 it is embedded.
      constants: [["SSL_ST_S3", "SSL3_STATE_ST_CLIENT_RANDOM"], ["SSL_ST_S3_CLIENT_RANDOM"]],
    },
    ...secrets("SSL_ST"),
  ],
  ssl_connection_st: [
    { ...shapeAccessor, constants: [["SSL_CONNECTION_ST_VERSION"]] },
    returns("SSL_get_rbio", pointer, "SSL_CONNECTION_ST_RBIO"),
    returns("SSL_get_wbio", pointer, "SSL_CONNECTION_ST_WBIO"),
    returns("SSL_get_session", pointer, "SSL_CONNECTION_ST_SESSION"),
    returns("SSL_is_server", int, "SSL_CONNECTION_ST_SERVER"),
    {
      name: "SSL_get_client_random",
      file: "ssl",
      by: "copy",
      length: randomSize,
      widths: [],
      constants: [["SSL_CONNECTION_ST_S3_CLIENT_RANDOM"]],
    },
    ...secrets("SSL_CONNECTION_ST"),
  ],
};

const cipherId = returns("SSL_CIPHER_get_id", int, "SSL_CIPHER_ST_ID");
const sessionCipher = returns("SSL_SESSION_get0_cipher", pointer, "SSL_SESSION_ST_CIPHER");
const methodType: Accessor = {
  name: "BIO_method_type",
  file: "crypto",
  by: "return",
  widths: int,
  constants: [["BIO_ST_METHOD", "BIO_METHOD_ST_TYPE"]],
};
const masterKey = (constant: string): Accessor => ({
  name: "SSL_SESSION_get_master_key",
  file: "ssl",
  by: "copy",
  length: masterKeySize,
  widths: [],
  constants: [[constant]],
});

/** Accessors of OpenSSL's other structs. */
const others: readonly Accessor[] = [
  masterKey("SSL_SESSION_ST_MASTER_KEY"),
  // It returns how many bytes there are, when asked for none.
  { ...returns("SSL_SESSION_get_master_key", pointer, "SSL_SESSION_ST_MASTER_KEY_LENGTH"), length: 0 },
  sessionCipher,
  // An unsigned long up to 1.0.2.
  { ...cipherId, widths: [4, 8] },
  returns("SSL_CTX_get_keylog_callback", pointer, "SSL_CTX_ST_KEYLOG_CALLBACK"),
  methodType,
];

/** Accessors of BoringSSL. Its SSL_version, SSL_get_session and SSL_is_server are left out: they answer from several places. */
export const boringsslAccessors: readonly Accessor[] = [
  returns("SSL_get_rbio", pointer, "SSL_ST_RBIO"),
  returns("SSL_get_wbio", pointer, "SSL_ST_WBIO"),
  {
    name: "SSL_get_client_random",
    file: "ssl",
    by: "copy",
    length: randomSize,
    widths: [],
    constants: [["SSL_ST_S3", "BSSL__SSL3_STATE_CLIENT_RANDOM"]],
  },
  masterKey("SSL_SESSION_ST_SECRET"),
  // It returns how many bytes there are, when asked for none: an int up to Android 13, then a uint8_t.
  { ...returns("SSL_SESSION_get_master_key", [1, 4], "SSL_SESSION_ST_SECRET_LENGTH"), length: 0 },
  returns("SSL_SESSION_get_protocol_version", [2], "SSL_SESSION_ST_SSL_VERSION"),
  sessionCipher,
  cipherId,
  returns("SSL_CTX_get_keylog_callback", pointer, "SSL_CTX_ST_KEYLOG_CALLBACK"),
  methodType,
];

/** Accessors of GnuTLS. The session begins with its security_parameters. */
export const gnutlsAccessors: readonly Accessor[] = [
  returns("gnutls_protocol_get_version", int, "SECURITY_PARAMETERS_ST_PVERSION", "VERSION_ENTRY_ST_ID"),
  returns("gnutls_prf_hash_get", int, "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF", "MAC_ENTRY_ST_ID"),
];

/** Accessors of OpenSSL: those of the connection, where it is known which struct holds it, and those of structs that are always the same. */
export const opensslAccessors = (shape: ConnectionStruct | null): readonly Accessor[] => [
  ...(shape === null ? [] : connection[shape]),
  ...others,
];

/** The names of all functions that are looked up, by file. */
export type FunctionNames = Readonly<Record<Accessor["file"], readonly string[]>>;

function functionsOf(accessors: readonly Accessor[]): FunctionNames {
  const within = (file: Accessor["file"]): readonly string[] => [
    ...new Set(
      accessors
        .filter((accessor) => accessor.file === file)
        .flatMap(({ name, by }) => (typeof by === "string" ? [name] : [name, by.to])),
    ),
  ];
  return { ssl: within("ssl"), crypto: within("crypto") };
}

const withOpensslNames = functionsOf([
  ...connection.ssl_st,
  ...connection.ssl_connection_st,
  ...others,
  ...boringsslAccessors,
]);
export const functionNames: Readonly<Record<KnownLibrary, FunctionNames>> = {
  openssl: withOpensslNames,
  boringssl: withOpensslNames,
  gnutls: functionsOf(gnutlsAccessors),
};
