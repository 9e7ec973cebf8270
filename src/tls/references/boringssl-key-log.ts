import { isVectorLength } from "../layouts/vector.ts";
import type { Value, ValuePlace } from "../machine/value.ts";
import { keyLogLabels, randomSize } from "./labels.ts";
import type { Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import {
  callsIn,
  hex,
  insideOf,
  isReached,
  memberOf,
  numberOf,
  placesToldBy,
  pointersTo,
  storesIn,
} from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** The function that writes the key log, and how it is called. Entries are first addresses of functions. */
export interface KeyLogFunction {
  readonly entry: number;
  readonly labels: ReadonlySet<string>;
  readonly calls: readonly {
    readonly entry: number;
    readonly label: string;
    readonly secret: Value | undefined;
    readonly length: Value | undefined;
  }[];
}

/** ssl_log_secret(ssl, label, secret, length): the one function that is called with several labels. */
export function keyLog(subject: Subject): KeyLogFunction | null {
  const labelAt = new Map(
    keyLogLabels.flatMap((label) => subject.addressesOf(label).map((at) => [at, label] as const)),
  );
  const calls = subject.naming(...keyLogLabels).flatMap((entry) =>
    callsIn(subject.events(entry)).flatMap((call) => {
      const label = labelAt.get(numberOf(call.arguments[1]) ?? -1);
      const target = numberOf(call.target);
      return label !== undefined &&
        target !== null &&
        isReached(call.arguments[0], 0) &&
        call.arguments[0].add === 0
        ? [{ entry, label, target, secret: call.arguments[2], length: call.arguments[3] }]
        : [];
    }),
  );
  const [only, ...others] = [...Map.groupBy(calls, ({ target }) => target)]
    .map(([entry, some]) => ({ entry, calls: some, labels: new Set(some.map(({ label }) => label)) }))
    .filter(({ labels }) => labels.size >= 3);
  return only === undefined || others.length > 0 ? null : only;
}

/** The secrets that it is called with. */
export function loggedSecrets(subject: Subject, found: Witnesses, { calls }: KeyLogFunction): void {
  for (const { entry, label, secret, length } of calls) {
    if (secret?.kind !== "place" || secret.root !== 0) continue;
    const where = `${label} in ${hex(entry)}`;
    const way = pointersTo(secret);
    const size = memberOf(length);
    if (way === null) continue;
    if (label === "CLIENT_RANDOM") {
      const [first, second] = way;
      if (first === undefined) continue;
      if (way.length === 1) found.say("BSSL__SSL_HANDSHAKE_NEW_SESSION", first, where);
      else if (way.length === 2 && first === 0 && second !== undefined)
        found.say("SSL_ST_SESSION", second, where);
      else continue;
      found.say(
        "SSL_SESSION_ST_SECRET",
        secret.add,
        `${where} of ${way.length === 1 ? "a new session" : "the session"}`,
      );
      // What follows the secret is the size that a vector keeps.
      if (size !== null && (size.from.add < secret.add || isVectorLength(size.from.add, secret.add)))
        found.say(
          "SSL_SESSION_ST_SECRET_LENGTH",
          size.from.add,
          `${where} of ${way.length === 1 ? "a new session" : "the session"}`,
        );
    } else if (label === "EXPORTER_SECRET" && way.length === 2 && way[0] === 0 && way[1] !== undefined) {
      found.say("SSL_ST_S3", way[1], where);
      found.say("BSSL__SSL3_STATE_EXPORTER_SECRET", secret.add, where);
      derivedExporter(subject, found, entry, way[1]);
    }
  }
}

/** derive_secret(hs, &secret, "exp master"), in the function that logs it. */
function derivedExporter(subject: Subject, found: Witnesses, entry: number, s3: number): void {
  const named = new Set(subject.addressesOf("exp master"));
  for (const { arguments: passed } of callsIn(subject.events(entry))) {
    if (!passed.some((one) => named.has(numberOf(one) ?? -1))) continue;
    for (const one of passed) {
      const offset = insideOf(one, 0, s3);
      if (offset !== null)
        found.say("BSSL__SSL3_STATE_EXPORTER_SECRET", offset, `"exp master" in ${hex(entry)}`);
    }
  }
}

/** ssl_log_secret calls ssl->ctx->keylog_callback, where there is one, and writes the client's random, 32 bytes one after the other. */
export function keyLogFunction(subject: Subject, found: Witnesses, log: number): void {
  const events = subject.events(log);
  const callbacks = callsIn(events).flatMap(({ target }) => {
    const member = memberOf(target);
    return member !== null && member.width === 8 && member.from.root === 0 && member.from.loads.length === 1
      ? [member.from]
      : [];
  });
  const tested = events.flatMap((event) => (event.kind === "compare" ? placesToldBy(event) : []));
  for (const from of callbacks) {
    found.say("SSL_CTX_ST_KEYLOG_CALLBACK", from.add, `called in ${hex(log)}`);
    const isTested = tested.some((one) => {
      const member = memberOf(one);
      return (
        member !== null &&
        member.from.add === from.add &&
        member.from.loads[0]?.offset === from.loads[0]?.offset
      );
    });
    if (isTested) found.say("SSL_CTX_ST_KEYLOG_CALLBACK", from.add, `tested in ${hex(log)}`);
  }
  for (const [s3, offset] of randomsOfLog(events)) {
    found.say("SSL_ST_S3", s3, `the random in ${hex(log)}`);
    found.say("BSSL__SSL3_STATE_CLIENT_RANDOM", offset, `written in ${hex(log)}`);
  }
}

/** What is read byte by byte, or handed on, of what a pointer in the connection leads to. */
function randomsOfLog(events: readonly Event[]): readonly (readonly [number, number])[] {
  const places = events.flatMap((event): readonly ValuePlace[] => {
    if (event.kind === "indexed" && event.width === 1) return [event.from];
    if (event.kind === "call" && event.arguments.some((one) => numberOf(one) === randomSize))
      return placesToldBy(event);
    return event.kind === "load" && event.width === 1 ? [event.from] : [];
  });
  const offsets = new Map<number, number>();
  for (const one of places) {
    const [s3] = one.loads;
    if (!isReached(one, s3?.offset ?? -1) || s3 === undefined || one.add === 0) continue;
    offsets.set(s3.offset, Math.min(offsets.get(s3.offset) ?? one.add, one.add));
  }
  return offsets.size === 1 ? [...offsets] : [];
}

/** The random of each side is 32 bytes, which the handshake fills, copies and sends. */
export function randoms(subject: Subject, found: Witnesses): void {
  const s3 = found.seen("SSL_ST_S3");
  const random = found.seen("BSSL__SSL3_STATE_CLIENT_RANDOM");
  if (s3 === null || random === null) return;
  for (const file of ["handshake_client.cc", "handshake_server.cc", "tls13_server.cc", "tls13_client.cc"]) {
    for (const entry of subject.naming(file)) {
      const events = subject.events(entry);
      const isSent = callsIn(events).some(({ arguments: passed }) =>
        passed.some(
          (one, index) => insideOf(one, 0, s3) === random && numberOf(passed[index + 1]) === randomSize,
        ),
      );
      const stored = new Set(
        storesIn(events).flatMap(({ to, width }) => (width === 16 && isReached(to, 0, s3) ? to.add : [])),
      );
      if (isSent || (stored.has(random) && stored.has(random + 16)))
        found.say("BSSL__SSL3_STATE_CLIENT_RANDOM", random, `32 bytes in ${file} ${hex(entry)}`);
    }
  }
}
