import { TlsCallError } from "../../../ffi/calls.ts";
import type { Bio, Context, Suite, TlsConnection, TlsLibrary } from "../../../ffi/openssl.ts";
import { asked } from "./attempts.ts";
import { credentials } from "./credentials.ts";
import { type KeyLogSecrets, secretsIn } from "./key-log-lines.ts";
import { firstMessage, MOST_FLIGHTS } from "./wire.ts";

/** One end of a connection. */
export interface HandshakeEnd {
  readonly connection: TlsConnection;
  /** What it reads from, and what it writes to. */
  readonly rbio: Bio;
  readonly wbio: Bio;
}

/** Two ends that are about to shake hands with each other, in memory. */
export interface HandshakePair {
  readonly suite: Suite;
  readonly context: Context;
  /** Tells the address of the key log's callback. @throws MissingFunctionError where the library has no key log */
  readonly callback: () => number;
  readonly client: HandshakeEnd;
  readonly server: HandshakeEnd;
  /**
   * Brings the handshake to its end. @throws TlsCallError, RangeError
   * @param atRest called after each step of the client's, when the library is not at work
   */
  shakeHands(atRest?: () => void): Shaken;
}

/** What was seen of a handshake from outside. */
export interface Shaken {
  readonly clientHello: Uint8Array;
  readonly serverHello: Uint8Array;
  /** @throws MissingFunctionError where the library has no key log */
  readonly keylog: () => KeyLogSecrets;
}

/**
 * A client and a server of one context that read what the other writes.
 * @throws TlsCallError where the library makes none
 */
export function makePair(
  library: TlsLibrary,
  suite: Suite,
  context = library.context(suite, credentials),
): HandshakePair {
  const lines: string[] = [];
  const callback = asked(() => context.onKeylog((line) => lines.push(line)));
  const [client, server] = (["client", "server"] as const).map((role) => endOf(library, context, role));
  if (client === undefined || server === undefined) throw new Error("a pair has two ends");
  const shakeHands = (atRest?: () => void): Shaken => {
    const flights = { client: new Uint8Array(), server: new Uint8Array() };
    let isDone = false;
    for (let flight = 0; flight < MOST_FLIGHTS && !isDone; flight++) {
      const isClient = client.connection.handshake();
      atRest?.();
      const sent = client.wbio.take();
      server.rbio.put(sent);
      const isServer = server.connection.handshake();
      const answered = server.wbio.take();
      client.rbio.put(answered);
      if (flight === 0) Object.assign(flights, { client: sent, server: answered });
      isDone = isClient && isServer;
    }
    if (!isDone) throw new RangeError("the handshake did not come to its end");
    const { client: hello, server: answered } = flights;
    const log = secretsIn(lines);
    const keylog = () => {
      callback();
      return log;
    };
    return { clientHello: firstMessage(hello), serverHello: firstMessage(answered), keylog };
  };
  return { suite, context, callback, client, server, shakeHands };
}

/**
 * A context for each of the suites that the library has: it may be built without one, such as no-tls1_3.
 * @throws TlsCallError where it has none of them
 */
export function contextsFor(
  library: TlsLibrary,
  wanted: readonly Suite[],
): readonly { readonly suite: Suite; readonly context: Context }[] {
  const refusals: TlsCallError[] = [];
  const contexts = wanted.flatMap((suite) => {
    try {
      return [{ suite, context: library.context(suite, credentials) }];
    } catch (error) {
      if (!(error instanceof TlsCallError)) throw error;
      refusals.push(error);
      return [];
    }
  });
  const [refusal] = refusals;
  if (contexts.length === 0 && refusal !== undefined) throw refusal;
  return contexts;
}

/** A pair for each of the suites that the library has. @throws TlsCallError where it has none of them */
export const makePairs = (library: TlsLibrary, wanted: readonly Suite[]): readonly HandshakePair[] =>
  contextsFor(library, wanted).map(({ suite, context }) => makePair(library, suite, context));

function endOf(library: TlsLibrary, context: Context, role: "client" | "server"): HandshakeEnd {
  const end = { connection: context.connection(role), rbio: library.memoryBio(), wbio: library.memoryBio() };
  end.connection.setBios(end.rbio, end.wbio);
  return end;
}
