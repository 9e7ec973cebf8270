import { CString, type FFIFunction, type Pointer } from "bun:ffi";
import {
  bindFound,
  type Credentials,
  Made,
  MissingFunctionError,
  present,
  TlsCallError,
  text,
  type Bound as WithFunctions,
} from "./calls.ts";
import { withAddresses } from "./libc.ts";
import type { NativeLibrary } from "./library.ts";

/** By their manual pages. No library has all of them: a call to one that it lacks throws a MissingFunctionError. */
const functions = {
  BIO_method_type: { args: ["ptr"], returns: "i32" },
  BIO_new: { args: ["ptr"], returns: "ptr" },
  BIO_new_fd: { args: ["i32", "i32"], returns: "ptr" },
  BIO_new_socket: { args: ["i32", "i32"], returns: "ptr" },
  BIO_read: { args: ["ptr", "buffer", "i32"], returns: "i32" },
  BIO_s_fd: { args: [], returns: "ptr" },
  BIO_s_mem: { args: [], returns: "ptr" },
  BIO_s_socket: { args: [], returns: "ptr" },
  BIO_write: { args: ["ptr", "buffer", "i32"], returns: "i32" },
  EC_KEY_new_by_curve_name: { args: ["i32"], returns: "ptr" },
  OPENSSL_init_ssl: { args: ["u64", "ptr"], returns: "i32" },
  OSSL_QUIC_client_method: { args: [], returns: "ptr" }, // from 3.2 on, where QUIC is built in
  SSL_CIPHER_get_id: { args: ["ptr"], returns: "u32" },
  SSL_CTX_ctrl: { args: ["ptr", "i32", "i64", "ptr"], returns: "i64" },
  SSL_CTX_new: { args: ["ptr"], returns: "ptr" },
  SSL_CTX_sess_set_new_cb: { args: ["ptr", "ptr"], returns: "void" },
  SSL_CTX_set_cipher_list: { args: ["ptr", "cstring"], returns: "i32" },
  SSL_CTX_set_ciphersuites: { args: ["ptr", "cstring"], returns: "i32" }, // OpenSSL, from 1.1.1 on
  SSL_CTX_set_early_data_enabled: { args: ["ptr", "i32"], returns: "void" }, // BoringSSL
  SSL_CTX_set_info_callback: { args: ["ptr", "ptr"], returns: "void" },
  SSL_CTX_set_keylog_callback: { args: ["ptr", "ptr"], returns: "void" }, // from 1.1.1 on
  SSL_CTX_set_max_proto_version: { args: ["ptr", "u16"], returns: "i32" }, // BoringSSL; a macro of OpenSSL's
  SSL_CTX_set_min_proto_version: { args: ["ptr", "u16"], returns: "i32" },
  SSL_CTX_set_session_cache_mode: { args: ["ptr", "i32"], returns: "i32" }, // BoringSSL; a macro of OpenSSL's
  SSL_CTX_use_PrivateKey_ASN1: { args: ["i32", "ptr", "buffer", "i64"], returns: "i32" },
  SSL_CTX_use_certificate_ASN1: { args: ["ptr", "i64", "buffer"], returns: "i32" },
  SSL_SESSION_get_master_key: { args: ["ptr", "buffer", "u64"], returns: "u64" },
  SSL_SESSION_get_protocol_version: { args: ["ptr"], returns: "i32" }, // BoringSSL and OpenSSL, from 1.1.0 on
  SSL_do_handshake: { args: ["ptr"], returns: "i32" },
  SSL_free: { args: ["ptr"], returns: "void" },
  SSL_get_current_cipher: { args: ["ptr"], returns: "ptr" },
  SSL_get_error: { args: ["ptr", "i32"], returns: "i32" },
  SSL_get_session: { args: ["ptr"], returns: "ptr" },
  SSL_in_early_data: { args: ["ptr"], returns: "i32" }, // BoringSSL
  SSL_library_init: { args: [], returns: "i32" }, // up to 1.0.2; from 1.1.0 on the library sees to that itself
  SSL_new: { args: ["ptr"], returns: "ptr" },
  SSL_read: { args: ["ptr", "buffer", "i32"], returns: "i32" },
  SSL_set_accept_state: { args: ["ptr"], returns: "void" },
  SSL_set_bio: { args: ["ptr", "ptr", "ptr"], returns: "void" },
  SSL_set_connect_state: { args: ["ptr"], returns: "void" },
  SSL_set_handshake_hints: { args: ["ptr", "buffer", "u64"], returns: "i32" }, // BoringSSL, from 2021 to 2026
  SSL_set_session: { args: ["ptr", "ptr"], returns: "i32" },
  SSL_state_string_long: { args: ["ptr"], returns: "cstring" },
  SSL_version: { args: ["ptr"], returns: "i32" },
  SSL_write: { args: ["ptr", "buffer", "i32"], returns: "i32" },
  TLS_method: { args: [], returns: "ptr" }, // from 1.1.0 on
  TLSv1_1_method: { args: [], returns: "ptr" },
  TLSv1_2_method: { args: [], returns: "ptr" },
  d2i_SSL_SESSION: { args: ["ptr", "buffer", "i64"], returns: "ptr" },
} as const satisfies Readonly<Record<string, FFIFunction>>;

/** The functions that are looked up. */
export const functionNames: readonly string[] = Object.keys(functions);

type Functions = typeof functions;
type Bound = WithFunctions<Functions>;

const TLS1_1_VERSION = 0x302;
const TLS1_2_VERSION = 0x303;
const TLS1_3_VERSION = 0x304;
const EVP_PKEY_EC = 408;
const NID_X9_62_prime256v1 = 415;
const SSL_CTRL_SET_TMP_ECDH = 4;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
const SSL_ERROR_WANT_READ = 2;
const OPENSSL_INIT_NO_LOAD_CONFIG = 0x80n;
const BIO_NOCLOSE = 0;
const SSL_SESS_CACHE_BOTH = 3;

/** The functions that give a method of one version, for libraries without one of all versions. */
const methods: Readonly<Record<number, "TLSv1_1_method" | "TLSv1_2_method">> = {
  [TLS1_1_VERSION]: "TLSv1_1_method",
  [TLS1_2_VERSION]: "TLSv1_2_method",
};

/** A protocol with one cipher suite of it. */
export interface Suite {
  readonly version: number;
  /** The lowest version that is allowed. Default: `version`. */
  readonly lowest?: number;
  readonly cipher: string;
}

/** TLS 1.2 and 1.3, each with both digests, so that what depends on them differs. */
export const suites = {
  tls12Sha256: { version: TLS1_2_VERSION, cipher: "ECDHE-ECDSA-AES128-GCM-SHA256" },
  tls12Sha384: { version: TLS1_2_VERSION, cipher: "ECDHE-ECDSA-AES256-GCM-SHA384" },
  tls13Sha256: { version: TLS1_3_VERSION, cipher: "TLS_AES_128_GCM_SHA256" },
  tls13Sha384: { version: TLS1_3_VERSION, cipher: "TLS_AES_256_GCM_SHA384" },
} as const satisfies Record<string, Suite>;

/** For libraries that have no TLS 1.3: newer ones refuse it by default. */
export const oldSuite: Suite = { version: TLS1_1_VERSION, cipher: "ECDHE-ECDSA-AES128-SHA" };

/** The result of a call that gives 1. @throws TlsCallError for anything else */
function check(result: number | bigint, call: string): void {
  if (Number(result) !== 1) throw new TlsCallError(`${call} failed`);
}

/** A kind of BIO: what makes one, and what tells the address of the BIO_METHOD that it then has. */
export interface BioKind {
  /** Whether a file descriptor is in it. */
  readonly wraps: boolean;
  readonly make: () => Bio;
  readonly method: () => number;
}

/**
 * A TLS library, by its public functions alone. What it makes is not given back: the process that loads one answers one
 * question and ends. Whatever is asked throws a MissingFunctionError where the library lacks a function for it.
 */
export class TlsLibrary {
  readonly #bound: Bound;

  constructor(library: Pick<NativeLibrary, "symbol">) {
    this.#bound = bindFound(library, functions);
    const { calls, has } = this.#bound;
    // The machine's openssl.cnf may forbid what is asked for here.
    if (has("OPENSSL_init_ssl")) calls.OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, null);
    else if (has("SSL_library_init")) calls.SSL_library_init();
  }

  /** Whether it has a method for each version alone, as OpenSSL before 1.1.0. */
  get isOld(): boolean {
    const { has } = this.#bound;
    return !has("TLS_method") && has("TLSv1_2_method");
  }

  /** An SSL_CTX for both ends of connections of one suite. @throws TlsCallError where the library has no such suite */
  context(suite: Suite, credentials: Credentials): Context {
    const { calls, has } = this.#bound;
    const { version, lowest = version, cipher } = suite;
    const method = this.isOld ? methods[version] : "TLS_method";
    if (method === undefined) throw new MissingFunctionError("TLS_method");
    const address = present(calls.SSL_CTX_new(present(calls[method](), method)), "SSL_CTX_new");
    if (this.isOld) {
      // A server of such a library has no curve set, without which it has no ECDHE.
      const curve = present(calls.EC_KEY_new_by_curve_name(NID_X9_62_prime256v1), "EC_KEY_new_by_curve_name");
      check(calls.SSL_CTX_ctrl(address, SSL_CTRL_SET_TMP_ECDH, 0, curve), "SSL_CTX_ctrl");
    } else if (has("SSL_CTX_set_min_proto_version")) {
      // A macro around SSL_CTX_ctrl in OpenSSL; BoringSSL has both, and its SSL_CTX_ctrl does nothing.
      check(calls.SSL_CTX_set_min_proto_version(address, lowest), "SSL_CTX_set_min_proto_version");
      check(calls.SSL_CTX_set_max_proto_version(address, version), "SSL_CTX_set_max_proto_version");
    } else {
      check(calls.SSL_CTX_ctrl(address, SSL_CTRL_SET_MIN_PROTO_VERSION, lowest, null), "SSL_CTX_ctrl");
      check(calls.SSL_CTX_ctrl(address, SSL_CTRL_SET_MAX_PROTO_VERSION, version, null), "SSL_CTX_ctrl");
    }
    // Where a library lacks this function, it chooses one of the protocol's suites itself.
    const choose = version === TLS1_3_VERSION ? "SSL_CTX_set_ciphersuites" : "SSL_CTX_set_cipher_list";
    if (has(choose)) check(calls[choose](address, text(cipher)), choose);
    const { certificate, key } = credentials;
    check(
      calls.SSL_CTX_use_certificate_ASN1(address, certificate.byteLength, certificate),
      "SSL_CTX_use_certificate_ASN1",
    );
    check(
      calls.SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, address, key, key.byteLength),
      "SSL_CTX_use_PrivateKey_ASN1",
    );
    return new Context(this.#bound, address);
  }

  /** An SSL object of a QUIC client. */
  quicClient(): TlsConnection {
    const { calls } = this.#bound;
    const context = present(
      calls.SSL_CTX_new(present(calls.OSSL_QUIC_client_method(), "OSSL_QUIC_client_method")),
      "SSL_CTX_new",
    );
    return new TlsConnection(this.#bound, present(calls.SSL_new(context), "SSL_new"));
  }

  /** The kinds of BIO. @param fd of those that wrap a file descriptor; it is not used */
  bioKinds(fd: number): readonly BioKind[] {
    const { calls } = this.#bound;
    return [
      { wraps: true, make: () => this.fileBio(fd), method: () => present(calls.BIO_s_fd(), "BIO_s_fd") },
      {
        wraps: true,
        make: () => new Bio(this.#bound, present(calls.BIO_new_socket(fd, BIO_NOCLOSE), "BIO_new_socket")),
        method: () => present(calls.BIO_s_socket(), "BIO_s_socket"),
      },
      { wraps: false, make: () => this.memoryBio(), method: () => present(calls.BIO_s_mem(), "BIO_s_mem") },
    ];
  }

  /** A BIO that reads and writes an open file. */
  fileBio(fd: number): Bio {
    return new Bio(this.#bound, present(this.#bound.calls.BIO_new_fd(fd, BIO_NOCLOSE), "BIO_new_fd"));
  }

  /** A BIO in memory. */
  memoryBio(): Bio {
    const { calls } = this.#bound;
    return new Bio(this.#bound, present(calls.BIO_new(present(calls.BIO_s_mem(), "BIO_s_mem")), "BIO_new"));
  }

  /** SSL_CIPHER_get_id: protocol's two bytes, and 0x0300 above them. */
  cipherId(cipher: number): number {
    return this.#bound.calls.SSL_CIPHER_get_id(cipher as Pointer);
  }

  /** A session from its serialised form (d2i_SSL_SESSION); null where the library refuses it. */
  parseSession(der: Uint8Array): TlsSession | null {
    const address = withAddresses([der], (at) => {
      // The function moves the pointer that it is given the address of.
      const cursor = new BigUint64Array([BigInt(at)]);
      return this.#bound.calls.d2i_SSL_SESSION(null, cursor, der.byteLength);
    });
    return address === null ? null : new TlsSession(this.#bound, Number(address));
  }
}

/** An SSL_CTX. */
export class Context extends Made<Functions> {
  /** A new SSL of this context, set up for that end. @throws TlsCallError */
  connection(role: "client" | "server"): TlsConnection {
    const { calls } = this.bound;
    const connection = new TlsConnection(this.bound, present(calls.SSL_new(this.pointer), "SSL_new"));
    connection.become(role);
    return connection;
  }

  /**
   * Has each line of the key log (`LABEL client-random secret`, in hex) told. Returns the address of the function that
   * the library calls for it.
   */
  onKeylog(listener: (line: string) => void): number {
    const address = this.keep(
      (_: Pointer, line: Pointer) => listener(String(new CString(line))),
      ["ptr", "ptr"],
      "void",
    );
    this.bound.calls.SSL_CTX_set_keylog_callback(this.pointer, address);
    return address;
  }

  /** Has every change of a handshake's state told, while it goes on. */
  onState(listener: () => void): void {
    const { calls } = this.bound;
    calls.SSL_CTX_set_info_callback(this.pointer, this.keep(listener, ["ptr", "i32", "i32"], "void"));
  }

  /** Allows early data in both directions, and has sessions told that a client may resume with it. */
  onResumable(listener: (session: TlsSession) => void): void {
    const { calls } = this.bound;
    calls.SSL_CTX_set_early_data_enabled(this.pointer, 1);
    calls.SSL_CTX_set_session_cache_mode(this.pointer, SSL_SESS_CACHE_BOTH);
    const take = (_: Pointer, session: Pointer): number => {
      listener(new TlsSession(this.bound, session));
      return 1; // the session is ours now
    };
    calls.SSL_CTX_sess_set_new_cb(this.pointer, this.keep(take, ["ptr", "ptr"], "i32"));
  }
}

/** An SSL. */
export class TlsConnection extends Made<Functions> {
  #owned: readonly Made<Functions>[] = [];

  /** Sets up the end of a connection whose handshake has not begun. */
  become(role: "client" | "server"): void {
    const { calls } = this.bound;
    if (role === "client") calls.SSL_set_connect_state(this.pointer);
    else calls.SSL_set_accept_state(this.pointer);
  }

  /** Frees it, and the BIOs that it owns. It must not be used again. */
  free(): void {
    const { calls, has } = this.bound;
    if (has("SSL_free")) calls.SSL_free(this.pointer);
    for (const each of [this, ...this.#owned]) each.forget();
  }

  /** The connection owns both from now on. */
  setBios(read: Bio, write: Bio): void {
    this.bound.calls.SSL_set_bio(this.pointer, read.pointer, write.pointer);
    this.#owned = [read, write];
  }

  /** Goes on with the handshake; whether it is done. @throws TlsCallError where it failed */
  handshake(): boolean {
    const { calls, has } = this.bound;
    const result = calls.SSL_do_handshake(this.pointer);
    if (result === 1) return true;
    const error = has("SSL_get_error") ? calls.SSL_get_error(this.pointer, result) : SSL_ERROR_WANT_READ;
    if (error !== SSL_ERROR_WANT_READ)
      throw new TlsCallError(`SSL_do_handshake failed (SSL_get_error ${error})`);
    return false;
  }

  /** SSL_version: the number on the wire, 0x0303 of TLS 1.2. */
  get version(): number {
    return this.bound.calls.SSL_version(this.pointer);
  }

  /** SSL_get_session. */
  get session(): TlsSession | null {
    const address = this.bound.calls.SSL_get_session(this.pointer);
    return address === null ? null : new TlsSession(this.bound, Number(address));
  }

  /** SSL_set_session; whether the library took it. */
  resume(session: TlsSession): boolean {
    return this.bound.calls.SSL_set_session(this.pointer, session.pointer) === 1;
  }

  /** SSL_write of one byte. */
  write(): void {
    this.bound.calls.SSL_write(this.pointer, new Uint8Array(1), 1);
  }

  /** Sends what waits for the next write: BoringSSL's servers keep their tickets till then. */
  flush(): void {
    this.bound.calls.SSL_write(this.pointer, new Uint8Array(1), 0);
  }

  /** Takes what has come; records after the handshake are seen to on the way. */
  read(): void {
    const bytes = new Uint8Array(1);
    this.bound.calls.SSL_read(this.pointer, bytes, bytes.byteLength);
  }

  /** SSL_in_early_data: the handshake goes on, and early data may be sent. */
  get isEarly(): boolean {
    return this.bound.calls.SSL_in_early_data(this.pointer) === 1;
  }

  /** SSL_state_string_long: the state of the handshake in words. */
  get state(): string {
    return String(this.bound.calls.SSL_state_string_long(this.pointer));
  }

  /** SSL_set_handshake_hints with none in them; whether the library took it. */
  setHints(): boolean {
    const empty = new Uint8Array([0x30, 0x00]); // an empty SEQUENCE
    return this.bound.calls.SSL_set_handshake_hints(this.pointer, empty, empty.byteLength) === 1;
  }

  /** The address of the SSL_CIPHER in use (SSL_get_current_cipher); 0 before there is one. */
  get cipher(): number {
    return Number(this.bound.calls.SSL_get_current_cipher(this.pointer) ?? 0);
  }
}

/** An SSL_SESSION. */
export class TlsSession extends Made<Functions> {
  /** SSL_SESSION_get_master_key: up to 1.2 the master secret, from 1.3 on what later sessions come from. */
  get masterKey(): Uint8Array {
    const { calls } = this.bound;
    const key = new Uint8Array(256);
    const length = calls.SSL_SESSION_get_master_key(this.pointer, key, key.byteLength);
    return key.slice(0, Number(length));
  }

  /** SSL_SESSION_get_protocol_version: a number as that of {@link version}. */
  get version(): number {
    return this.bound.calls.SSL_SESSION_get_protocol_version(this.pointer);
  }
}

/** A BIO. */
export class Bio extends Made<Functions> {
  /** BIO_method_type: a number of BIO_TYPE_*. */
  get type(): number {
    return this.bound.calls.BIO_method_type(this.pointer);
  }

  /** Takes out of it all that is in it. */
  take(): Uint8Array {
    const bytes = new Uint8Array(64 << 10);
    const length = this.bound.calls.BIO_read(this.pointer, bytes, bytes.byteLength);
    return bytes.slice(0, Math.max(0, length));
  }

  /** Writes all of the bytes. @throws TlsCallError where the BIO does not take them whole */
  put(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    const length = this.bound.calls.BIO_write(this.pointer, bytes, bytes.byteLength);
    if (length !== bytes.byteLength) throw new TlsCallError("BIO_write failed");
  }
}
