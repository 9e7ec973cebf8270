import { isVectorLength } from "../layouts/vector.ts";
import type { Value, ValuePlace } from "../machine/value.ts";
import { bioMethods, methodFiles } from "./bio.ts";
import { cipherTable } from "./ciphers.ts";
import { functionsCalling, functionsWith } from "./displacement.ts";
import { keyLogLabels } from "./labels.ts";
import type { SoughtNames, Subject } from "./subject.ts";
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

export const boringsslNames: SoughtNames = {
  texts: [...keyLogLabels, "exp master", "traffic upd"],
  files: [
    "handshake.cc",
    "handshake_client.cc",
    "handshake_server.cc",
    "tls13_client.cc",
    "tls13_server.cc",
    "tls13_enc.cc",
    "ssl_asn1.cc",
    "ssl_buffer.cc",
    "ssl_session.cc",
    "ssl_lib.cc",
  ],
  apart: methodFiles,
  needles: ["CLIENT_RANDOM", "TRAFFIC_SECRET", "EXPORTER_SECRET", "exp master", "traffic upd", ".cc\0"],
};

/** States of a handshake are numbered from 0; none has as many. */
const mostStates = 64;
/** A function that makes a handshake stores at least so many different states. */
const fewestStates = 6;
const randomSize = 32;
const tls12 = 0x303;
/** TLS 1.2 and 1.3, DTLS 1.0, 1.2 and 1.3 of ssl.h. */
const versionNumbers: ReadonlySet<number> = new Set([tls12, 0x304, 0xfeff, 0xfefd, 0xfefc, 0xfefb]);
/** SSL_R_BIO_NOT_SET of ssl.h. */
const bioNotSet = 119;
/** evp_aead_open and evp_aead_seal of ssl/internal.h. */
const directions = { read: 0, write: 1 } as const;

/** By direction, and by eCapture's names: those of a server, which writes with its own and reads with the client's. */
const readSecrets = [
  "BSSL__SSL3_STATE_READ_TRAFFIC_SECRET",
  "BSSL__SSL3_STATE_CLIENT_TRAFFIC_SECRET_0",
] as const;
const writeSecrets = [
  "BSSL__SSL3_STATE_WRITE_TRAFFIC_SECRET",
  "BSSL__SSL3_STATE_SERVER_TRAFFIC_SECRET_0",
] as const;

/**
 * What the code of BoringSSL reveals of its layout, by strings alone. A handshake (bssl::SSL_HANDSHAKE) is the first argument of the
 * functions that make it, and its first member is the connection. Sources: ssl/*.cc and crypto/bio of BoringSSL, 2019 to 2026.
 */
export function readBoringssl(subject: Subject, found: Witnesses): void {
  cipherTable(subject, found, { name: 0, id: "SSL_CIPHER_ST_ID", protocolId: "SSL_CIPHER_ST_PROTOCOL_ID" });
  const log = keyLog(subject);
  if (log !== null) {
    loggedSecrets(subject, found, log);
    keyLogFunction(subject, found, log.entry);
  }
  states(subject, found);
  versions(subject, found);
  randoms(subject, found);
  sessions(subject, found);
  sessionParser(subject, found);
  sessionUsers(subject, found);
  sessionCipher(subject, found);
  trafficSecrets(subject, found);
  buffers(subject, found);
}

/** The function that writes the key log, and how it is called. */
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
function loggedSecrets(subject: Subject, found: Witnesses, { calls }: KeyLogFunction): void {
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
function keyLogFunction(subject: Subject, found: Witnesses, log: number): void {
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
function randoms(subject: Subject, found: Witnesses): void {
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

/** A handshake's state is what its function jumps by, and what it stores many small numbers in. Client and server agree. */
function states(subject: Subject, found: Witnesses): void {
  for (const [file, constant] of [
    ["handshake_client.cc", "BSSL__SSL_HANDSHAKE_STATE"],
    ["handshake_server.cc", "BSSL__SSL_HANDSHAKE_STATE"],
    ["tls13_client.cc", "BSSL__SSL_HANDSHAKE_TLS13_STATE"],
    ["tls13_server.cc", "BSSL__SSL_HANDSHAKE_TLS13_STATE"],
  ] as const) {
    const stored = new Map<number, Set<bigint>>();
    const jumped = new Set<number>();
    for (const entry of subject.naming(file)) {
      for (const event of subject.events(entry)) {
        if (
          event.kind === "store" &&
          event.width === 4 &&
          isReached(event.to) &&
          event.value.kind === "number"
        ) {
          if (event.value.number >= mostStates) continue;
          const numbers = stored.get(event.to.add) ?? new Set<bigint>();
          stored.set(event.to.add, numbers.add(event.value.number));
        } else if (event.kind === "switch") {
          const member = memberOf(event.on);
          if (member?.width === 4 && isReached(member.from)) jumped.add(member.from.add);
        }
      }
    }
    const [most, second] = [...stored].sort(([, a], [, b]) => b.size - a.size);
    if (most !== undefined && most[1].size >= fewestStates && most[1].size >= 2 * (second?.[1].size ?? 0))
      found.say(constant, most[0], `${most[1].size} states of ${file}`);
    // What it waits for is jumped by as well (hs->wait), and seldom set.
    const [state, ...others] = [...jumped].filter((one) => (stored.get(one)?.size ?? 0) >= fewestStates);
    if (state !== undefined && others.length === 0) found.say(constant, state, `the jump by it in ${file}`);
  }
}

/**
 * ssl_get_version_range(hs, &hs->min_version, &hs->max_version), which lie side by side. The client's own version follows from the
 * latter, TLS 1.2 at most, and is sent.
 */
function versions(subject: Subject, found: Witnesses): void {
  for (const file of ["handshake_client.cc", "handshake_server.cc"]) {
    for (const entry of subject.naming(file)) {
      const events = subject.events(entry);
      for (const { arguments: passed } of callsIn(events)) {
        const max = rangeIn(passed);
        if (max === null) continue;
        found.say("BSSL__SSL_HANDSHAKE_MAX_VERSION", max, `the range of versions in ${file} ${hex(entry)}`);
        if (file === "handshake_client.cc") clientVersion(events, found, max, hex(entry));
      }
    }
  }
  for (const file of [
    "handshake_client.cc",
    "handshake_server.cc",
    "handshake.cc",
    "tls13_client.cc",
    "tls13_server.cc",
  ])
    for (const entry of subject.naming(file)) comparedVersions(subject, found, entry, file);
}

/**
 * What is compared with the number of a version is one. Of the handshake the highest one and the client's are known by name; those of
 * session and connection are told by what holds them.
 */
function comparedVersions(subject: Subject, found: Witnesses, entry: number, file: string): void {
  const [version, max, s3, session] = [
    "BSSL__SSL_HANDSHAKE_CLIENT_VERSION",
    "BSSL__SSL_HANDSHAKE_MAX_VERSION",
    "SSL_ST_S3",
    "SSL_ST_SESSION",
  ].map((one) => found.seen(one));
  const where = `in ${file} ${hex(entry)}`;
  for (const event of subject.events(entry)) {
    if (event.kind === "call") {
      for (const one of event.arguments) {
        const member = memberOf(one);
        if (member?.width === 2 && isReached(member.from) && member.from.add === version)
          found.say("BSSL__SSL_HANDSHAKE_CLIENT_VERSION", version, `handed on ${where}`);
      }
    }
    if (
      event.kind === "load" &&
      file === "handshake_server.cc" &&
      event.width <= 2 &&
      isReached(event.from)
    ) {
      if (event.from.add === version)
        found.say("BSSL__SSL_HANDSHAKE_CLIENT_VERSION", version, `read ${where}`);
    }
    if (event.kind !== "compare") continue;
    for (const [one, other] of [
      [event.left, event.right],
      [event.right, event.left],
    ]) {
      const member = memberOf(one);
      if (member?.width !== 2 || !versionNumbers.has(numberOf(other) ?? -1)) continue;
      const { add, loads, root } = member.from;
      const last = loads.at(-1);
      if (root !== 0 || last?.width === 2) continue;
      if (loads.length === 0 && add === max)
        found.say("BSSL__SSL_HANDSHAKE_MAX_VERSION", add, `compared ${where}`);
      if (loads.length === 0 && add === version)
        found.say("BSSL__SSL_HANDSHAKE_CLIENT_VERSION", add, `compared ${where}`);
      if (isReached(member.from, 0, s3 ?? -1))
        found.say("BSSL__SSL3_STATE_VERSION", add, `compared ${where}`);
      if (isReached(member.from, 0)) found.say("SSL_ST_VERSION", add, `compared ${where}`);
      if (isReached(member.from, 0, session ?? -1))
        found.say("SSL_SESSION_ST_SSL_VERSION", add, `compared ${where}`);
    }
  }
}

/** The second of two arguments that point to 16-bit members side by side, of a call about a handshake. */
function rangeIn(passed: readonly Value[]): number | null {
  if (!(isReached(passed[0]) || isReached(passed[0], 0)) || passed[0].add !== 0) return null;
  const [max] = passed.flatMap((one, index) => {
    const [min, next] = [insideOf(one), insideOf(passed[index + 1])];
    return min !== null && min > 0 && next === min + 2 ? next : [];
  });
  return max ?? null;
}

function clientVersion(events: readonly Event[], found: Witnesses, max: number, where: string): void {
  const offsets = new Set(
    storesIn(events).flatMap(({ to, width, value }) => {
      if (width !== 2 || !isReached(to) || to.add <= max) return [];
      const member = memberOf(value);
      const isMax =
        member !== null && member.width === 2 && isReached(member.from) && member.from.add === max;
      return isMax || numberOf(value) === tls12 ? to.add : [];
    }),
  );
  const [offset, ...others] = offsets;
  if (offset !== undefined && others.length === 0)
    found.say("BSSL__SSL_HANDSHAKE_CLIENT_VERSION", offset, `set to the highest version in ${where}`);
}

/**
 * SSL_get_session, and where it is inlined: the established session, or of the handshake the early or the new one, or the one offered;
 * the last two may be another function's, ssl_handshake_session. Found by the new session's offset, which few instructions have.
 */
function sessions(subject: Subject, found: Witnesses): void {
  const [fresh, s3, session] = ["BSSL__SSL_HANDSHAKE_NEW_SESSION", "SSL_ST_S3", "SSL_ST_SESSION"].map((one) =>
    found.seen(one),
  );
  if (fresh == null || s3 == null || session == null) return;
  const offsets: SessionOffsets = { fresh, s3, session };
  const entries = functionsWith(subject, fresh);
  const helpers = entries.filter((entry) => isHandshakeSession(subject.events(entry, shortly), offsets));
  for (const entry of helpers) {
    found.say("BSSL__SSL_HANDSHAKE_NEW_SESSION", fresh, `told by ${hex(entry)}`);
    found.say("SSL_ST_SESSION", session, `told by ${hex(entry)}`);
  }
  const id = found.seen("SSL_CIPHER_ST_ID") ?? found.seen("SSL_CIPHER_ST_PROTOCOL_ID");
  for (const entry of new Set([...entries, ...functionsCalling(subject, helpers)])) {
    const events = subject.events(entry, shortly);
    const where = hex(entry);
    const meetings = Map.groupBy(meetingsOf(events, new Set(helpers), offsets), ({ key }) => key);
    for (const met of meetings.values()) {
      sessionChoice(
        met.map(({ place }) => place),
        found,
        offsets,
        where,
      );
    }
    for (const { from, width } of expandedLoads(events, new Set(helpers), offsets)) {
      const way = pointersTo(from);
      const cipher = way?.at(-1);
      if (cipher !== undefined && way?.at(-2) === fresh && from.add === id && width <= 4)
        found.say("SSL_SESSION_ST_CIPHER", cipher, `its cipher's number in ${where}`);
    }
  }
}

/** Enough for a function that does nothing but choose. */
const shortly = { steps: 4000 };

/** ssl_handshake_session(hs): the new session, or the one offered. */
function isHandshakeSession(events: readonly Event[], { fresh, session }: SessionOffsets): boolean {
  const returned = events.flatMap((event) => (event.kind === "return" ? [event.value] : []));
  return (
    returned.length === 2 &&
    returned.some((one) => isReached(one, fresh) && one.add === 0) &&
    returned.some((one) => isReached(one, 0, session) && one.add === 0)
  );
}

/** A place behind what such a function gave back is in either session; any other is where it is. */
function expanded(
  place: ValuePlace,
  calls: ReadonlyMap<string, ValuePlace>,
  { fresh, session }: SessionOffsets,
): readonly ValuePlace[] {
  const handshake = typeof place.root === "string" ? calls.get(place.root) : undefined;
  if (handshake === undefined) return [place];
  return [[fresh], [0, session]].map((offsets) => ({
    ...handshake,
    loads: [...handshake.loads, ...offsets.map((offset) => ({ offset, width: 8 })), ...place.loads],
    add: place.add,
  }));
}

/** The handshakes that one of these functions is asked of, by what its answer is the root of. */
function askedOf(events: readonly Event[], helpers: ReadonlySet<number>): ReadonlyMap<string, ValuePlace> {
  return new Map(
    callsIn(events).flatMap(({ at, target, arguments: [handshake] }) =>
      helpers.has(numberOf(target) ?? -1) && handshake?.kind === "place" && handshake.add === 0
        ? [[`result ${at}`, handshake] as const]
        : [],
    ),
  );
}

function expandedLoads(events: readonly Event[], helpers: ReadonlySet<number>, offsets: SessionOffsets) {
  const calls = askedOf(events, helpers);
  return events.flatMap((event) =>
    event.kind === "load"
      ? expanded(event.from, calls, offsets).map((from) => ({ at: event.at, from, width: event.width }))
      : [],
  );
}

/** Places that one instruction reads from, or that one function returns. */
function meetingsOf(
  events: readonly Event[],
  helpers: ReadonlySet<number>,
  offsets: SessionOffsets,
): readonly { readonly key: string; readonly place: ValuePlace }[] {
  const calls = askedOf(events, helpers);
  const read = expandedLoads(events, helpers, offsets).map(({ at, from }) => ({
    key: `${at} ${from.root} ${from.add}`,
    place: { ...from, add: 0 },
  }));
  const returned = events.flatMap((event) => {
    if (event.kind === "return" && event.value.kind === "place") return expanded(event.value, calls, offsets);
    // The last call may be a jump, whose answer is the function's.
    const answer = event.kind === "call" ? calls.get(`result ${event.at}`) : undefined;
    return answer === undefined
      ? []
      : expanded({ kind: "place", root: `result ${event.at}`, loads: [], add: 0 }, calls, offsets);
  });
  return [...read, ...returned.map((place) => ({ key: `return ${place.root}`, place }))];
}

interface SessionOffsets {
  readonly fresh: number;
  readonly s3: number;
  readonly session: number;
}

function sessionChoice(
  places: readonly ValuePlace[],
  found: Witnesses,
  { fresh, s3, session }: SessionOffsets,
  where: string,
): void {
  const ways = places.flatMap((place) => {
    const way = place.add === 0 ? pointersTo(place) : null;
    return way === null ? [] : [way];
  });
  for (const way of ways) {
    const [last, hs, before] = [way.at(-1), way.at(-2), way.at(-3)];
    if (last !== fresh || before !== s3 || hs === undefined) continue;
    found.say("BSSL__SSL3_STATE_HS", hs, `the way to a new session in ${where}`);
    found.say("SSL_ST_S3", s3, `the way to a new session in ${where}`);
    const to = way.slice(0, -3);
    const begins = (one: readonly number[], ...rest: readonly number[]): boolean =>
      [...to, ...rest].every((offset, index) => one[index] === offset);
    const established = new Set(
      ways.filter((one) => one.length === to.length + 2 && begins(one, s3)).map((one) => one.at(-1)),
    );
    const early = new Set(
      ways
        .filter((one) => one.length === to.length + 3 && begins(one, s3, hs) && one.at(-1) !== fresh)
        .map((one) => one.at(-1)),
    );
    // The connection itself, or by way of the handshake's first member.
    const isOffered = ways.some(
      (one) =>
        (one.length === to.length + 1 && begins(one, session)) ||
        (one.length === to.length + 4 && begins(one, s3, hs, 0, session)),
    );
    const [[one, ...ones], [other, ...others]] = [[...established], [...early]];
    if (!isOffered || one === undefined || ones.length > 0 || other === undefined || others.length > 0)
      continue;
    found.say("BSSL__SSL3_STATE_ESTABLISHED_SESSION", one, `the choice of sessions in ${where}`);
    found.say("BSSL__SSL_HANDSHAKE_EARLY_SESSION", other, `the choice of sessions in ${where}`);
    found.say("BSSL__SSL_HANDSHAKE_NEW_SESSION", fresh, `the choice of sessions in ${where}`);
    found.say("SSL_ST_SESSION", session, `the choice of sessions in ${where}`);
  }
}

/** Versions: the session's is set from the connection's, and SSL_version tells the early session's instead of it. */
function sessionParser(subject: Subject, found: Witnesses): void {
  const s3 = found.seen("SSL_ST_S3");
  const [early, hs] = ["BSSL__SSL_HANDSHAKE_EARLY_SESSION", "BSSL__SSL3_STATE_HS"].map((one) =>
    found.seen(one),
  );
  if (s3 == null) return;
  const say = (session: number | null, version: ValuePlace, where: string): void => {
    if (session !== null) found.say("SSL_SESSION_ST_SSL_VERSION", session, where);
    const way = pointersTo(version);
    if (way === null) return;
    if (way.at(-1) === s3) found.say("BSSL__SSL3_STATE_VERSION", version.add, where);
    else found.say("SSL_ST_VERSION", version.add, where);
  };
  for (const entry of subject.naming("ssl_session.cc")) {
    for (const { to, width, value } of storesIn(subject.events(entry))) {
      const member = memberOf(value);
      const isFresh = width === 8 && value.kind === "place" && typeof value.root === "string";
      const fresh = found.seen("BSSL__SSL_HANDSHAKE_NEW_SESSION");
      if (isFresh && isReached(to) && to.add === fresh)
        found.say("BSSL__SSL_HANDSHAKE_NEW_SESSION", fresh, `put there in ${hex(entry)}`);
      if (width !== 2 || member?.width !== 2 || typeof to.root !== "string" || !to.root.startsWith("result"))
        continue;
      const way = pointersTo(member.from);
      if (way !== null && way.length <= 2 && way[0] === 0)
        say(to.add, member.from, `a session is made in ${hex(entry)}`);
    }
  }
  if (early == null || hs == null) return;
  for (const entry of functionsWith(subject, early)) {
    const returned = subject.events(entry, { steps: 2000 }).flatMap((event) => {
      const member = event.kind === "return" ? memberOf(event.value) : null;
      return member?.width === 2 ? [member.from] : [];
    });
    const ofSession = returned.filter((one) => isReached(one, s3, hs, early));
    const others = returned.filter((one) => !isReached(one, s3, hs, early));
    const [session, other] = [ofSession[0], others[0]];
    if (session === undefined || other === undefined || returned.length !== 2) continue;
    say(session.add, other, `the version told by ${hex(entry)}`);
  }
}

const handshakeFiles = [
  "handshake.cc",
  "handshake_client.cc",
  "handshake_server.cc",
  "tls13_client.cc",
  "tls13_server.cc",
] as const;

/**
 * Handshakes and sessions elsewhere: a connection's handshake is handed to functions that make it, sessions are put into each other's
 * place, and what one has is compared with or copied from the same member of another.
 */
function sessionUsers(subject: Subject, found: Witnesses): void {
  const [fresh, s3, session] = ["BSSL__SSL_HANDSHAKE_NEW_SESSION", "SSL_ST_S3", "SSL_ST_SESSION"].map((one) =>
    found.seen(one),
  );
  if (fresh == null || s3 == null || session == null) return;
  const makers = new Set(subject.naming(...handshakeFiles));
  for (const entry of subject.naming(...handshakeFiles, "ssl_lib.cc")) {
    const where = hex(entry);
    /** Which constant's session it is that one of these loads leads to, where another is known to be a session. */
    const say = (loads: readonly number[] | null, how: string): void => {
      if (loads === null) return;
      const [first, second, third] = loads;
      if (loads.length === 3 && first === 0 && second === s3 && third !== undefined)
        found.say("BSSL__SSL3_STATE_ESTABLISHED_SESSION", third, `${how} in ${where}`);
      if (loads.length === 1 && first !== undefined && first !== fresh)
        found.say("BSSL__SSL_HANDSHAKE_EARLY_SESSION", first, `${how} in ${where}`);
    };
    const isSession = (loads: readonly number[]): boolean =>
      [String(fresh), `0,${session}`].includes(loads.join());
    for (const event of subject.events(entry)) {
      if (event.kind === "call" && makers.has(numberOf(event.target) ?? -1)) {
        const handshake = memberOf(event.arguments[0]);
        const way = handshake === null ? null : pointersTo(handshake.from);
        if (handshake?.width === 8 && way?.length === 1 && way[0] === s3)
          found.say(
            "BSSL__SSL3_STATE_HS",
            handshake.from.add,
            `handed to ${hex(numberOf(event.target) ?? 0)} in ${where}`,
          );
      }
      if (event.kind !== "store" || event.width !== 8 || event.to.root !== 0) continue;
      const value = memberOf(event.value);
      if (value?.width !== 8 || value.from.root !== 0) continue;
      const [to, from] = [pointersTo(event.to), pointersTo(value.from)];
      if (to === null || from === null) continue;
      // A session's own pointer, put where another session's is.
      if (isSession([...from, value.from.add]) && to.length === 2)
        say([...to, event.to.add], "a session put there");
      // The same member of two sessions.
      if (event.to.add === value.from.add && isSession(to)) say(from, "a member of it copied");
    }
  }
}

/**
 * A session's cipher is the handshake's, which it gets and is compared with; those of two sessions are compared; and it is asked for its
 * number.
 */
function sessionCipher(subject: Subject, found: Witnesses): void {
  const id = found.seen("SSL_CIPHER_ST_ID") ?? found.seen("SSL_CIPHER_ST_PROTOCOL_ID");
  const [fresh, early, s3, session, established] = [
    "BSSL__SSL_HANDSHAKE_NEW_SESSION",
    "BSSL__SSL_HANDSHAKE_EARLY_SESSION",
    "SSL_ST_S3",
    "SSL_ST_SESSION",
    "BSSL__SSL3_STATE_ESTABLISHED_SESSION",
  ].map((one) => found.seen(one));
  const sessions = new Set([`${fresh}`, `${early}`, `0,${session}`, `0,${s3},${established}`]);
  const offsetIn = (member: ReturnType<typeof memberOf>): number | null =>
    member?.width === 8 && member.from.root === 0 && sessions.has(pointersTo(member.from)?.join() ?? "")
      ? member.from.add
      : null;
  const ofHandshake = (member: ReturnType<typeof memberOf>): number | null =>
    member?.width === 8 && isReached(member.from) ? member.from.add : null;
  const given = new Set<string>();
  const compared = new Map<string, number>();
  for (const entry of subject.naming(...handshakeFiles, "ssl_lib.cc", "ssl_session.cc")) {
    const where = hex(entry);
    for (const event of subject.events(entry)) {
      if (event.kind === "load" && event.width <= 4 && event.from.add === id) {
        const offset = offsetIn(memberOf({ ...event.from, add: 0 }));
        if (offset !== null) found.say("SSL_SESSION_ST_CIPHER", offset, `its cipher's number in ${where}`);
      } else if (event.kind === "store" && event.width === 8) {
        const to = offsetIn({ from: event.to, width: 8 });
        const cipher = ofHandshake(memberOf(event.value));
        if (to !== null && cipher !== null) given.add(`${to} ${cipher}`);
      } else if (event.kind === "compare") {
        const [left, right] = [memberOf(event.left), memberOf(event.right)];
        const [one, other] = [offsetIn(left), offsetIn(right)];
        const isTwo =
          left?.from.loads.length !== right?.from.loads.length ||
          left?.from.loads[0]?.offset !== right?.from.loads[0]?.offset;
        if (one !== null && one === other && isTwo)
          found.say("SSL_SESSION_ST_CIPHER", one, `two sessions' compared in ${where}`);
        const [offset, cipher] = [one ?? other, ofHandshake(one === null ? left : right)];
        if (offset !== null && cipher !== null) compared.set(`${offset} ${cipher}`, offset);
      }
    }
  }
  for (const [pair, offset] of compared) {
    if (!given.has(pair)) continue;
    found.say("SSL_SESSION_ST_CIPHER", offset, "set to the handshake's");
    found.say("SSL_SESSION_ST_CIPHER", offset, "compared with the handshake's");
  }
  const seen = found.seen("SSL_SESSION_ST_CIPHER");
  const isGiven = [...given].some((pair) => pair.startsWith(`${seen} `));
  if (seen !== null && isGiven) found.say("SSL_SESSION_ST_CIPHER", seen, "set to the handshake's");
}

/** tls13_rotate_traffic_key(ssl, direction) names "traffic upd": each way it works on one of two secrets. */
function trafficSecrets(subject: Subject, found: Witnesses): void {
  const s3 = found.seen("SSL_ST_S3");
  if (s3 === null) return;
  for (const entry of subject.naming("traffic upd")) {
    const [read, write] = [directions.read, directions.write].map((direction) => {
      const events = subject.events(entry, { given: new Map([[1, direction]]) });
      return new Set(
        callsIn(events).flatMap(({ arguments: passed }) => passed.flatMap((one) => insideOf(one, s3) ?? [])),
      );
    });
    if (read === undefined || write === undefined) continue;
    const [onlyRead, onlyWrite] = [
      [...read].filter((one) => !write.has(one)),
      [...write].filter((one) => !read.has(one)),
    ];
    if (onlyRead.length !== 1 || onlyWrite.length !== 1) continue;
    const [reading = -1, writing = -1] = [onlyRead[0], onlyWrite[0]];
    const exporter = found.known("BSSL__SSL3_STATE_EXPORTER_SECRET");
    const where = [`the keys renewed in ${hex(entry)}`];
    // The three secrets of one kind lie one behind the other.
    if (exporter !== null && exporter - reading === reading - writing)
      where.push("the exporter's secret as far behind");
    for (const one of where) {
      for (const constant of readSecrets) found.say(constant, reading, one);
      for (const constant of writeSecrets) found.say(constant, writing, one);
    }
  }
}

/** ssl_buffer.cc refuses to work without a BIO, and hands it to BIO_read or BIO_write, which call its method. */
function buffers(subject: Subject, found: Witnesses): void {
  const methods = bioMethods(subject, found);
  for (const entry of subject.naming("ssl_buffer.cc")) {
    const events = subject.events(entry);
    const tested = new Set(
      events.flatMap((event) => {
        if (event.kind !== "compare") return [];
        const member = memberOf(event.left);
        return member?.width === 8 &&
          isReached(member.from) &&
          (numberOf(event.right) === 0 || event.right.kind === "place")
          ? member.from.add
          : [];
      }),
    );
    const refuses = callsIn(events).some(({ arguments: passed }) =>
      passed.some((one) => numberOf(one) === bioNotSet),
    );
    for (const { arguments: passed, target } of callsIn(events)) {
      const bio = memberOf(passed[0]);
      if (bio?.width !== 8 || !isReached(bio.from)) continue;
      const callee = numberOf(target);
      const use = callee === null ? methods.inlined(target, bio.from.add) : methods.use(callee);
      if (use === null) continue;
      const constant = use.slot === "read" ? "SSL_ST_RBIO" : "SSL_ST_WBIO";
      found.say("BIO_ST_METHOD", use.method, `BIO_${use.slot} ${hex(callee ?? entry)}`);
      found.say(constant, bio.from.add, `BIO_${use.slot} in ${hex(entry)}`);
      if (refuses && tested.has(bio.from.add)) found.say(constant, bio.from.add, `tested in ${hex(entry)}`);
    }
  }
}
