import type { ReadEnd } from "./connections.ts";

/** What is known of a connection from outside. Secrets are by the label of the key log, as SHA-256 in hex. */
export interface Expected {
  /** Hex. */
  readonly random: string;
  readonly version?: number;
  readonly cipher_id?: number;
  /** Descriptors of both ends, where both are watched. */
  readonly fds?: { readonly client: number; readonly server: number };
  /** How many of its ends are watched, at the least. */
  readonly ends: 1 | 2;
  readonly secrets: ReadonlyMap<string, string>;
}

/** One item of a connection, as read at one end, and whether it is what it should be. Never a value: it may be secret. */
export interface Comparison {
  /** e.g. `fd`, or a label of the key log. */
  readonly item: string;
  /** The constants that lead to it. */
  readonly constants: readonly string[];
  readonly held: boolean;
}

/** Constants that lead to an item, by their names in an object: all that match one of `all`, and one of each of `any`. */
interface Path {
  readonly all: readonly RegExp[];
  readonly any?: readonly RegExp[];
}

const version = /_ST_VERSION$|_STATE_VERSION$/;
const session = /_ST_SESSION$|_ESTABLISHED_SESSION$/;
const cipher = [session, /^SSL_SESSION_ST_CIPHER$/];
/** A cipher's number: BoringSSL keeps it in one of two members. */
const cipherNumber = /^SSL_CIPHER_ST_(PROTOCOL_)?ID$/;
const bio = /_ST_RBIO$|^BIO_/;
/**
 * The constants that lead to a secret of TLS 1.3: its own, the version's, since only 1.3 has it, and the cipher's, whose hash is as
 * long.
 */
const secret = (own: RegExp): Path => ({ all: [own, ...cipher], any: [cipherNumber, version] });
const handshake = secret(/_HANDSHAKE_SECRET$|_HANDSHAKE_TRAFFIC_HASH$/);

/** GnuTLS embeds its secrets in the session, and tells the hash instead of the cipher. */
const gnutlsVersion = /^GNUTLS_SESSION_INT_SECURITY_PARAMETERS$|_ST_PVERSION$|^VERSION_ENTRY_ST_ID$/;
const gnutlsSecret = (own: RegExp): Path => ({
  all: [own, gnutlsVersion, /_SECURITY_PARAMETERS_PRF$|^MAC_ENTRY_ST_ID$/],
});

/**
 * The constants that lead to each item. All that an object takes must be known for the item to be compared; of
 * alternatives, one.
 */
const opensslPaths: Readonly<Record<string, Path>> = {
  random: { all: [/_S3$|_CLIENT_RANDOM$/] },
  version: { all: [], any: [version] },
  cipher_id: { all: cipher, any: [cipherNumber] },
  // The descriptor tells which end it is.
  server: { all: [bio], any: [/_ST_SERVER$/] },
  fd: { all: [bio] },
  CLIENT_RANDOM: { all: [session, /_ST_MASTER_KEY$|^SSL_SESSION_ST_SECRET$/], any: [version] },
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: handshake,
  SERVER_HANDSHAKE_TRAFFIC_SECRET: handshake,
  CLIENT_TRAFFIC_SECRET_0: secret(/_CLIENT_APP_TRAFFIC_SECRET$|_CLIENT_TRAFFIC_SECRET_0$/),
  SERVER_TRAFFIC_SECRET_0: secret(/_SERVER_APP_TRAFFIC_SECRET$|_SERVER_TRAFFIC_SECRET_0$/),
  EXPORTER_SECRET: secret(/_EXPORTER_MASTER_SECRET$|_EXPORTER_SECRET$/),
};

const gnutlsPaths: Readonly<Record<string, Path>> = {
  version: { all: [gnutlsVersion] },
  CLIENT_RANDOM: { all: [/_MASTER_SECRET$/, gnutlsVersion] },
  CLIENT_EARLY_TRAFFIC_SECRET: gnutlsSecret(/_E_CKEY$/),
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: gnutlsSecret(/_HS_CKEY$/),
  SERVER_HANDSHAKE_TRAFFIC_SECRET: gnutlsSecret(/_HS_SKEY$/),
  CLIENT_TRAFFIC_SECRET_0: gnutlsSecret(/_AP_CKEY$/),
  SERVER_TRAFFIC_SECRET_0: gnutlsSecret(/_AP_SKEY$/),
  EXPORTER_SECRET: gnutlsSecret(/_AP_EXPKEY$/),
};

/** The constants that an item rests on; null where they are not all known, and so nothing can be said. */
function constantsOf(item: string, values: ReadonlyMap<string, bigint | null>): readonly string[] | null {
  const names = [...values.keys()];
  const isGnutls = names.some((name) => name.startsWith("GNUTLS_"));
  const path = { ...opensslPaths, ...(isGnutls && gnutlsPaths) }[item];
  if (path === undefined) return null;
  const all = path.all.map((own) => names.filter((name) => own.test(name)));
  const any = (path.any ?? []).map((own) =>
    names.filter((name) => own.test(name) && values.get(name) !== null),
  );
  const isKnown =
    all.every((each) => each.length > 0 && each.every((name) => values.get(name) !== null)) &&
    any.every((each) => each.length > 0);
  return isKnown ? [...all, ...any].flat() : null;
}

/**
 * The connections of a key log that were surely watched: in the log's order, those from the first to the last that was read; all where
 * none was. Programs log late, Node.js by its pool of threads: what stands before the first may have been over when the
 * watch began, and what stands behind the last may not have gone on before it ended.
 */
export function surelyWatched<Logged extends Pick<Expected, "random">>(
  logged: readonly Logged[],
  read: readonly Pick<ReadEnd, "random">[],
): readonly Logged[] {
  const known = new Set(read.map(({ random }) => random));
  const isRead = ({ random }: Logged): boolean => known.has(random);
  const first = logged.findIndex(isRead);
  return first < 0 ? logged : logged.slice(first, logged.findLastIndex(isRead) + 1);
}

/** What came of comparing. */
export interface Compared {
  readonly comparisons: readonly Comparison[];
  /** Ends of known connections that were read, and that should have been and were not. */
  readonly ends: number;
  readonly missed: number;
}

/**
 * Compares what was read of connections with what is known of them. What should have been read at an end and was not is a
 * comparison that did not hold; of an end that was not read at all, that is its random.
 *
 * @param values the constants of the object; null: absent
 */
export function compareConnections(
  expected: readonly Expected[],
  read: readonly ReadEnd[],
  values: ReadonlyMap<string, bigint | null>,
): Compared {
  const byRandom = Map.groupBy(read, ({ random }) => random);
  const each = expected.map((connection) => {
    const found = byRandom.get(connection.random) ?? [];
    const missed = Math.max(0, connection.ends - found.length);
    const items = [...itemsOf(connection)];
    const seen = found.flatMap((end) => {
      const secrets = secretsOf(end, connection);
      return items.map(({ item, isTrue }) => ({ item, held: isTrue(end, secrets) }));
    });
    const unseen = Array.from({ length: missed }, () => ({ item: "random", held: false }));
    return { results: [...seen, ...unseen], ends: found.length, missed };
  });
  return {
    comparisons: each.flatMap(({ results }) =>
      results.flatMap(({ item, held }) => {
        const constants = constantsOf(item, values);
        return constants === null ? [] : [{ item, constants, held }];
      }),
    ),
    ends: each.reduce((sum, { ends }) => sum + ends, 0),
    missed: each.reduce((sum, { missed }) => sum + missed, 0),
  };
}

/**
 * The secrets by their labels. Those that a library keeps by direction are named as a server's are: on a client the two
 * change places. Where no descriptor tells which end it is, either is taken that the connection has.
 */
function secretsOf(end: ReadEnd, { fds, secrets }: Expected): ReadEnd["secrets"] {
  if (!end.by_direction) return end.secrets;
  const [client, server] = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] as const;
  const read = end.secrets.get(client);
  const written = end.secrets.get(server);
  if (read === undefined || written === undefined) return end.secrets;
  const isClient = fds === undefined ? written === secrets.get(client) : end.fd === fds.client;
  return isClient ? new Map([...end.secrets, [client, written], [server, read]]) : end.secrets;
}

interface Item {
  readonly item: string;
  readonly isTrue: (end: ReadEnd, secrets: ReadEnd["secrets"]) => boolean;
}

function* itemsOf({ version, cipher_id, fds, secrets }: Expected): Generator<Item> {
  // The random is not compared again: by it the connection was found.
  yield { item: "random", isTrue: () => true };
  if (version !== undefined) yield { item: "version", isTrue: (end) => end.version === version };
  if (cipher_id !== undefined) yield { item: "cipher_id", isTrue: (end) => end.cipher_id === cipher_id };
  if (fds !== undefined) {
    yield { item: "fd", isTrue: ({ fd }) => fd === fds.client || fd === fds.server };
    yield { item: "server", isTrue: ({ fd, server }) => server === (fd === fds.server) };
  }
  for (const [label, digest] of secrets) {
    yield { item: label, isTrue: (_, secrets) => secrets.get(label) === digest };
  }
}
