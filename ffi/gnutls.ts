import { CFunction, CString, type FFIFunction, type Pointer, read, toArrayBuffer } from "bun:ffi";
import {
  bindFound,
  type Credentials,
  Made,
  present,
  TlsCallError,
  text,
  type Bound as WithFunctions,
} from "./calls.ts";
import { withAddresses } from "./libc.ts";
import type { NativeLibrary } from "./library.ts";

/** By their manual pages. No library has all of them: a call to one that it lacks throws a MissingFunctionError. */
const functions = {
  gnutls_certificate_allocate_credentials: { args: ["ptr"], returns: "i32" },
  gnutls_certificate_set_x509_key_mem: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
  gnutls_credentials_set: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  gnutls_deinit: { args: ["ptr"], returns: "void" },
  gnutls_handshake: { args: ["ptr"], returns: "i32" },
  gnutls_init: { args: ["ptr", "u32"], returns: "i32" },
  gnutls_mac_get_name: { args: ["i32"], returns: "ptr" },
  gnutls_priority_set_direct: { args: ["ptr", "cstring", "ptr"], returns: "i32" },
  gnutls_protocol_get_name: { args: ["i32"], returns: "ptr" },
  gnutls_protocol_get_version: { args: ["ptr"], returns: "i32" },
  gnutls_psk_allocate_client_credentials: { args: ["ptr"], returns: "i32" },
  gnutls_psk_allocate_server_credentials: { args: ["ptr"], returns: "i32" },
  gnutls_psk_set_client_credentials: { args: ["ptr", "cstring", "ptr", "i32"], returns: "i32" },
  gnutls_psk_set_server_credentials_function: { args: ["ptr", "ptr"], returns: "void" },
  gnutls_session_get_master_secret: { args: ["ptr", "ptr"], returns: "void" }, // from 3.5.0 on
  gnutls_session_set_keylog_function: { args: ["ptr", "ptr"], returns: "void" }, // from 3.6.13 on
  gnutls_transport_set_errno: { args: ["ptr", "i32"], returns: "void" },
  gnutls_transport_set_pull_function: { args: ["ptr", "ptr"], returns: "void" },
  gnutls_transport_set_pull_timeout_function: { args: ["ptr", "ptr"], returns: "void" },
  gnutls_transport_set_push_function: { args: ["ptr", "ptr"], returns: "void" },
} as const satisfies Readonly<Record<string, FFIFunction>>;

/** The functions that are looked up. */
export const functionNames: readonly string[] = Object.keys(functions);

type Functions = typeof functions;
type Bound = WithFunctions<Functions>;

/** Of gnutls.h: gnutls_init_flags_t, gnutls_credentials_type_t, gnutls_x509_crt_fmt_t, gnutls_psk_key_flags. */
const flags = { server: 1, client: 2 } as const;
const GNUTLS_CRD_CERTIFICATE = 1;
const GNUTLS_CRD_PSK = 4;
const GNUTLS_X509_FMT_DER = 0;
const GNUTLS_PSK_KEY_RAW = 0;
const GNUTLS_E_SUCCESS = 0;
const GNUTLS_E_AGAIN = -28;
const EAGAIN = 11;

/** Bytes of a gnutls_datum_t: where the data lies, and an unsigned int with its size. */
const DATUM_SIZE = 16;

/** How both ends of a connection shake hands. */
export interface GnutlsSuite {
  /** A priority string: one protocol with one cipher, and the digest that comes with that. */
  readonly priority: string;
  /** gnutls_protocol_t. */
  readonly version: number;
  /** gnutls_mac_algorithm_t of its digest. */
  readonly mac: number;
  /** How the ends know each other: by the server's certificate, or by a key that both have. */
  readonly by: "certificate" | "psk";
}

const TLS1_2 = { name: "TLS1.2", version: 4 } as const;
const TLS1_3 = { name: "TLS1.3", version: 5 } as const;
const SHA256 = { cipher: "AES-128-GCM", mac: 6 } as const;
const SHA384 = { cipher: "AES-256-GCM", mac: 7 } as const;

const suite = (
  protocol: { name: string; version: number },
  digest: { cipher: string; mac: number },
  by: GnutlsSuite["by"],
): GnutlsSuite => ({
  priority: `NORMAL:-VERS-ALL:+VERS-${protocol.name}:-CIPHER-ALL:+${digest.cipher}${by === "psk" ? ":-KX-ALL:+ECDHE-PSK" : ""}`,
  version: protocol.version,
  mac: digest.mac,
  by,
});

/** TLS 1.2 and 1.3, each with both digests, so that what depends on them differs; the early secret is of a shared key alone. */
export const suites = {
  tls12Sha256: suite(TLS1_2, SHA256, "certificate"),
  tls12Sha384: suite(TLS1_2, SHA384, "certificate"),
  tls13Sha256: suite(TLS1_3, SHA256, "certificate"),
  tls13Sha384: suite(TLS1_3, SHA384, "certificate"),
  tls13Psk: suite(TLS1_3, SHA256, "psk"),
} as const satisfies Record<string, GnutlsSuite>;

export type Role = keyof typeof flags;

/** The result of a call that gives GNUTLS_E_SUCCESS. @throws TlsCallError for anything else */
function check(result: number, call: string): void {
  if (result !== GNUTLS_E_SUCCESS) throw new TlsCallError(`${call} failed (${result})`);
}

/** What a call makes that writes its address to where its first argument points. @throws TlsCallError where it fails */
function made(call: string, make: (at: Pointer) => number): Pointer {
  const address = new BigUint64Array(1);
  withAddresses([address], (at) => check(make(at), call));
  return present(address[0] ?? null, call);
}

/** Has a function called that takes bytes in a gnutls_datum_t. */
const withDatum = <Result>(bytes: Uint8Array, call: (datum: Pointer) => Result): Result =>
  withAddresses([bytes], (data) => {
    const datum = new DataView(new ArrayBuffer(DATUM_SIZE));
    datum.setBigUint64(0, BigInt(data), true);
    datum.setUint32(8, bytes.byteLength, true);
    return withAddresses([new Uint8Array(datum.buffer)], call);
  });

/** A copy of what a gnutls_datum_t of the library's holds. */
function contents(datum: Pointer): Uint8Array {
  const size = read.u32(datum, 8);
  return size === 0 ? new Uint8Array() : copyOf(read.ptr(datum, 0) as Pointer, size);
}

const copyOf = (at: Pointer, size: number): Uint8Array => new Uint8Array(toArrayBuffer(at, 0, size)).slice();

/**
 * A GnuTLS library, by its public functions alone. What it makes is not given back: the process that loads one answers one
 * question and ends. Whatever is asked throws a MissingFunctionError where the library lacks a function for it.
 */
export class GnutlsLibrary {
  readonly #bound: Bound;
  readonly #library: Pick<NativeLibrary, "symbol">;

  readonly #certificates = new WeakMap<Credentials, GnutlsCredentials>();

  constructor(library: Pick<NativeLibrary, "symbol">) {
    this.#bound = bindFound(library, functions);
    this.#library = library;
  }

  /**
   * Credentials of a server, and of a client that has none; made once of the same key, as that takes as long as a handshake.
   * @throws TlsCallError where the library takes none such
   */
  certificate(credentials: Credentials): GnutlsCredentials {
    const made = this.#certificates.get(credentials) ?? this.#certify(credentials);
    this.#certificates.set(credentials, made);
    return made;
  }

  #certify({ certificate, key }: Credentials): GnutlsCredentials {
    const { calls } = this.#bound;
    const allocate = () =>
      made("gnutls_certificate_allocate_credentials", calls.gnutls_certificate_allocate_credentials);
    const [client, server] = [allocate(), allocate()];
    const set = withDatum(certificate, (one) =>
      withDatum(key, (other) =>
        calls.gnutls_certificate_set_x509_key_mem(server, one, other, GNUTLS_X509_FMT_DER),
      ),
    );
    check(set, "gnutls_certificate_set_x509_key_mem");
    return new GnutlsCredentials(this.#bound, Number(server), {
      type: GNUTLS_CRD_CERTIFICATE,
      client,
      server,
    });
  }

  /** Credentials of both ends by a key that they share. @throws TlsCallError where the library takes none such */
  sharedKey(key: Uint8Array): GnutlsCredentials {
    const { calls } = this.#bound;
    const client = made(
      "gnutls_psk_allocate_client_credentials",
      calls.gnutls_psk_allocate_client_credentials,
    );
    const server = made(
      "gnutls_psk_allocate_server_credentials",
      calls.gnutls_psk_allocate_server_credentials,
    );
    const set = withDatum(key, (datum) =>
      calls.gnutls_psk_set_client_credentials(client, text("user"), datum, GNUTLS_PSK_KEY_RAW),
    );
    check(set, "gnutls_psk_set_client_credentials");
    // The library frees the key by its own function, so it comes of its own.
    const variable = present(this.#library.symbol("gnutls_malloc"), "gnutls_malloc");
    const allocate = CFunction({ ptr: read.ptr(variable, 0) as Pointer, args: ["u64"], returns: "ptr" });
    const credentials = new GnutlsCredentials(this.#bound, Number(server), {
      type: GNUTLS_CRD_PSK,
      client,
      server,
    });
    credentials.onKeyAsked((datum) => {
      const data = present(allocate(key.byteLength), "gnutls_malloc");
      new Uint8Array(toArrayBuffer(data, 0, key.byteLength)).set(key);
      const view = new DataView(toArrayBuffer(datum, 0, DATUM_SIZE));
      view.setBigUint64(0, BigInt(data), true);
      view.setUint32(8, key.byteLength, true);
    });
    return credentials;
  }

  /** One end of a connection that is about to shake hands. @throws TlsCallError where the library has no such suite */
  session(role: Role, { priority }: GnutlsSuite, credentials: GnutlsCredentials): GnutlsSession {
    const { calls } = this.#bound;
    const address = made("gnutls_init", (at) => calls.gnutls_init(at, flags[role]));
    check(calls.gnutls_priority_set_direct(address, text(priority), null), "gnutls_priority_set_direct");
    check(
      calls.gnutls_credentials_set(address, credentials.type, credentials.of(role)),
      "gnutls_credentials_set",
    );
    return new GnutlsSession(this.#bound, Number(address));
  }

  /** The address of the name of a gnutls_protocol_t; each entry of the library's table begins with it. */
  protocolName(version: number): number {
    return Number(present(this.#bound.calls.gnutls_protocol_get_name(version), "gnutls_protocol_get_name"));
  }

  /** The address of the name of a gnutls_mac_algorithm_t; each entry of the library's table begins with it. */
  macName(mac: number): number {
    return Number(present(this.#bound.calls.gnutls_mac_get_name(mac), "gnutls_mac_get_name"));
  }
}

/** Credentials of both ends. */
export class GnutlsCredentials extends Made<Functions> {
  readonly type: number;
  readonly #ends: Readonly<Record<Role, Pointer>>;

  constructor(
    bound: Bound,
    address: number,
    { type, ...ends }: Readonly<Record<Role, Pointer>> & { readonly type: number },
  ) {
    super(bound, address);
    this.type = type;
    this.#ends = ends;
  }

  /** The gnutls_certificate_credentials_t of that end. */
  of(role: Role): Pointer {
    return this.#ends[role];
  }

  /** Has the server ask for the shared key, which is to be put into a gnutls_datum_t. */
  onKeyAsked(answer: (datum: Pointer) => void): void {
    const ask = (_: Pointer, __: Pointer, datum: Pointer): number => {
      answer(datum);
      return 0;
    };
    const address = this.keep(ask, ["ptr", "ptr", "ptr"], "i32");
    this.bound.calls.gnutls_psk_set_server_credentials_function(this.#ends.server, address);
  }
}

/** A gnutls_session_t that reads and writes memory. */
export class GnutlsSession extends Made<Functions> {
  readonly #received: number[] = [];
  #sent: Uint8Array[] = [];
  #isDone = false;

  constructor(bound: Bound, address: number) {
    super(bound, address);
    const { calls } = bound;
    const push = (_: Pointer, data: Pointer, size: number | bigint): number => {
      this.#sent.push(copyOf(data, Number(size)));
      return Number(size);
    };
    const pull = (_: Pointer, data: Pointer, size: number | bigint): number => {
      const bytes = this.#received.splice(0, Number(size));
      if (bytes.length > 0) {
        new Uint8Array(toArrayBuffer(data, 0, bytes.length)).set(bytes);
        return bytes.length;
      }
      calls.gnutls_transport_set_errno(this.pointer, EAGAIN);
      return -1;
    };
    const wait = (): number => (this.#received.length > 0 ? 1 : 0);
    calls.gnutls_transport_set_push_function(this.pointer, this.keep(push, ["ptr", "ptr", "u64"], "i64"));
    calls.gnutls_transport_set_pull_function(this.pointer, this.keep(pull, ["ptr", "ptr", "u64"], "i64"));
    calls.gnutls_transport_set_pull_timeout_function(this.pointer, this.keep(wait, ["ptr", "u32"], "i32"));
  }

  /** Takes the bytes that it has sent since the last call. */
  take(): Uint8Array {
    const sent = new Uint8Array(Buffer.concat(this.#sent));
    this.#sent = [];
    return sent;
  }

  /** Gives it bytes to receive. */
  put(bytes: Uint8Array): void {
    this.#received.push(...bytes);
  }

  /** Goes on with the handshake; whether it is done. @throws TlsCallError where it failed */
  handshake(): boolean {
    // A further call would begin another handshake.
    if (this.#isDone) return true;
    const result = this.bound.calls.gnutls_handshake(this.pointer);
    if (result !== GNUTLS_E_SUCCESS && result !== GNUTLS_E_AGAIN)
      throw new TlsCallError(`gnutls_handshake failed (${result})`);
    this.#isDone = result === GNUTLS_E_SUCCESS;
    return this.#isDone;
  }

  /** Has each secret of the key log told, by its label. */
  onKeylog(listener: (label: string, secret: Uint8Array) => void): void {
    const log = (_: Pointer, label: Pointer, secret: Pointer): number => {
      listener(String(new CString(label)), contents(secret));
      return 0;
    };
    const address = this.keep(log, ["ptr", "ptr", "ptr"], "i32");
    this.bound.calls.gnutls_session_set_keylog_function(this.pointer, address);
  }

  /** gnutls_protocol_get_version: the number of a gnutls_protocol_t. */
  get version(): number {
    return this.bound.calls.gnutls_protocol_get_version(this.pointer);
  }

  /** gnutls_session_get_master_secret: of TLS 1.2 and older. */
  get masterSecret(): Uint8Array {
    const datum = new Uint8Array(DATUM_SIZE);
    return withAddresses([datum], (at) => {
      this.bound.calls.gnutls_session_get_master_secret(this.pointer, at);
      return contents(at);
    });
  }

  /** Frees it. It must not be used again. */
  free(): void {
    this.bound.calls.gnutls_deinit(this.pointer);
    this.forget();
  }
}
