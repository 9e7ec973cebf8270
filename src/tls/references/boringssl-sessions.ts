import type { ValuePlace } from "../machine/value.ts";
import { handshakeFiles } from "./boringssl-handshake.ts";
import { functionsCalling, functionsWith } from "./displacement.ts";
import type { Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import { callsIn, hex, isReached, memberOf, numberOf, pointersTo, storesIn } from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/**
 * SSL_get_session, and where it is inlined: the established session, or of the handshake the early or the new one, or the one offered;
 * the last two may be another function's, ssl_handshake_session. Found by the new session's offset, which few instructions have.
 */
export function sessions(subject: Subject, found: Witnesses): void {
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

/** A place that is reached from what such a function returns may be in the one or in the other session, so both are told; any other as it is. */
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

/** The handshake that each call of one of these functions is given, by the root of all that is reached from its result. */
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
export function sessionParser(subject: Subject, found: Witnesses): void {
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

/**
 * Handshakes and sessions elsewhere: a connection's handshake is handed to functions that make it, sessions are put into each other's
 * place, and what one has is compared with or copied from the same member of another.
 */
export function sessionUsers(subject: Subject, found: Witnesses): void {
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
      // The pointer to a session that is known, stored where the pointer to another one is kept.
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
export function sessionCipher(subject: Subject, found: Witnesses): void {
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
