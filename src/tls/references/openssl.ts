import type { Value } from "../machine/value.ts";
import { bioMethods } from "./bio.ts";
import { cipherTable } from "./ciphers.ts";
import { keyLogLabels } from "./labels.ts";
import { type Call, callsIn, hex, insideOf, isReached, memberOf, numberOf, placesOf } from "./places.ts";
import type { Names, Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import type { Witnesses } from "./witnesses.ts";

/** Labels that TLS 1.3 derives secrets by (RFC 8446, 7.1). */
const secretLabels = ["c e traffic", "c hs traffic", "s hs traffic", "e exp master"] as const;

const isSecretLabel: ReadonlySet<string> = new Set(secretLabels);

export const opensslNames: Names = {
  texts: [...keyLogLabels, ...secretLabels, "exporter"],
  files: [],
  needles: ["CLIENT_RANDOM", "TRAFFIC_SECRET", "EXPORTER_SECRET", " traffic", "exp master", "exporter\0"],
};

/** EVP_MAX_MD_SIZE: each secret of the connection has as many bytes, and the next follows. */
const secretSize = 64;
/**
 * `which` of tls13_change_cipher_state: SSL3_CC_READ 1, WRITE 2, CLIENT 0x10, SERVER 0x20, EARLY 0x40, HANDSHAKE 0x80,
 * APPLICATION 0x100 of ssl/ssl_local.h.
 */
const earlyChanges = 0x52;
const changes = [earlyChanges, 0x92, 0x91, 0xa2, 0x112, 0x122] as const;
const earlyChange = 0x40;
const handshakeChange = 0x80;
/** Arguments in registers; labels of the function that derives keys come behind them. */
const inRegisters = 6;

/** In SSL_CONNECTION the SSL is embedded, whose context is its second member (ssl/ssl_local.h since 3.2). */
const embeddedContext = 8;

/**
 * What the code of OpenSSL 1.1.1 and later reveals of its layout, by strings alone. The connection is the first argument of functions
 * of TLS 1.3. Sources: ssl/ssl_lib.c, ssl/tls13_enc.c, ssl/statem/statem_lib.c.
 */
export function readOpenssl(subject: Subject, found: Witnesses): void {
  cipherTable(subject, found, { name: 8, id: "SSL_CIPHER_ST_ID", protocolId: null });
  bioMethods(subject, found, { write: 24, read: 40 });
  const log = logFunction(subject);
  if (log === null) return;
  const prefix = connectionOf(subject, found, log);
  if (prefix === null) return;
  session(subject, found, log, prefix);
  secrets(subject, found, log, prefix);
}

/** ssl_log_secret(connection, label, secret, length): the one function that is called with several labels. */
function logFunction(subject: Subject): number | null {
  const labelled = new Map<number, Set<string>>();
  const changing = subject
    .naming("c hs traffic")
    .flatMap((entry) => changes.map((which) => changed(subject, entry, which)));
  for (const events of [
    ...subject.naming(...keyLogLabels).map((entry) => subject.events(entry)),
    ...changing,
  ]) {
    for (const { target, arguments: passed } of callsIn(events)) {
      const label = subject.names.get(numberOf(passed[1]) ?? -1);
      const callee = numberOf(target);
      if (label === undefined || callee === null || insideOf(passed[0]) !== 0) continue;
      labelled.set(callee, (labelled.get(callee) ?? new Set()).add(label));
    }
  }
  const [only, ...others] = [...labelled].filter(([, some]) => some.size >= 3);
  return only === undefined || others.length > 0 ? null : only[0];
}

/** The functions that change keys. Some compilers reach a label from another, so that only one of them is named. */
const changers = (subject: Subject): readonly number[] =>
  subject.naming(
    "c hs traffic",
    "s hs traffic",
    ...keyLogLabels.filter((label) => label.endsWith("HANDSHAKE_TRAFFIC_SECRET")),
  );

/** What a function does that is given a change of keys as its second argument. */
const changed = (subject: Subject, entry: number, which: number): readonly Event[] =>
  subject.events(entry, { given: new Map([[1, which]]) });

/** It goes on to a function that calls the context's callback with what it wrote; which of the structs has the context, tells which. */
function connectionOf(subject: Subject, found: Witnesses, log: number): string | null {
  const next = callsIn(subject.events(log)).flatMap(({ target }) => numberOf(target) ?? []);
  for (const entry of [log, ...next]) {
    if (!subject.image.isCode(entry)) continue;
    const events = subject.events(entry);
    const tested = events.flatMap((event) => (event.kind === "compare" ? placesOf(event).map(memberOf) : []));
    for (const { target } of callsIn(events)) {
      const callback = memberOf(target);
      const [context, ...more] = callback?.from.loads ?? [];
      if (callback?.width !== 8 || context === undefined || more.length > 0) continue;
      if (typeof callback.from.root !== "number") continue;
      const { add } = callback.from;
      found.say("SSL_CTX_ST_KEYLOG_CALLBACK", add, `called in ${hex(entry)}`);
      if (tested.some((one) => one?.from.add === add && one.from.loads[0]?.offset === context.offset))
        found.say("SSL_CTX_ST_KEYLOG_CALLBACK", add, `tested in ${hex(entry)}`);
      return context.offset === embeddedContext ? "SSL_CONNECTION_ST" : "SSL_ST";
    }
  }
  return null;
}

/** ssl_log_secret(s, "CLIENT_RANDOM", s->session->master_key, s->session->master_key_length). */
function session(subject: Subject, found: Witnesses, log: number, prefix: string): void {
  for (const entry of subject.naming("CLIENT_RANDOM")) {
    for (const { target, arguments: passed } of callsIn(subject.events(entry))) {
      const [, label, key, length] = passed;
      if (numberOf(target) !== log || subject.names.get(numberOf(label) ?? -1) !== "CLIENT_RANDOM") continue;
      const size = memberOf(length);
      const [at] = key?.kind === "place" ? key.loads : [];
      if (at === undefined || !isReached(key, at.offset)) continue;
      const where = `CLIENT_RANDOM in ${hex(entry)}`;
      found.say(`${prefix}_SESSION`, at.offset, where);
      found.say("SSL_SESSION_ST_MASTER_KEY", key.add, where);
      if (size === null || !isReached(size.from, at.offset)) continue;
      found.say("SSL_SESSION_ST_MASTER_KEY_LENGTH", size.from.add, where);
    }
  }
}

/**
 * tls13_change_cipher_state(s, which) names "c hs traffic": it derives keys from a secret, a hash of the handshake and a label, and keeps
 * the secrets that it makes.
 */
function secrets(subject: Subject, found: Witnesses, log: number, prefix: string): void {
  const hash = `${prefix}_HANDSHAKE_TRAFFIC_HASH`;
  for (const entry of changers(subject)) {
    const where = hex(entry);
    const kept = new Set<number>();
    for (const which of changes) {
      for (const call of callsIn(changed(subject, entry, which))) {
        derived(subject, found, call, which, prefix, where);
        logged(subject, found, call, log, prefix, where);
        const [to, from] = call.arguments;
        const offset = insideOf(to);
        if (offset !== null && offset > 0 && isLocal(from)) kept.add(offset);
      }
    }
    const session = found.seen(`${prefix}_SESSION`);
    // The early keys' cipher is the session's.
    for (const { arguments: passed } of callsIn(changed(subject, entry, earlyChanges)))
      if (session !== null && isReached(passed[0], session) && passed[0].add === 0)
        found.say(`${prefix}_SESSION`, session, `asked for its cipher in ${where}`);
    const first = found.seen(hash);
    if (first === null) continue;
    if (kept.has(first)) found.say(hash, first, `kept in ${where}`);
    if (kept.has(first + secretSize) && kept.has(first + 2 * secretSize))
      found.say(hash, first, `before the secrets kept in ${where}`);
    for (const [constant, offset] of [
      [`${prefix}_CLIENT_APP_TRAFFIC_SECRET`, first + secretSize],
      [`${prefix}_SERVER_APP_TRAFFIC_SECRET`, first + 2 * secretSize],
    ] as const) {
      if (!kept.has(offset)) continue;
      found.say(constant, offset, `kept in ${where}`);
      found.say(constant, offset, "one secret behind the other");
    }
  }
  const exporter = `${prefix}_EXPORTER_MASTER_SECRET`;
  const offset = found.seen(exporter);
  for (const entry of offset === null ? [] : subject.naming("exporter")) {
    for (const { arguments: passed } of callsIn(subject.events(entry)))
      if (offset !== null && passed.some((one) => insideOf(one) === offset))
        found.say(exporter, offset, `"exporter" in ${hex(entry)}`);
  }
}

/** Whether a value is a place in the function's own stack. */
const isLocal = (value: Value | undefined): boolean => value?.kind === "place" && value.root === "stack";

/** What comes before the label: of the function that derives keys secret and hash, of the one that expands a secret, the secret. */
function derived(
  subject: Subject,
  found: Witnesses,
  call: Call,
  which: number,
  prefix: string,
  where: string,
): void {
  const labels = call.arguments.map((one) => subject.names.get(numberOf(one) ?? -1));
  const at = labels.findIndex((one) => isSecretLabel.has(one ?? ""));
  const label = labels[at];
  if (label === undefined) return;
  // Ways that meet may carry another change's label along.
  const isHandshake = label.includes("hs");
  if ((which & (isHandshake ? handshakeChange : earlyChange)) === 0) return;
  const isKeys = at >= inRegisters;
  const secret = insideOf(call.arguments[isKeys ? at - 2 : at - 1]);
  const constant = isHandshake ? `${prefix}_HANDSHAKE_SECRET` : `${prefix}_EARLY_SECRET`;
  if (secret !== null && secret > 0) found.say(constant, secret, `"${label}" in ${where}`);
  const digest = insideOf(call.arguments[at - 1]);
  if (isKeys && label === "c hs traffic" && digest !== null)
    found.say(`${prefix}_HANDSHAKE_TRAFFIC_HASH`, digest, `"${label}" in ${where}`);
}

/** Secrets of the connection that are logged. */
function logged(
  subject: Subject,
  found: Witnesses,
  call: Call,
  log: number,
  prefix: string,
  where: string,
): void {
  if (numberOf(call.target) !== log) return;
  const label = subject.names.get(numberOf(call.arguments[1]) ?? -1);
  const offset = insideOf(call.arguments[2]);
  if (label === "EXPORTER_SECRET" && offset !== null)
    found.say(`${prefix}_EXPORTER_MASTER_SECRET`, offset, `${label} in ${where}`);
}
