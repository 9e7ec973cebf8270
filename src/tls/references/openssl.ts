import type { Value, ValuePlace } from "../machine/value.ts";
import { bioMethods } from "./bio.ts";
import { cipherTable } from "./ciphers.ts";
import { hasLoad } from "./displacement.ts";
import { keyLogLabels, randomSize } from "./labels.ts";
import type { SoughtNames, Subject } from "./subject.ts";
import { type Event, isSame } from "./trace.ts";
import {
  type CallEvent,
  callsIn,
  hex,
  insideOf,
  isLocal,
  isReached,
  memberOf,
  numberOf,
  placesToldBy,
  storesIn,
} from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** Labels that TLS 1.3 derives secrets by (RFC 8446, 7.1). */
const secretLabels = ["c e traffic", "c hs traffic", "s hs traffic", "e exp master"] as const;

const isSecretLabel: ReadonlySet<string> = new Set(secretLabels);

/** What SSL_SESSION_print of ssl/ssl_txt.c writes before what it knows. */
const printed = { id: "    Session-ID: ", cipher: "    Cipher    : %s\n" } as const;

export const opensslNames: SoughtNames = {
  texts: [
    ...keyLogLabels,
    ...secretLabels,
    "exp master",
    "exporter",
    "key expansion",
    ...Object.values(printed),
  ],
  files: ["tls13_enc.c", "statem_clnt.c", "ssl_asn1.c", "ssl_lib.c", "quic_impl.c"],
  // Each error of a client's state machine names it.
  many: ["statem_clnt.c"],
  needles: [
    "CLIENT_RANDOM",
    "TRAFFIC_SECRET",
    "EXPORTER_SECRET",
    " traffic",
    "exp master",
    "exporter\0",
    "key expansion",
    "    Session-ID: ",
    "    Cipher    : %s",
    "tls13_enc.c",
    "statem_clnt.c",
    "ssl_asn1.c",
    "ssl_lib.c",
    "quic_impl.c",
  ],
};

/** EVP_MAX_MD_SIZE: each secret of the connection has as many bytes, and the next follows. */
const secretSize = 64;
/**
 * `which` of tls13_change_cipher_state: SSL3_CC_READ 1, WRITE 2, CLIENT 0x10, SERVER 0x20, EARLY 0x40, HANDSHAKE 0x80,
 * APPLICATION 0x100 of ssl/ssl_local.h.
 */
const earlyChanges = 0x52;
const clientChange = 0x112;
const serverChange = 0x122;
const changes = [earlyChanges, 0x92, 0x91, 0xa2, clientChange, serverChange] as const;
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
  const log = logFunction(subject)?.entry ?? null;
  if (log === null) return;
  const prefix = connectionOf(subject, found, log);
  if (prefix === null) return;
  session(subject, found, log, prefix);
  keyExpansion(subject, found, log, prefix);
  sessionPrinted(subject, found);
  sessionCipher(subject, found, prefix);
  secrets(subject, found, log, prefix);
  if (prefix === "SSL_CONNECTION_ST") quicConnection(subject, found);
}

/** The methods of crypto/bio: BIO_METHOD of internal/bio.h since 1.1.1. */
export function opensslMethods(subject: Subject, found: Witnesses): void {
  bioMethods(subject, found, { write: 24, read: 40 });
}

/** ssl_log_secret(connection, label, secret, length): the one function that is called with several labels. */
export function logFunction(
  subject: Subject,
): { readonly entry: number; readonly labels: ReadonlySet<string> } | null {
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
  return only === undefined || others.length > 0 ? null : { entry: only[0], labels: only[1] };
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

/**
 * Which struct holds the connection, as ssl_log_secret tells: it leads to a function that calls the context's callback, and the context is
 * a member of that struct. @returns the prefix of its constants; null where that is not told
 */
function connectionOf(subject: Subject, found: Witnesses, log: number): string | null {
  const next = callsIn(subject.events(log)).flatMap(({ target }) => numberOf(target) ?? []);
  for (const entry of [log, ...next]) {
    if (!subject.image.isCode(entry)) continue;
    const events = subject.events(entry);
    const tested = events.flatMap((event) =>
      event.kind === "compare" ? placesToldBy(event).map(memberOf) : [],
    );
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

/** Where a value lies in the handshake's state: inside the connection, or up to 1.1.1 behind a pointer of its own. */
function sayRandom(found: Witnesses, value: Value | undefined, prefix: string, where: string): void {
  const inside = insideOf(value);
  if (inside !== null && inside > 0) found.say(`${prefix}_S3_CLIENT_RANDOM`, inside, where);
  const [pointer, ...more] = value?.kind === "place" ? value.loads : [];
  if (pointer === undefined || more.length > 0) return;
  const offset = insideOf(value, pointer.offset);
  if (offset === null) return;
  found.say(`${prefix}_S3`, pointer.offset, where);
  found.say("SSL3_STATE_ST_CLIENT_RANDOM", offset, where);
}

/**
 * tls1_PRF(s, "key expansion", 13, s3.server_random, 32, s3.client_random, 32, ..., session->master_key, session->master_key_length, ...)
 * of ssl/t1_enc.c. The log writes the client's random too.
 */
function keyExpansion(subject: Subject, found: Witnesses, log: number, prefix: string): void {
  const session = found.seen(`${prefix}_SESSION`);
  for (const entry of subject.naming("key expansion")) {
    for (const { arguments: passed } of callsIn(subject.events(entry))) {
      const at = passed.findIndex((one) => subject.names.get(numberOf(one) ?? -1) === "key expansion");
      const [server, size, client, other] = passed.slice(at + 2);
      const where = `"key expansion" in ${hex(entry)}`;
      if (at < 0 || numberOf(size) !== randomSize || numberOf(other) !== randomSize) continue;
      if (server?.kind === "place" && client?.kind === "place") sayRandom(found, client, prefix, where);
      for (const [index, one] of passed.entries()) {
        const key = session === null ? null : insideOf(one, session);
        const length = memberOf(passed[index + 1]);
        if (session === null || key === null || length === null || !isReached(length.from, session)) continue;
        found.say("SSL_SESSION_ST_MASTER_KEY", key, where);
        found.say("SSL_SESSION_ST_MASTER_KEY_LENGTH", length.from.add, where);
        found.say(`${prefix}_SESSION`, session, where);
      }
    }
  }
  const bytes: ValuePlace[] = [];
  const written = `written in ${hex(log)}`;
  for (const event of subject.events(log)) {
    if (event.kind === "indexed" && event.width === 1) sayRandom(found, event.from, prefix, written);
    if (event.kind === "load" && event.width === 1 && event.from.root === 0) bytes.push(event.from);
    if (event.kind !== "call") continue;
    for (const [index, one] of event.arguments.entries())
      if (numberOf(event.arguments[index + 1]) === randomSize) sayRandom(found, one, prefix, written);
  }
  // One byte after the other, from the first on.
  const first = bytes.toSorted((one, other) => one.add - other.add)[0];
  const isRow = first !== undefined && bytes.some((one) => isSame(one, { ...first, add: first.add + 1 }));
  if (isRow) sayRandom(found, first, prefix, written);
}

/** SSL_SESSION_print(bio, session) of ssl/ssl_txt.c writes its cipher's name, or without one its number, and the master key byte by byte. */
function sessionPrinted(subject: Subject, found: Witnesses): void {
  for (const entry of subject.naming(printed.id)) {
    const events = subject.events(entry);
    const where = `printed in ${hex(entry)}`;
    for (const { arguments: passed } of callsIn(events)) {
      const at = passed.findIndex((one) => subject.names.get(numberOf(one) ?? -1) === printed.cipher);
      const name = at < 0 ? null : memberOf(passed[at + 1]);
      const cipher =
        name?.width === 8 && name.from.add === cipherName ? memberOf({ ...name.from, add: 0 }) : null;
      if (cipher !== null && isMemberOfArgument(cipher))
        found.say("SSL_SESSION_ST_CIPHER", cipher.from.add, where);
    }
    const key = found.seen("SSL_SESSION_ST_MASTER_KEY");
    const length = found.seen("SSL_SESSION_ST_MASTER_KEY_LENGTH");
    for (const event of events) {
      if (
        event.kind === "indexed" &&
        event.width === 1 &&
        event.from.loads.length === 0 &&
        event.from.add === key
      )
        found.say("SSL_SESSION_ST_MASTER_KEY", key, where);
      if (event.kind !== "compare") continue;
      for (const one of [memberOf(event.left), memberOf(event.right)])
        if (one !== null && isMemberOfArgument(one) && one.from.add === length)
          found.say("SSL_SESSION_ST_MASTER_KEY_LENGTH", length, where);
    }
  }
}

/** SSL_CIPHER.name, behind the number that says whether it may be used (ssl/ssl_local.h). */
const cipherName = 8;

const isMemberOfArgument = (one: { readonly from: ValuePlace; readonly width: number }): boolean =>
  typeof one.from.root === "number" && one.from.loads.length === 0;

/**
 * A client that goes on with a session of another cipher writes down its number (session->cipher_id = session->cipher->id of
 * ssl/statem/statem_clnt.c). A session that is read from its ASN.1 gets both (ssl/ssl_asn1.c), and one that is printed tells either.
 */
function sessionCipher(subject: Subject, found: Witnesses, prefix: string): void {
  const session = found.seen(`${prefix}_SESSION`);
  const number = found.seen("SSL_CIPHER_ST_ID");
  if (session === null || number === null) return;
  for (const entry of subject.naming("statem_clnt.c")) {
    if (!hasLoad(subject, entry, session)) continue;
    for (const { to, width, value } of storesIn(subject.events(entry))) {
      const id = memberOf(value);
      if (width < 4 || id?.width !== 4 || id.from.add !== number || !isReached(to, session)) continue;
      const cipher = memberOf({ ...id.from, add: 0 });
      if (cipher?.width !== 8 || !isReached(cipher.from, session)) continue;
      found.say("SSL_SESSION_ST_CIPHER", cipher.from.add, `its number written down in ${hex(entry)}`);
      found.say("SSL_SESSION_ST_CIPHER_ID", to.add, `written down in ${hex(entry)}`);
    }
  }
  const [cipher, id] = ["SSL_SESSION_ST_CIPHER", "SSL_SESSION_ST_CIPHER_ID"].map((one) => found.seen(one));
  for (const entry of subject.naming("ssl_asn1.c")) {
    const stores = storesIn(subject.events(entry)).filter(
      ({ to, width }) => width === 8 && to.root !== "stack",
    );
    for (const { to, value } of stores) {
      const isAnswer = value.kind === "place" && typeof value.root === "string" && value.loads.length === 0;
      if (!isAnswer || to.add !== cipher) continue;
      // Both of one session.
      const isBoth = stores.some(
        (other) => other.to.add === id && isSame(other.to, { ...to, add: other.to.add }),
      );
      if (!isBoth) continue;
      found.say("SSL_SESSION_ST_CIPHER", to.add, `read in ${hex(entry)}`);
      if (id != null) found.say("SSL_SESSION_ST_CIPHER_ID", id, `read in ${hex(entry)}`);
    }
  }
  for (const entry of subject.naming(printed.id)) {
    const loads = subject.events(entry).flatMap((event) => (event.kind === "load" ? [event] : []));
    for (const { from, width } of loads)
      if (id != null && from.add === id && width >= 4 && isMemberOfArgument({ from, width }))
        found.say("SSL_SESSION_ST_CIPHER_ID", id, `printed in ${hex(entry)}`);
  }
}

/** SSL_TYPE_QUIC_CONNECTION of ssl/ssl_local.h; SSL_TYPE_SSL_CONNECTION is 0. */
const quicType = 0x80;

/**
 * ossl_quic_obj_get0_handshake_layer(obj) of ssl/quic/quic_impl.c, which functions of ssl_lib.c ask: of a connection of that type it
 * tells the one inside, if that is none of QUIC. A new one gets what was made for it.
 */
function quicConnection(subject: Subject, found: Witnesses): void {
  const asked = new Set(
    subject.naming("ssl_lib.c").flatMap((entry) =>
      callsIn(subject.events(entry, { steps: 1000 })).flatMap(({ target, arguments: passed }) => {
        const callee = numberOf(target);
        return callee !== null && insideOf(passed[0]) === 0 && subject.image.isCode(callee) ? callee : [];
      }),
    ),
  );
  for (const entry of [...asked].slice(0, mostAsked)) {
    const events = subject.events(entry, { steps: 200 });
    const inner = new Set<number>();
    let isQuic = false;
    for (const event of events) {
      if (event.kind !== "compare") continue;
      const type = memberOf(event.left);
      if (type?.width !== 4 || type.from.add !== 0) continue;
      if (isReached(type.from)) isQuic ||= numberOf(event.right) === quicType;
      const tls = memberOf(type.from);
      if (tls?.width === 8 && isReached(tls.from)) inner.add(tls.from.add);
    }
    const told = events.flatMap((event) => (event.kind === "return" ? (memberOf(event.value) ?? []) : []));
    for (const { from } of told) {
      if (!isQuic || !isReached(from) || !inner.has(from.add)) continue;
      found.say("QUIC_CONN_ST_TLS", from.add, `the connection inside, told by ${hex(entry)}`);
      found.say("SSL_ST_TYPE", 0, `asked for by ${hex(entry)}`);
      typeAsked(subject, found, entry);
    }
  }
  const tls = found.seen("QUIC_CONN_ST_TLS");
  for (const entry of tls === null ? [] : subject.naming("quic_impl.c"))
    for (const { to, width, value } of storesIn(subject.events(entry, { steps: 4000 })))
      if (
        tls !== null &&
        width === 8 &&
        to.add === tls &&
        isFresh(to.root) &&
        value.kind === "place" &&
        isFresh(value.root)
      )
        found.say("QUIC_CONN_ST_TLS", tls, `put into a new connection in ${hex(entry)}`);
}

/** Functions that ask for the connection inside a QUIC one test the type before, and go on with a connection that is none of QUIC. */
function typeAsked(subject: Subject, found: Witnesses, helper: number): void {
  for (const entry of subject.naming("ssl_lib.c")) {
    const events = subject.events(entry, { steps: 1000 });
    if (!callsIn(events).some(({ target }) => numberOf(target) === helper)) continue;
    for (const event of events) {
      if (event.kind !== "compare") continue;
      const type = memberOf(event.left);
      const isZero = numberOf(event.right) === 0 || isSame(event.left, event.right);
      if (isZero && type?.width === 4 && isReached(type.from) && type.from.add === 0)
        found.say("SSL_ST_TYPE", 0, `asked for in ${hex(entry)}`);
    }
  }
}

/** Functions that those of ssl_lib.c hand their first argument to. */
const mostAsked = 192;

/** Whether this is what a function that was called gave back. */
const isFresh = (root: ValuePlace["root"]): boolean => typeof root === "string" && root.startsWith("result");

/**
 * tls13_change_cipher_state(s, which) names "c hs traffic": it derives keys from a secret, a hash of the handshake and a label, and keeps
 * the secrets that it makes.
 */
function secrets(subject: Subject, found: Witnesses, log: number, prefix: string): void {
  const hash = `${prefix}_HANDSHAKE_TRAFFIC_HASH`;
  for (const entry of changers(subject)) {
    const where = hex(entry);
    const keptFor = new Map<number, Set<number>>();
    for (const which of changes) {
      const kept = new Set<number>();
      keptFor.set(which, kept);
      for (const call of callsIn(changed(subject, entry, which))) {
        derived(subject, found, call, which, prefix, where);
        logged(subject, found, call, log, prefix, where);
        exported(subject, found, call, prefix, where);
        const [to, from] = call.arguments;
        const offset = insideOf(to);
        if (offset !== null && offset > 0 && isLocal(from)) kept.add(offset);
      }
    }
    const kept = new Set([...keptFor.values()].flatMap((some) => [...some]));
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
    // Whose secret it is, is told by the change of keys for which alone it is kept; its place is told once more by the secret before it.
    for (const [constant, which, behind] of [
      [`${prefix}_CLIENT_APP_TRAFFIC_SECRET`, clientChange, secretSize],
      [`${prefix}_SERVER_APP_TRAFFIC_SECRET`, serverChange, 2 * secretSize],
    ] as const) {
      const others = [...keptFor].flatMap(([other, some]) => (other === which ? [] : [...some]));
      // The hash that a server's last message is made of is kept by the same change, but lies before the secrets.
      const own = [...(keptFor.get(which) ?? [])].filter((one) => one > first && !others.includes(one));
      for (const offset of own) {
        found.say(constant, offset, `kept in ${where}`);
        if (offset === first + behind) found.say(constant, offset, "one secret behind the other");
      }
    }
  }
  const exporter = `${prefix}_EXPORTER_MASTER_SECRET`;
  const offset = found.seen(exporter);
  // Compilers for arm64 reach a label from another, so that the function names its file alone.
  for (const entry of offset === null ? [] : subject.naming("exporter", "tls13_enc.c")) {
    for (const { arguments: passed } of callsIn(subject.events(entry))) {
      const isExported = passed.some((one) => subject.names.get(numberOf(one) ?? -1) === "exporter");
      const isIn = passed.some((one) => insideOf(one) === offset);
      if (offset !== null && isIn && (isExported || subject.naming("exporter").includes(entry)))
        found.say(exporter, offset, `"exporter" in ${hex(entry)}`);
    }
  }
}

/** What comes before the label: of the function that derives keys secret and hash, of the one that expands a secret, the secret. */
function derived(
  subject: Subject,
  found: Witnesses,
  call: CallEvent,
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

/** tls13_hkdf_expand(..., "exp master", length, hash, its length, out, ...). */
function exported(subject: Subject, found: Witnesses, call: CallEvent, prefix: string, where: string): void {
  const at = call.arguments.findIndex((one) => subject.names.get(numberOf(one) ?? -1) === "exp master");
  const offset = at < 0 ? null : insideOf(call.arguments[at + 4]);
  if (offset !== null && offset > 0)
    found.say(`${prefix}_EXPORTER_MASTER_SECRET`, offset, `"exp master" in ${where}`);
}

/** Secrets of the connection that are logged. */
function logged(
  subject: Subject,
  found: Witnesses,
  call: CallEvent,
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
