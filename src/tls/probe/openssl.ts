import { usableSize } from "../../../ffi/libc.ts";
import {
  type Context,
  oldSuite,
  suites,
  type TlsConnection,
  type TlsLibrary,
  type TlsSession,
} from "../../../ffi/openssl.ts";
import { holds } from "../../offsets/observation.ts";
import type { Solution } from "../../offsets/solver.ts";
import { host, raw } from "../../offsets/values.ts";
import { randomBytes } from "../../self/random.ts";
import { Attempts, asked, everything } from "./attempts.ts";
import { type HandshakeEnd, type HandshakePair, makePairs, type Shaken } from "./handshake.ts";
import {
  address,
  bytesShape,
  type Chain,
  chainsTo,
  type Finding,
  findingOf,
  findingsOf,
  intShape,
  type KnownMembers,
  Notes,
  oneOf,
  placesIn,
  pointerShape,
  rawOf,
  roundsOf,
} from "./notes.ts";
import { digestSize, earlySecret, findHandshakeSecret, suiteDigest, transcriptHash } from "./schedule.ts";
import { craftedSecrets, encodeSession } from "./session.ts";
import { SharedStructs } from "./shared.ts";
import { cipherOf, randomOf } from "./wire.ts";

const secret = bytesShape(digestSize.sha256);

/** Members of ssl_st up to 3.1, and of ssl_connection_st from 3.2 on (ssl/ssl_local.h). */
const connectionMembers = {
  VERSION: intShape,
  RBIO: pointerShape,
  WBIO: pointerShape,
  SERVER: intShape,
  SESSION: pointerShape,
  S3_CLIENT_RANDOM: bytesShape(32),
  EARLY_SECRET: secret,
  HANDSHAKE_SECRET: secret,
  HANDSHAKE_TRAFFIC_HASH: secret,
  CLIENT_APP_TRAFFIC_SECRET: secret,
  SERVER_APP_TRAFFIC_SECRET: secret,
  EXPORTER_MASTER_SECRET: secret,
};

const sessionMembers = {
  SSL_SESSION_ST_MASTER_KEY: bytesShape(16),
  // An int up to 1.0.2, then a size_t; no key has 2^32 bytes.
  SSL_SESSION_ST_MASTER_KEY_LENGTH: intShape,
  SSL_SESSION_ST_CIPHER: pointerShape,
  SSL_SESSION_ST_CIPHER_ID: intShape,
} as const;

/**
 * Bytes from the start of an embedded ssl3_state_st to its client_random, which follows server_random. 3.0 and 3.1 have
 * `flags` and two MAC secrets with their sizes in front, 3.2 and later `flags` alone (ssl/ssl_local.h).
 */
const clientRandomInS3 = { ssl_st: 0xb8, ssl_connection_st: 0x28 } as const;
const RANDOM_SIZE = 32;

/** Suites of sessions that are made up, by their two bytes on the wire: those of TLS 1.2 above. */
const craftedCiphers = [0xc02b, 0xc02c] as const;

/** How the constants begin of members of the connection: of ssl_st, and of ssl_connection_st. */
const structs = ["SSL_ST", "SSL_CONNECTION_ST"] as const;

const quicConstants = ["SSL_ST_TYPE", "QUIC_CONN_ST_TLS"];

type Role = "client" | "server";

/** How often everything is done again with new values. One round was enough for every library seen. */
const MOST_ROUNDS = 4;

/** An end of a finished handshake. */
interface Instance {
  readonly bytes: Uint8Array;
  readonly clientRandom: Uint8Array;
  readonly serverRandom: Uint8Array;
  readonly context: Context;
}

/**
 * Finds where OpenSSL 1.0.1 and later keep their members, by values that the library's own public functions, its key log
 * and the bytes of its handshakes tell. It is repeated with new handshakes until nothing is ambiguous.
 *
 * A constant that cannot be learned, as for want of a function, has the reason why.
 *
 * @throws RangeError where a handshake comes to no end
 */
export function probeOpenssl(library: TlsLibrary): readonly Finding[] {
  return roundsOf(new OpensslProbe(library), MOST_ROUNDS);
}

class OpensslProbe {
  readonly #library: TlsLibrary;
  readonly #connections = new Notes(connectionMembers);
  readonly #sessions = new Notes(sessionMembers);
  readonly #instances: Instance[] = [];
  readonly #shared: SharedStructs;
  readonly #attempts = new Attempts();

  constructor(library: TlsLibrary) {
    this.#library = library;
    this.#shared = new SharedStructs(library, usableSize);
  }

  /** One handshake of each suite, and everything around it. */
  observe(): void {
    this.#attempts.try([everything], () => {
      // Two versions at the least, so that what depends on them differs.
      const wanted = [...Object.values(suites), ...(this.#library.isOld ? [oldSuite] : [])];
      for (const pair of makePairs(this.#library, wanted)) {
        this.#noteFresh(pair);
        this.#shared.noteContext(pair);
        this.#attempts.try([everything], () => this.#noteShaken(pair, pair.shakeHands()));
      }
    });
    this.#shared.noteBios(this.#attempts);
    this.#attempts.try(Object.keys(sessionMembers), () => this.#noteSessions());
  }

  isSolved(): boolean {
    return [this.#connections, this.#sessions, ...this.#shared.notes].every((notes) =>
      [...notes.solve().values()].every(({ is }) => is !== "ambiguous"),
    );
  }

  findings(): readonly Finding[] {
    const connection = this.#connections.solve();
    const others = [...findingsOf(this.#sessions), ...this.#shared.findings()];
    const isConnection = isBehindType(connection.get("VERSION"));
    if (isConnection === null) {
      const reason = "which struct it is cannot be told: nothing is known of its version";
      const constants = structs.flatMap((one) => [...connection.keys()].map((member) => `${one}_${member}`));
      const open = constants.map((constant) => ({ constant, candidates: [], reason }));
      return this.#attempts.explain([...open, ...others]);
    }
    const prefix = structs[isConnection ? 1 : 0];
    const own = [...connection]
      .filter(([member]) => member !== "S3_CLIENT_RANDOM")
      .map(([member, solution]) => findingOf(`${prefix}_${member}`, solution));
    const s3 = this.#s3(prefix, connection.get("S3_CLIENT_RANDOM"), isConnection);
    const quic = isConnection ? this.#quic(connection.get("SESSION")) : [];
    return this.#attempts.explain([...own, ...s3, ...quic, ...others]);
  }

  #noteConnection(
    { connection, rbio, wbio }: HandshakeEnd,
    role: Role,
    known: KnownMembers = {},
  ): Uint8Array {
    const bytes = this.#shared.block(connection);
    this.#connections.add(bytes, {
      VERSION: () => host(4, connection.version),
      RBIO: address(rbio),
      WBIO: address(wbio),
      SERVER: host(4, role === "server" ? 1 : 0),
      SESSION: () => address(connection.session),
      ...known,
    });
    return bytes;
  }

  /** Before the handshake nothing but the role changes from one look to the next. */
  #noteFresh({ client, server }: HandshakePair): void {
    for (const role of ["server", "client"] as const) {
      client.connection.become(role);
      this.#noteConnection(client, role);
    }
    this.#noteConnection(server, "server");
  }

  #noteShaken({ suite, context, client, server }: HandshakePair, shaken: Shaken): void {
    const { clientHello, serverHello } = shaken;
    const random = { clientRandom: randomOf(clientHello), serverRandom: randomOf(serverHello) };
    const secrets = this.#secrets(client, shaken);
    for (const [role, end] of Object.entries({ client, server } as const)) {
      const { connection } = end;
      const known = {
        // No other was allowed.
        VERSION: host(4, suite.version),
        S3_CLIENT_RANDOM: raw(random.clientRandom),
        ...secrets,
      };
      const bytes = this.#noteConnection(end, role === "server" ? "server" : "client", known);
      this.#instances.push({ bytes, context, ...random });
      this.#attempts.try(Object.keys(sessionMembers), () => {
        const { session } = connection;
        if (session !== null)
          this.#noteSession(session, { SSL_SESSION_ST_CIPHER: () => address(connection.cipher) });
      });
      this.#attempts.try(["SSL_CIPHER_ST_ID"], () => this.#shared.noteCipher(connection.cipher));
    }
  }

  /** The secrets of TLS 1.3; before it there are none. */
  #secrets({ connection }: HandshakeEnd, { clientHello, serverHello, keylog }: Shaken): KnownMembers {
    const digest = suiteDigest(cipherOf(serverHello));
    if (digest === undefined) return {};
    const hellos = transcriptHash(digest, clientHello, serverHello);
    const logged = (label: string) => () => rawOf(keylog().get(label));
    return {
      EARLY_SECRET: raw(earlySecret(digest)),
      // Once for both ends: it takes many digests.
      HANDSHAKE_SECRET: asked(() => {
        const traffic = keylog().get("CLIENT_HANDSHAKE_TRAFFIC_SECRET");
        const memory = this.#shared.block(connection);
        return rawOf(traffic && findHandshakeSecret(memory, digest, traffic, hellos));
      }),
      HANDSHAKE_TRAFFIC_HASH: raw(hellos),
      CLIENT_APP_TRAFFIC_SECRET: logged("CLIENT_TRAFFIC_SECRET_0"),
      SERVER_APP_TRAFFIC_SECRET: logged("SERVER_TRAFFIC_SECRET_0"),
      EXPORTER_MASTER_SECRET: logged("EXPORTER_SECRET"),
    };
  }

  #noteSession(session: TlsSession, known: KnownMembers): void {
    this.#sessions.add(this.#shared.block(session), {
      SSL_SESSION_ST_MASTER_KEY: () => raw(session.masterKey),
      SSL_SESSION_ST_MASTER_KEY_LENGTH: () => host(4, session.masterKey.length),
      ...known,
    });
  }

  /** Sessions of our own making: in those of handshakes the cipher's id is not set, and all keys have few lengths. */
  #noteSessions(): void {
    const [one, other] = craftedSecrets();
    for (const [cipher, key] of [
      [craftedCiphers[0], one],
      [craftedCiphers[1], other],
    ] as const) {
      const session = this.#library.parseSession(encodeSession(cipher, randomBytes(32), key));
      if (session === null) continue;
      this.#noteSession(session, {
        SSL_SESSION_ST_MASTER_KEY: raw(key),
        SSL_SESSION_ST_MASTER_KEY_LENGTH: host(4, key.length),
        // ssl_asn1.c keeps the whole id of SSL_CIPHER_get_id.
        SSL_SESSION_ST_CIPHER_ID: host(4, 0x0300_0000 | cipher),
      });
    }
  }

  /** In 3.0 and later ssl3_state_st is a member, before it is behind a pointer. */
  #s3(prefix: string, embedded: Solution | undefined, isConnection: boolean): readonly Finding[] {
    if (embedded?.is === "solved") {
      const struct = isConnection ? "ssl_connection_st" : "ssl_st";
      return [
        findingOf(`${prefix}_S3_CLIENT_RANDOM`, embedded),
        s3Around(`${prefix}_S3`, struct, embedded.offset, this.#instances),
      ];
    }
    this.#shared.refresh();
    const instances = this.#instances.map(({ bytes, clientRandom }) => ({ bytes, value: clientRandom }));
    const chains = chainsTo(instances, this.#shared.memory, (at) => this.#shared.memory.chunkSize(at));
    return [
      oneOf(
        "SSL_ST_S3",
        chains.map(({ first }) => first),
      ),
      oneOf(
        "SSL3_STATE_ST_CLIENT_RANDOM",
        chains.map(({ second }) => second),
      ),
    ];
  }

  /** What QUIC objects tell, where the library has them: an ssl_connection_st of their own does the handshake. */
  #quic(session: Solution | undefined): readonly Finding[] {
    const objects: { connection: TlsConnection; own: TlsSession }[] = [];
    this.#attempts.try(quicConstants, () => {
      for (const cipher of craftedCiphers) {
        const own = this.#library.parseSession(encodeSession(cipher, randomBytes(32), randomBytes(32)));
        const connection = this.#library.quicClient();
        if (own !== null && connection.resume(own)) objects.push({ connection, own });
      }
    });
    this.#shared.refresh();
    const instances = objects.map(({ connection, own }) => ({
      bytes: this.#shared.block(connection),
      value: address(own).value,
    }));
    if (instances.length < craftedCiphers.length || session?.is !== "solved") {
      const reason = "the library makes no QUIC connection";
      return quicConstants.map((constant) => ({ constant, candidates: [], reason }));
    }
    const isConnection = ({ second }: Chain) => second === session.offset;
    const chains = chainsTo(instances, this.#shared.memory, (at) => this.#shared.memory.chunkSize(at)).filter(
      isConnection,
    );
    return [
      this.#type(instances),
      oneOf(
        "QUIC_CONN_ST_TLS",
        chains.map(({ first }) => first),
      ),
    ];
  }

  /** `int type` lies before `ctx` in ssl_st: 0 in a plain connection (SSL_TYPE_SSL_CONNECTION), another number in QUIC's. */
  #type(quic: readonly { readonly bytes: Uint8Array }[]): Finding {
    // What lies before `ctx` in every instance; nothing where one has none.
    const heads = this.#instances.map(({ bytes, context }) =>
      bytes.subarray(0, Math.max(0, indexOf(bytes, address(context).value))),
    );
    const isType = (at: number) =>
      this.#instances.every(({ bytes }) => holds(bytes, at, host(4, 0))) &&
      quic.every(({ bytes }) => !holds(bytes, at, host(4, 0)));
    return oneOf("SSL_ST_TYPE", placesIn(heads, 4).filter(isType));
  }
}

/** Where an embedded ssl3_state_st begins; told only where the member before client_random is the one that it has there. */
export function s3Around(
  constant: string,
  struct: keyof typeof clientRandomInS3,
  clientRandom: number,
  instances: readonly Pick<Instance, "bytes" | "serverRandom">[],
): Finding {
  const isBehindServer = instances.every(({ bytes, serverRandom }) =>
    holds(bytes, clientRandom - RANDOM_SIZE, { value: serverRandom }),
  );
  return isBehindServer
    ? { constant, candidates: [clientRandom - clientRandomInS3[struct]] }
    : { constant, candidates: [], reason: "server_random is not where it is known to be" };
}

/**
 * Whether it is ssl_connection_st. Up to 3.1 the version is the very first member; from 3.2 on that one is the type
 * (struct ssl_st). Null where nothing is known of the version.
 */
function isBehindType(version: Solution | undefined): boolean | null {
  if (version?.is === "solved") return version.offset > 0;
  return version?.is === "ambiguous" ? !version.offsets.includes(0) : null;
}

const indexOf = (bytes: Uint8Array, value: Uint8Array): number => Buffer.from(bytes).indexOf(value);
