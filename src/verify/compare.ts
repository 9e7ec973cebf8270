import type { TlsEvent } from "../bytecode/events.ts";
import { keyLogOf } from "../bytecode/keylog.ts";
import { digestOf } from "../tls/probe/sessions.ts";

/** What is known of a connection from outside. Secrets are by the label of the key log, as SHA-256 in hex. */
export interface Expected {
  /** Hex. */
  readonly random: string;
  readonly version?: number;
  readonly cipher_id?: number;
  /** Descriptors of both ends, where both are watched. */
  readonly fds?: { readonly client: number; readonly server: number };
  readonly secrets: ReadonlyMap<string, string>;
}

/** One item of a connection, as read at one end, and whether it is what it should be. Never a value: it may be secret. */
export interface Comparison {
  /** e.g. `fd`, or a label of the key log. */
  readonly item: string;
  /** What leads to it. */
  readonly constants: readonly string[];
  readonly held: boolean;
}

/**
 * The constants that lead to each item, by their names in any of the objects. All that an object takes must be known for
 * the item to be compared; of alternatives, one.
 */
const paths: Readonly<Record<string, { readonly all: RegExp; readonly any?: RegExp }>> = {
  random: { all: /_S3$|_CLIENT_RANDOM$/ },
  version: { all: /^$/, any: /_ST_VERSION$|_STATE_VERSION$/ },
  cipher_id: { all: /_ST_SESSION$|_ESTABLISHED_SESSION$|^SSL_SESSION_ST_CIPHER$|^SSL_CIPHER_ST_ID$/ },
  // The descriptor tells which end it is.
  server: { all: /_ST_RBIO$|^BIO_/, any: /_ST_SERVER$/ },
  fd: { all: /_ST_RBIO$|^BIO_/ },
  CLIENT_RANDOM: {
    all: /_ST_SESSION$|_ESTABLISHED_SESSION$|_ST_MASTER_KEY$|^SSL_SESSION_ST_SECRET$/,
  },
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: { all: /_HANDSHAKE_SECRET$|_HANDSHAKE_TRAFFIC_HASH$/ },
  SERVER_HANDSHAKE_TRAFFIC_SECRET: { all: /_HANDSHAKE_SECRET$|_HANDSHAKE_TRAFFIC_HASH$/ },
  CLIENT_TRAFFIC_SECRET_0: { all: /_CLIENT_APP_TRAFFIC_SECRET$|_CLIENT_TRAFFIC_SECRET_0$/ },
  SERVER_TRAFFIC_SECRET_0: { all: /_SERVER_APP_TRAFFIC_SECRET$|_SERVER_TRAFFIC_SECRET_0$/ },
  EXPORTER_SECRET: { all: /_EXPORTER_MASTER_SECRET$|_EXPORTER_SECRET$/ },
};

/** The constants that an item rests on; null where they are not all known, and so nothing can be said. */
function constantsOf(item: string, values: ReadonlyMap<string, bigint | null>): readonly string[] | null {
  const path = paths[item];
  if (path === undefined) return null;
  const all = [...values.keys()].filter((name) => path.all.test(name));
  const any = [...values.keys()].filter((name) => path.any?.test(name) && values.get(name) !== null);
  const isKnown =
    all.every((name) => values.get(name) !== null) && (path.any === undefined || any.length > 0);
  return isKnown && all.length + any.length > 0 ? [...all, ...any] : null;
}

/**
 * Compares what was read of connections with what is known of them. What should have been read and was not is a
 * comparison that did not hold.
 *
 * @param values the constants of the object; null: absent
 * @param ends how many ends of each connection are watched
 */
export function compareConnections(
  expected: readonly Expected[],
  read: readonly TlsEvent[],
  values: ReadonlyMap<string, bigint | null>,
  ends: number,
): readonly Comparison[] {
  const byRandom = Map.groupBy(read, ({ client_random: random }) =>
    Buffer.from(random ?? []).toString("hex"),
  );
  return expected.flatMap((connection) => {
    const found = byRandom.get(connection.random) ?? [];
    const items = [...itemsOf(connection)];
    const seen = found.flatMap((event) => {
      const secrets = secretsOf(event, connection);
      return items.map(({ item, isTrue }) => ({ item, held: isTrue(event, secrets) }));
    });
    const missed = Array.from({ length: Math.max(0, ends - found.length) }, () =>
      items.map(({ item }) => ({ item, held: false })),
    ).flat();
    return [...seen, ...missed].flatMap(({ item, held }) => {
      const constants = constantsOf(item, values);
      return constants === null ? [] : [{ item, constants, held }];
    });
  });
}

/**
 * The secrets by their labels. Those that a library keeps by direction are named as a server's are: on a client the two
 * change places. Where no descriptor tells which end it is, either is taken that the connection has.
 */
function secretsOf(event: TlsEvent, { fds, secrets }: Expected): ReadonlyMap<string, Uint8Array> {
  const named = keyLogOf(event);
  if (!event.by_direction) return named;
  const [client, server] = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] as const;
  const read = named.get(client);
  const written = named.get(server);
  if (read === undefined || written === undefined) return named;
  const isClient = fds === undefined ? digestOf(written) === secrets.get(client) : event.fd === fds.client;
  return isClient ? new Map([...named, [client, written], [server, read]]) : named;
}

interface Item {
  readonly item: string;
  readonly isTrue: (event: TlsEvent, secrets: ReadonlyMap<string, Uint8Array>) => boolean;
}

function* itemsOf({ version, cipher_id, fds, secrets }: Expected): Generator<Item> {
  // Without it the connection would not have been found.
  yield { item: "random", isTrue: () => true };
  if (version !== undefined) yield { item: "version", isTrue: (event) => event.version === version };
  if (cipher_id !== undefined) yield { item: "cipher_id", isTrue: (event) => event.cipher_id === cipher_id };
  if (fds !== undefined) {
    yield { item: "fd", isTrue: ({ fd }) => fd === fds.client || fd === fds.server };
    yield { item: "server", isTrue: ({ fd, server }) => server === (fd === fds.server) };
  }
  for (const [label, digest] of secrets) {
    yield {
      item: label,
      isTrue: (_, read) => {
        const secret = read.get(label);
        return secret !== undefined && digestOf(secret) === digest;
      },
    };
  }
}
