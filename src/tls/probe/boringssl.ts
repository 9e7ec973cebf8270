import type { OwnMemory } from "../../../ffi/memory.ts";
import {
  type Suite,
  suites,
  type TlsConnection,
  type TlsLibrary,
  type TlsSession,
} from "../../../ffi/openssl.ts";
import { host, raw } from "../../offsets/values.ts";
import { randomBytes } from "../../self/random.ts";
import { withoutVectorLength } from "../layouts/vector.ts";
import { Attempts, everything } from "./attempts.ts";
import { credentials } from "./credentials.ts";
import { type HandshakePair, makePair, makePairs } from "./handshake.ts";
import {
  address,
  bytesShape,
  type Chain,
  chainsTo,
  type Finding,
  findingsOf,
  intAt,
  type KnownMembers,
  Notes,
  oneOf,
  placesIn,
  pointerShape,
  rawOf,
  roundsOf,
  wordAt,
} from "./notes.ts";
import { craftedSecrets, craftedVersion, encodeSession } from "./session.ts";
import { SharedStructs } from "./shared.ts";
import { legacyVersionOf, randomOf } from "./wire.ts";

/** uint16_t. */
const versionShape = { width: 2, align: 2 } as const;

const connectionMembers = {
  SSL_ST_VERSION: versionShape,
  SSL_ST_RBIO: pointerShape,
  SSL_ST_WBIO: pointerShape,
  SSL_ST_SESSION: pointerShape,
};
const sessionMembers = {
  SSL_SESSION_ST_SSL_VERSION: versionShape,
  // An int up to Android 13, then a uint8_t; no secret has 256 bytes.
  SSL_SESSION_ST_SECRET_LENGTH: { width: 1, align: 1 },
  SSL_SESSION_ST_SECRET: bytesShape(16),
  SSL_SESSION_ST_CIPHER: pointerShape,
} as const;
const stateMembers = {
  // From 2024-11 on; before, the connection itself keeps it.
  BSSL__SSL3_STATE_VERSION: versionShape,
  // By direction: write_traffic_secret is called the server's, read_traffic_secret the client's (see TLS_BY_DIRECTION).
  BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0: bytesShape(32),
  BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0: bytesShape(32),
  BSSL__SSL3_STATE_EXPORTER_SECRET: bytesShape(32),
  BSSL__SSL3_STATE_ESTABLISHED_SESSION: pointerShape,
};
const handshakeMembers = {
  BSSL__SSL_HANDSHAKE_NEW_SESSION: pointerShape,
  BSSL__SSL_HANDSHAKE_EARLY_SESSION: pointerShape,
  BSSL__SSL_HANDSHAKE_CLIENT_VERSION: versionShape,
  BSSL__SSL_HANDSHAKE_MAX_VERSION: versionShape,
};

const state = "BSSL__SSL_HANDSHAKE_STATE";
const tls13State = "BSSL__SSL_HANDSHAKE_TLS13_STATE";
const earlySession = "BSSL__SSL_HANDSHAKE_EARLY_SESSION";
const hints = "BSSL__SSL_HANDSHAKE_HINTS";

const TLS1_1 = 0x302;
const TLS1 = 0x301;

/** Every version as the highest, above a lowest that stays: what depends on the one alone is told apart so. */
const allSuites: readonly Suite[] = [
  { ...suites.tls12Sha256, version: TLS1_1, lowest: TLS1, cipher: "ECDHE-ECDSA-AES128-SHA" },
  { ...suites.tls12Sha256, lowest: TLS1 },
  { ...suites.tls12Sha384, lowest: TLS1 },
  { ...suites.tls13Sha256, lowest: TLS1 },
  { ...suites.tls13Sha256, lowest: TLS1 },
];

/** What is looked for before all else is the same in every version. */
const twoSuites = [suites.tls12Sha256, suites.tls13Sha256];

/** How often everything is done again with new values. One round was enough for every library seen. */
const MOST_ROUNDS = 3;

/**
 * Finds where BoringSSL keeps its members, by values that its own public functions, its key log and the bytes of its
 * handshakes tell. What lives only as long as a handshake is read while it goes on. A constant that cannot be learned, as
 * for want of a function, has the reason why.
 *
 * @throws RangeError where a handshake comes to no end
 */
export function probeBoringssl(library: TlsLibrary): readonly Finding[] {
  return roundsOf(new BoringsslProbe(library), MOST_ROUNDS);
}

/** Bytes of the block that OPENSSL_malloc gave at an address; 0 where none can begin. Its size stands before it. */
function blockSize(at: number, memory: OwnMemory): number {
  // malloc's blocks begin at multiples of 16, these OPENSSL_MALLOC_PREFIX bytes behind (crypto/mem.c).
  if (at % 16 !== PREFIX || memory.readable(at - PREFIX) <= PREFIX) return 0;
  const size = wordAt(memory.copy(at - PREFIX, PREFIX), 0);
  return size <= Math.min(memory.readable(at), LARGEST_BLOCK) ? size : 0;
}
const PREFIX = 8;
const LARGEST_BLOCK = 64 << 10;

/** An instance of SSL_HANDSHAKE, with the role and what SSL_state_string_long said at that time. */
interface Moment {
  readonly bytes: Uint8Array;
  readonly key: string;
}

/** An instance of SSL_HANDSHAKE before something was done, and after. */
interface Change {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

class BoringsslProbe {
  readonly #library: TlsLibrary;
  readonly #shared: SharedStructs;
  readonly #connections = new Notes(connectionMembers);
  readonly #sessions = new Notes(sessionMembers);
  readonly #states = new Notes(stateMembers);
  readonly #handshakes = new Notes(handshakeMembers);
  readonly #moments: Moment[] = [];
  readonly #hinted: Change[] = [];
  /** What leads from the connection to its SSL3_STATE and the client random in it, and from there to SSL_HANDSHAKE. */
  #s3: readonly Chain[] = [];
  #hs: readonly number[] = [];
  readonly #attempts = new Attempts();

  constructor(library: TlsLibrary) {
    this.#library = library;
    this.#shared = new SharedStructs(library, blockSize);
    this.#attempts.try([everything], () => {
      this.#s3 = this.#findState();
      this.#hs = this.#findHandshake();
    });
  }

  observe(): void {
    this.#attempts.try([everything], () => {
      for (const pair of makePairs(this.#library, allSuites))
        this.#attempts.try([everything], () => this.#shake(pair));
    });
    for (let count = 0; count < 2; count++) {
      this.#attempts.try([earlySession], () => this.#resume());
      this.#attempts.try([hints], () => this.#hint());
    }
    for (const secret of craftedSecrets())
      this.#attempts.try(["SSL_ST_SESSION"], () => this.#noteCrafted(secret));
    this.#shared.noteBios(this.#attempts);
  }

  isSolved(): boolean {
    const notes = [this.#connections, this.#sessions, this.#states, this.#handshakes, ...this.#shared.notes];
    return notes.every((each) => [...each.solve().values()].every(({ is }) => is !== "ambiguous"));
  }

  findings(): readonly Finding[] {
    return this.#attempts.explain([
      ...findingsOf(this.#connections),
      ...withoutVectorLength(findingsOf(this.#sessions)),
      ...findingsOf(this.#states),
      ...findingsOf(this.#handshakes),
      oneOf(
        "SSL_ST_S3",
        this.#s3.map(({ first }) => first),
      ),
      oneOf(
        "BSSL__SSL3_STATE_CLIENT_RANDOM",
        this.#s3.map(({ second }) => second),
      ),
      oneOf("BSSL__SSL3_STATE_HS", this.#hs),
      oneOf(state, followers(this.#moments.filter((one) => !isTls13(one)))),
      oneOf(tls13State, followers(this.#moments.filter(isTls13))),
      oneOf(hints, pointersThatCame(this.#hinted)),
      ...this.#shared.findings(),
    ]);
  }

  #findState(): readonly Chain[] {
    const instances = makePairs(this.#library, twoSuites).flatMap(({ client, server, shakeHands }) => {
      const value = randomOf(shakeHands().clientHello);
      this.#shared.refresh();
      return [client, server].map(({ connection }) => ({ bytes: this.#shared.block(connection), value }));
    });
    return this.#chase(instances);
  }

  /** SSL_HANDSHAKE begins with a pointer back to the connection (ssl/internal.h). */
  #findHandshake(): readonly number[] {
    const pairs = makePairs(this.#library, twoSuites);
    this.#shared.refresh();
    const instances = pairs.flatMap(({ client, server }) =>
      [client, server].map(({ connection }) => ({
        bytes: this.#state(connection),
        value: address(connection).value,
      })),
    );
    return this.#chase(instances).flatMap(({ first, second }) => (second === 0 ? [first] : []));
  }

  #chase(instances: Parameters<typeof chainsTo>[0]): readonly Chain[] {
    return chainsTo(instances, this.#shared.memory, (at) => blockSize(at, this.#shared.memory));
  }

  /** The connection's SSL3_STATE; empty where it cannot be found. */
  #state(connection: TlsConnection): Uint8Array {
    return this.#behind(
      this.#shared.block(connection),
      this.#s3.map(({ first }) => first),
    );
  }

  /** The connection's SSL_HANDSHAKE; empty where there is none any more. */
  #handshake(connection: TlsConnection): Uint8Array {
    return this.#behind(this.#state(connection), this.#hs);
  }

  #behind(bytes: Uint8Array, [at, ...others]: readonly number[]): Uint8Array {
    if (at === undefined || others.length > 0 || at + 8 > bytes.length) return new Uint8Array();
    const pointer = wordAt(bytes, at);
    return this.#shared.memory.copy(pointer, blockSize(pointer, this.#shared.memory));
  }

  /** A handshake in full, looked at before it, at each of its states, at each of the client's rests and after it. */
  #shake(pair: HandshakePair): void {
    const { suite, context, client, server } = pair;
    this.#shared.refresh();
    this.#noteMoments(pair);
    this.#attempts.try([state, tls13State], () => context.onState(() => this.#noteMoments(pair)));
    const rests: Uint8Array[] = [];
    const { clientHello, keylog } = pair.shakeHands(() => {
      const bytes = this.#handshake(client.connection);
      if (bytes.length === 0) return;
      rests.push(bytes);
      this.#handshakes.add(bytes, {
        BSSL__SSL_HANDSHAKE_MAX_VERSION: host(2, suite.version),
        // SSL_get_session (ssl/ssl_session.cc) answers with it where there is no early one.
        BSSL__SSL_HANDSHAKE_NEW_SESSION: () => address(client.connection.session),
        [earlySession]: address(null),
      });
    });
    this.#shared.refresh();
    for (const bytes of rests)
      this.#handshakes.add(bytes, {
        BSSL__SSL_HANDSHAKE_CLIENT_VERSION: host(2, legacyVersionOf(clientHello)),
      });
    for (const { connection, rbio, wbio } of [client, server]) {
      const [written, read] = connection === client.connection ? ["CLIENT", "SERVER"] : ["SERVER", "CLIENT"];
      this.#connections.add(this.#shared.block(connection), {
        SSL_ST_VERSION: () => host(2, connection.version),
        SSL_ST_RBIO: address(rbio),
        SSL_ST_WBIO: address(wbio),
      });
      this.#states.add(this.#state(connection), {
        BSSL__SSL3_STATE_VERSION: () => host(2, connection.version),
        BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0: () => rawOf(keylog().get(`${written}_TRAFFIC_SECRET_0`)),
        BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0: () => rawOf(keylog().get(`${read}_TRAFFIC_SECRET_0`)),
        BSSL__SSL3_STATE_EXPORTER_SECRET: () => rawOf(keylog().get("EXPORTER_SECRET")),
        BSSL__SSL3_STATE_ESTABLISHED_SESSION: () => address(connection.session),
      });
      this.#attempts.try(Object.keys(sessionMembers), () => {
        const { session } = connection;
        if (session !== null)
          this.#noteSession(session, { SSL_SESSION_ST_CIPHER: () => address(connection.cipher) });
      });
      this.#attempts.try(["SSL_CIPHER_ST_ID"], () => this.#shared.noteCipher(connection.cipher));
    }
    this.#shared.noteContext(pair);
  }

  #noteMoments({ client, server }: HandshakePair): void {
    for (const [role, { connection }] of Object.entries({ client, server })) {
      const bytes = this.#handshake(connection);
      if (bytes.length === 0) continue;
      // Nothing may be thrown into the library, which calls this.
      this.#attempts.try([state, tls13State], () =>
        this.#moments.push({ bytes, key: `${role} ${connection.state}` }),
      );
    }
  }

  /** A client that resumes with early data keeps the session for it in SSL_HANDSHAKE until the server has answered. */
  #resume(): void {
    const context = this.#library.context(suites.tls13Sha256, credentials);
    const sessions: TlsSession[] = [];
    context.onResumable((session) => sessions.push(session));
    const first = makePair(this.#library, suites.tls13Sha256, context);
    first.shakeHands();
    first.server.connection.flush();
    first.client.rbio.put(first.server.wbio.take());
    first.client.connection.read();
    for (const session of sessions) {
      const { client } = makePair(this.#library, suites.tls13Sha256, context);
      if (!this.#resumes(client.connection, session)) continue;
      client.connection.handshake();
      this.#shared.refresh();
      // SSL_get_session answers with it first of all; without early data it is the one to resume.
      if (client.connection.session?.address !== session.address || !client.connection.isEarly) continue;
      this.#handshakes.add(this.#handshake(client.connection), {
        [earlySession]: address(session),
      });
    }
  }

  /** Hints come from outside before the handshake, and nothing else changes with them. */
  #hint(): void {
    const { server } = makePair(this.#library, suites.tls13Sha256);
    this.#shared.refresh();
    const before = this.#handshake(server.connection);
    if (!server.connection.setHints()) return;
    this.#shared.refresh();
    this.#hinted.push({ before, after: this.#handshake(server.connection) });
  }

  /** A session of our own making, of which all is known, and a connection that is to resume it. */
  #noteCrafted(secret: Uint8Array): void {
    const session = this.#library.parseSession(encodeSession(AES128_GCM_SHA256, randomBytes(32), secret));
    if (session === null) return;
    this.#shared.refresh();
    this.#noteSession(session, {
      SSL_SESSION_ST_SECRET: raw(secret),
      SSL_SESSION_ST_SECRET_LENGTH: host(1, secret.length),
      SSL_SESSION_ST_SSL_VERSION: host(2, craftedVersion),
    });
    const { connection } = makePair(this.#library, suites.tls12Sha256).client;
    this.#resumes(connection, session);
  }

  /** Whether a connection before its handshake takes a session to resume: then it is in the connection. */
  #resumes(connection: TlsConnection, session: TlsSession): boolean {
    this.#shared.refresh();
    const before = this.#shared.block(connection);
    if (!connection.resume(session)) return false;
    this.#connections.add(before, { SSL_ST_SESSION: address(null) });
    this.#connections.add(this.#shared.block(connection), { SSL_ST_SESSION: address(session) });
    return true;
  }

  #noteSession(session: TlsSession, known: KnownMembers): void {
    this.#sessions.add(this.#shared.block(session), {
      SSL_SESSION_ST_SECRET: () => raw(session.masterKey),
      SSL_SESSION_ST_SECRET_LENGTH: () => host(1, session.masterKey.length),
      SSL_SESSION_ST_SSL_VERSION: () => host(2, session.version),
      ...known,
    });
  }
}

/** TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 by its two bytes on the wire. */
const AES128_GCM_SHA256 = 0xc02b;

/** In TLS 1.3 the other state stands still, and the words are of this one. */
const isTls13 = ({ key }: Moment): boolean => key.includes("TLS 1.3 ");

/** As many states differ at least in any handshake: fewer prove nothing. */
const FEWEST_STATES = 5;

/** Places of an int that says what the words say: for each text one number, for two texts of one role two. */
function followers(moments: readonly Moment[]): readonly number[] {
  if (new Set(moments.map(({ key }) => key)).size < FEWEST_STATES) return [];
  const places: number[] = [];
  const instances = moments.map(({ bytes }) => bytes);
  for (const at of placesIn(instances, 4)) {
    const numbers = new Map<string, number>();
    const isConstant = moments.every(({ bytes, key }) => {
      const number = intAt(bytes, at);
      const known = numbers.get(key);
      numbers.set(key, number);
      return known === undefined || known === number;
    });
    const roles = ["client", "server"].map((role) =>
      [...numbers].filter(([key]) => key.startsWith(role)).map(([, number]) => number),
    );
    if (isConstant && roles.every((found) => new Set(found).size === found.length)) places.push(at);
  }
  return places;
}

/** Places where there was nothing before and a pointer after, every time. */
function pointersThatCame(changes: readonly Change[]): readonly number[] {
  const instances = changes.flatMap(({ before, after }) => [before, after]);
  return placesIn(instances, 8).filter((at) =>
    changes.every(
      ({ before, after }) => wordAt(before, at) === 0 && wordAt(after, at) % 8 === 0 && wordAt(after, at) > 0,
    ),
  );
}
