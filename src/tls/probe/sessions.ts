import * as v from "valibot";
import { type Context, suites, type TlsConnection, type TlsLibrary } from "../../../ffi/openssl.ts";
import { whyNot } from "./attempts.ts";
import { contextsFor } from "./handshake.ts";
import { secretsIn } from "./key-log-lines.ts";

/** Handshakes over descriptors go on in steps; none needs as many. */
const MOST_STEPS = 20;

const sha256Schema = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** What the child tells of a session: no secret, only what it can be recognised by. */
export const sessionsSchema = v.pipe(
  v.array(
    v.strictObject({
      /** Hex. */
      random: sha256Schema,
      /** Where the library tells them. */
      version: v.exactOptional(v.number()),
      cipher_id: v.exactOptional(v.number()),
      client_fd: v.number(),
      server_fd: v.number(),
      /** Label of the key log to the SHA-256 of the secret, in hex. */
      secrets: v.record(v.pipe(v.string(), v.regex(/^[A-Z_0-9]{1,40}$/)), sha256Schema),
    }),
  ),
  v.maxLength(100),
);
export type Session = v.InferOutput<typeof sessionsSchema>[number];

/** What a secret is recognised by. */
export const secretDigest = (secret: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(secret).digest("hex");

/**
 * Has the library make one session of each suite that it knows, over two connected descriptors that do not block, and
 * tells what was agreed on: by the library's public functions and its key log.
 */
export function makeSessions(
  library: TlsLibrary,
  [clientFd, serverFd]: readonly [number, number],
): Session[] {
  return contextsFor(library, Object.values(suites)).map(({ context }) =>
    makeSession(library, context, clientFd, serverFd),
  );
}

function makeSession(library: TlsLibrary, context: Context, clientFd: number, serverFd: number): Session {
  const lines: string[] = [];
  context.onKeylog((line) => lines.push(line));
  const [client, server] = [
    { role: "client", fd: clientFd } as const,
    { role: "server", fd: serverFd } as const,
  ].map(({ role, fd }) => {
    const connection = context.connection(role);
    connection.setBios(library.fileBio(fd), library.fileBio(fd));
    return connection;
  });
  if (client === undefined || server === undefined) throw new Error("a session has two ends");
  shakeHands(client, server);
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.write();
    to.read();
  }
  const known: { version?: number; cipher_id?: number } = {};
  whyNot(() => {
    known.version = client.version;
  });
  whyNot(() => {
    known.cipher_id = library.cipherId(client.cipher);
  });
  const random = lines[0]?.split(" ")[1] ?? "";
  for (const connection of [client, server]) connection.free();
  const secrets = Object.fromEntries(
    [...secretsIn(lines)].map(([label, secret]) => [label, secretDigest(secret)]),
  );
  return { random, ...known, client_fd: clientFd, server_fd: serverFd, secrets };
}

function shakeHands(client: TlsConnection, server: TlsConnection): void {
  for (let step = 0; step < MOST_STEPS; step++) {
    const isClient = client.handshake();
    const isServer = server.handshake();
    if (isClient && isServer) return;
  }
  throw new Error("the handshake did not come to its end");
}
