import type { Value } from "../machine/value.ts";
import type { Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import { callsIn, hex, insideOf, isReached, memberOf, numberOf, storesIn } from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** Files whose functions make a handshake. */
export const handshakeFiles = [
  "handshake.cc",
  "handshake_client.cc",
  "handshake_server.cc",
  "tls13_client.cc",
  "tls13_server.cc",
] as const;
/** States of a handshake are numbered from 0; none has as many. */
const mostStates = 64;
/** A function that makes a handshake stores at least so many different states. */
const fewestStates = 6;
const tls12 = 0x303;
/** TLS 1.2 and 1.3, DTLS 1.0, 1.2 and 1.3 of ssl.h. */
const versionNumbers: ReadonlySet<number> = new Set([tls12, 0x304, 0xfeff, 0xfefd, 0xfefc, 0xfefb]);

/** A handshake's state is what its function jumps by, and what it stores many small numbers in. Client and server agree. */
export function states(subject: Subject, found: Witnesses): void {
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
export function versions(subject: Subject, found: Witnesses): void {
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
  for (const file of handshakeFiles)
    for (const entry of subject.naming(file)) comparedVersions(subject, found, entry, file);
}

/**
 * What is compared with the number of a version is a version itself. Of the handshake the highest one and the client's are known by name; those of
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
