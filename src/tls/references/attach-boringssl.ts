import type { AttachRecipe } from "./attach-recipe.ts";
import { functionsCalling } from "./displacement.ts";
import type { Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import {
  type CallEvent,
  callsIn,
  hex,
  isReached,
  isWhole,
  memberOf,
  numberOf,
  storesIn,
} from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** ERR_LIB_SSL of err.h: the first argument of what puts an error in the queue. */
const library = 16;
/**
 * Reasons of BoringSSL's ssl.h, which keep their numbers: SSL_R_CONNECTION_TYPE_NOT_SET, SSL_R_SSL_HANDSHAKE_FAILURE and
 * SSL_R_UNINITIALIZED.
 */
const reasons = { noType: 134, handshakeFailure: 215, uninitialized: 226 } as const;

/** Functions refuse first of all, and compilers let all refusals meet in one call. */
const refusals = { steps: 4000, visits: 16 };

export const boringsslAttach: AttachRecipe = {
  functions: ["SSL_read", "SSL_write", "SSL_do_handshake"],
  names: { texts: [], files: ["ssl_lib.cc"], many: ["ssl_lib.cc"], needles: ["ssl_lib.cc\0"] },
  read,
};

/**
 * ssl/ssl_lib.cc of BoringSSL, 2019 to 2026. SSL_write and ssl_read_impl refuse what is not set up, and a handshake that failed, which they
 * have SSL_do_handshake make; SSL_write hands its buffer to its method. SSL_read copies what ssl_read_impl has got, as SSL_peek does, and
 * moves on behind it, which that does not.
 */
function read(subject: Subject, found: Witnesses): void {
  const files = new Set(subject.addressesOf("ssl_lib.cc"));
  const said = new Map(
    subject
      .naming("ssl_lib.cc")
      .map((entry) => [
        entry,
        new Set(callsIn(subject.events(entry, refusals)).map((call) => reasonOf(call, files))),
      ]),
  );
  const both = [...said.keys()].filter(
    (entry) => said.get(entry)?.has(reasons.handshakeFailure) && said.get(entry)?.has(reasons.uninitialized),
  );
  const writers = both.filter((entry) => callsIn(subject.events(entry)).some(isWritten));
  for (const entry of writers) {
    found.say("SSL_write", entry, `reasons ${reasons.handshakeFailure} and ${reasons.uninitialized} in it`);
    found.say("SSL_write", entry, "hands its buffer to its method");
  }
  for (const entry of both) {
    for (const { target, arguments: passed } of callsIn(subject.events(entry))) {
      const callee = numberOf(target);
      if (callee === null || !isWhole(passed[0], 0) || !said.get(callee)?.has(reasons.noType)) continue;
      found.say("SSL_do_handshake", callee, `reason ${reasons.noType} in it`);
      found.say("SSL_do_handshake", callee, `called in ${hex(entry)}`);
    }
  }
  const readers = new Set(both.filter((entry) => !writers.includes(entry)));
  const peekers = new Set<number>();
  for (const entry of functionsCalling(subject, [...readers])) {
    const events = subject.events(entry);
    const copied = copiedIn(events);
    if (copied === null || !callsWhole(events, readers, 1)) continue;
    if (isMovedOn(events, copied)) {
      found.say("SSL_read", entry, `copies what ${[...readers].map(hex).join()} has got`);
      found.say("SSL_read", entry, "moves on behind what it copied");
    } else peekers.add(entry);
  }
  for (const entry of functionsCalling(subject, [...peekers])) {
    const events = subject.events(entry);
    const copied = [...peekers].flatMap((one) => copiedIn(subject.events(one)) ?? []);
    if (!callsWhole(events, peekers, 3) || !copied.some((one) => isMovedOn(events, one))) continue;
    found.say("SSL_read", entry, `has what ${[...peekers].map(hex).join()} copies`);
    found.say("SSL_read", entry, "moves on behind what is copied");
  }
}

/**
 * ERR_put_error(library, 0, reason, file, line): the reason is what stands before the file. Compilers of whole programs leave the second
 * out. Null for what is no error.
 */
function reasonOf({ arguments: passed }: CallEvent, files: ReadonlySet<number>): number | null {
  const file = passed.findIndex((one) => files.has(numberOf(one) ?? -1));
  return numberOf(passed[0]) === library && file > 1 ? numberOf(passed[file - 1]) : null;
}

/** ssl->method->write_app_data(ssl, …, buffer, …): the method is the first member. */
const isWritten = ({ target, arguments: passed }: CallEvent): boolean => {
  const slot = memberOf(target);
  return (
    slot !== null &&
    isReached(slot.from, 0) &&
    isWhole(passed[0], 0) &&
    passed.slice(1).some((one) => isWhole(one, 1))
  );
};

/** Whether one of these is called with as many of the first arguments as they were given. */
const callsWhole = (events: readonly Event[], targets: ReadonlySet<number>, count: number): boolean =>
  callsIn(events).some(
    ({ target, arguments: passed }) =>
      targets.has(numberOf(target) ?? -1) &&
      Array.from({ length: count }, (_, index) => isWhole(passed[index], index)).every(Boolean),
  );

/** A pointer of the connection's s3, by both offsets. */
interface Data {
  readonly s3: number;
  readonly at: number;
}

/** memcpy(buffer, ssl->s3->pending_app_data.data(), …): which pointer. */
function copiedIn(events: readonly Event[]): Data | null {
  const found = callsIn(events).flatMap(({ arguments: [to, from] }): readonly Data[] => {
    const data = memberOf(from);
    const s3 = data?.from.loads[0]?.offset;
    return isWhole(to, 1) && data?.width === 8 && s3 !== undefined && isReached(data.from, s3)
      ? [{ s3, at: data.from.add }]
      : [];
  });
  const [one] = found;
  return one !== undefined && found.every(({ s3, at }) => s3 === one.s3 && at === one.at) ? one : null;
}

/** Whether both the pointer and the length behind it are set anew. */
function isMovedOn(events: readonly Event[], { s3, at }: Data): boolean {
  const stored = new Set(
    storesIn(events).flatMap(({ to, width }) =>
      isReached(to, s3) ? (width === 16 ? [to.add, to.add + 8] : [to.add]) : [],
    ),
  );
  return stored.has(at) && stored.has(at + 8);
}
