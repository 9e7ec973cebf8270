import {
  type GnutlsCredentials,
  type GnutlsLibrary,
  type GnutlsSession,
  type GnutlsSuite,
  type Role,
  suites,
} from "../../../ffi/gnutls.ts";
import { usableSize } from "../../../ffi/libc.ts";
import { OwnMemory } from "../../../ffi/memory.ts";
import { host, raw } from "../../offsets/values.ts";
import { randomBytes } from "../../self/random.ts";
import { Attempts, asked, everything, whyNot } from "./attempts.ts";
import { credentials } from "./credentials.ts";
import type { KeyLogSecrets } from "./key-log-lines.ts";
import {
  address,
  bytesShape,
  chainsTo,
  type Finding,
  findingsOf,
  intShape,
  Notes,
  oneOf,
  rawOf,
  roundsOf,
  wordAt,
} from "./notes.ts";
import { digestSize } from "./schedule.ts";
import { type Session, secretDigest } from "./sessions.ts";
import { firstMessage, MOST_FLIGHTS, randomOf } from "./wire.ts";

const secret = bytesShape(digestSize.sha256);

/** The member that security_parameters_st begins with (lib/gnutls_int.h): which end it is. */
const parameters = "GNUTLS_SESSION_INT_SECURITY_PARAMETERS";
const clientRandom = "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_CLIENT_RANDOM";
const masterSecret = "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_MASTER_SECRET";

/** Members of the session by the labels of its key log. */
const logged = {
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY: "CLIENT_EARLY_TRAFFIC_SECRET",
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_CKEY: "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_HS_SKEY: "SERVER_HANDSHAKE_TRAFFIC_SECRET",
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_CKEY: "CLIENT_TRAFFIC_SECRET_0",
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_SKEY: "SERVER_TRAFFIC_SECRET_0",
  GNUTLS_SESSION_INT_KEY_PROTO_TLS13_AP_EXPKEY: "EXPORTER_SECRET",
} as const;

const sessionMembers = {
  [parameters]: intShape,
  [clientRandom]: bytesShape(32),
  [masterSecret]: bytesShape(48),
  ...Object.fromEntries(Object.keys(logged).map((constant) => [constant, secret])),
};

const prf = "GNUTLS_SESSION_INT_SECURITY_PARAMETERS_PRF";
const macId = "MAC_ENTRY_ST_ID";
const pversion = "SECURITY_PARAMETERS_ST_PVERSION";
const versionId = "VERSION_ENTRY_ST_ID";

/** Bytes looked at of an entry of the library's tables, which no allocator made. */
const ENTRY_SIZE = 64;

/** How often everything is done again with new values. One round was enough for every library seen. */
const MOST_ROUNDS = 3;

/** gnutls_init_flags_t, which the member `entity` holds. */
const entities = { client: 2, server: 1 } as const;

/** Two ends that have shaken hands in memory. */
export interface GnutlsShaken {
  readonly clientHello: Uint8Array;
  readonly ends: readonly (GnutlsEnd & { readonly role: Role })[];
}

/** @throws MissingFunctionError by `keylog`, where the library has no key log */
export interface GnutlsEnd {
  readonly session: GnutlsSession;
  readonly keylog: () => KeyLogSecrets;
}

function endOf(library: GnutlsLibrary, role: Role, suite: GnutlsSuite, by: GnutlsCredentials): GnutlsEnd {
  const session = library.session(role, suite, by);
  const log = new Map<string, Uint8Array>();
  const listening = asked(() => session.onKeylog((label, told) => log.set(label, told)));
  const keylog = () => {
    listening();
    return log;
  };
  return { session, keylog };
}

/** Has a library shake hands with itself in memory. @throws TlsCallError, RangeError */
export function shakeHands(library: GnutlsLibrary, suite: GnutlsSuite): GnutlsShaken {
  const by = suite.by === "psk" ? library.sharedKey(randomBytes(32)) : library.certificate(credentials);
  const client = endOf(library, "client", suite, by);
  const server = endOf(library, "server", suite, by);
  let hello: Uint8Array | undefined;
  for (let flight = 0; flight < MOST_FLIGHTS; flight++) {
    const isClient = client.session.handshake();
    const sent = client.session.take();
    hello ??= sent;
    server.session.put(sent);
    const isServer = server.session.handshake();
    client.session.put(server.session.take());
    if (isClient && isServer) {
      const ends = [
        { ...client, role: "client" },
        { ...server, role: "server" },
      ] as const;
      return { clientHello: firstMessage(hello), ends };
    }
  }
  throw new RangeError("the handshake did not come to its end");
}

/**
 * Finds where GnuTLS keeps its members, by values that its own public functions, its key log and the bytes of its
 * handshakes tell. A constant that cannot be learned, as for want of a function, has the reason why.
 *
 * @throws RangeError where a handshake comes to no end
 */
export function probeGnutls(library: GnutlsLibrary): readonly Finding[] {
  return roundsOf(new GnutlsProbe(library), MOST_ROUNDS);
}

/** A session, and which entries of the library's tables it leads to, by where their names stand. */
interface Instance {
  readonly bytes: Uint8Array;
  readonly suite: GnutlsSuite;
}

class GnutlsProbe {
  readonly #library: GnutlsLibrary;
  readonly #sessions = new Notes(sessionMembers);
  readonly #instances: Instance[] = [];
  readonly #attempts = new Attempts();

  constructor(library: GnutlsLibrary) {
    this.#library = library;
  }

  observe(): void {
    for (const suite of Object.values(suites)) {
      // A library may lack a suite: the others still tell what does not depend on it.
      const constants = suite.by === "psk" ? ["GNUTLS_SESSION_INT_KEY_PROTO_TLS13_E_CKEY"] : [everything];
      for (let count = 0; count < (suite.by === "psk" ? 2 : 1); count++)
        this.#attempts.try(constants, () => this.#note(suite, shakeHands(this.#library, suite)));
    }
  }

  isSolved(): boolean {
    return [...this.#sessions.solve().values()].every(({ is }) => is !== "ambiguous");
  }

  findings(): readonly Finding[] {
    const sessions = findingsOf(this.#sessions);
    const prfs = this.#entryPlaces([prf, macId], ({ mac }) => this.#library.macName(mac));
    const versions = this.#entryPlaces([pversion, versionId], ({ version }) =>
      this.#library.protocolName(version),
    );
    return this.#attempts.explain([
      ...sessions,
      oneOf(prf, prfs),
      this.#idOf(macId, prfs, ({ mac }) => mac),
      within(
        oneOf(pversion, versions),
        sessions.find(({ constant }) => constant === parameters),
      ),
      this.#idOf(versionId, versions, ({ version }) => version),
    ]);
  }

  #note(suite: GnutlsSuite, { clientHello, ends }: GnutlsShaken): void {
    for (const { role, session, keylog } of ends) {
      const bytes = new OwnMemory().copy(session.address, usableSize(session.address));
      this.#instances.push({ bytes, suite });
      const told = Object.entries(logged).map(
        ([constant, label]) => [constant, () => rawOf(keylog().get(label))] as const,
      );
      this.#sessions.add(bytes, {
        [parameters]: host(4, entities[role]),
        [clientRandom]: raw(randomOf(clientHello)),
        [masterSecret]: isTls13(suite) ? undefined : () => raw(session.masterSecret),
        ...Object.fromEntries(told),
      });
    }
  }

  /** Where sessions lead to an entry of one of the library's tables: each begins with the name that a function tells. */
  #entryPlaces(constants: readonly string[], name: (suite: GnutlsSuite) => number): readonly number[] {
    let places: readonly number[] = [];
    this.#attempts.try(constants, () => {
      const memory = new OwnMemory();
      const instances = this.#instances.map(({ bytes, suite }) => ({
        bytes,
        value: address(name(suite)).value,
      }));
      const chains = chainsTo(instances, memory, (at) => Math.min(memory.readable(at), ENTRY_SIZE));
      places = chains.flatMap(({ first, second }) => (second === 0 ? [first] : []));
    });
    return places;
  }

  /** The member of an entry that holds its number. */
  #idOf(constant: string, [at, ...others]: readonly number[], id: (suite: GnutlsSuite) => number): Finding {
    const notes = new Notes({ [constant]: intShape });
    const memory = new OwnMemory();
    if (at !== undefined && others.length === 0)
      for (const { bytes, suite } of this.#instances)
        notes.add(memory.copy(wordAt(bytes, at), ENTRY_SIZE), { [constant]: host(4, id(suite)) });
    return findingsOf(notes)[0] ?? oneOf(constant, []);
  }
}

/** A finding on a member of the session, counted from the start of the struct that it lies in, which begins at another member. */
function within(finding: Finding, start: Finding | undefined): Finding {
  const { constant, candidates } = finding;
  const [begin, ...others] = start?.candidates ?? [];
  if (begin === undefined || others.length > 0)
    return { constant, candidates: [], reason: `where ${parameters} is was not found` };
  return { ...finding, candidates: candidates.map((at) => at - begin) };
}

/** A gnutls_protocol_t counts from SSL 3.0, which is 0x0300 on the wire. */
const wireVersion = ({ version }: GnutlsSuite): number => 0x0300 + version - 1;

const isTls13 = ({ version }: GnutlsSuite): boolean => version === suites.tls13Sha256.version;

/**
 * Has the library make one session of each suite that it knows, in memory, and tells what was agreed on: by its public
 * functions and its key log. The descriptors are what the session would be over, and no function is told of them.
 */
export function gnutlsSessions(
  library: GnutlsLibrary,
  [client_fd, server_fd]: readonly [number, number],
): Session[] {
  return Object.values(suites).flatMap((suite) => {
    const sessions: Session[] = [];
    whyNot(() => {
      const { clientHello, ends } = shakeHands(library, suite);
      const random = Buffer.from(randomOf(clientHello)).toString("hex");
      const log = ends[0]?.keylog() ?? new Map<string, Uint8Array>();
      const secrets = Object.fromEntries([...log].map(([label, told]) => [label, secretDigest(told)]));
      sessions.push({ random, version: wireVersion(suite), client_fd, server_fd, secrets });
      for (const { session } of ends) session.free();
    });
    return sessions;
  });
}
