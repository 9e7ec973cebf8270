import type { AttachRecipe } from "./attach-recipe.ts";
import { functionsCalling } from "./displacement.ts";
import type { Subject } from "./subject.ts";
import type { Event } from "./trace.ts";
import {
  type CallEvent,
  callsIn,
  isLocal,
  isReached,
  isWhole,
  memberOf,
  numberOf,
  storesIn,
} from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/** SSL_F_… of sslerr.h, by which 1.1.1 names functions in its errors; later ones have the names themselves. */
const codes: Readonly<Record<string, number>> = {
  SSL_read: 223,
  SSL_write: 208,
  SSL_do_handshake: 180,
  SSL_read_early_data: 529,
  SSL_write_early_data: 526,
  ssl_read_internal: 523,
  ssl_write_internal: 524,
};
/** ERR_LIB_SSL of err.h: the first argument of what puts an error in the queue. */
const library = 20;
/** SSL_R_BAD_LENGTH and SSL_R_CONNECTION_TYPE_NOT_SET of sslerr.h. */
const reasons = { badLength: 271, noType: 144 } as const;
/** -1, what a function returns that failed. */
const failure = 0xffff_ffff;

export const opensslAttach: AttachRecipe = {
  functions: ["SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_do_handshake"],
  names: {
    texts: Object.keys(codes),
    files: ["ssl_lib.c"],
    many: ["ssl_lib.c"],
    needles: [
      "SSL_read\0",
      "SSL_write\0",
      "SSL_do_handshake\0",
      "_early_data\0",
      "_internal\0",
      "ssl_lib.c\0",
    ],
  },
  read,
};

/**
 * A function that reads or writes. SSL_read and SSL_write return how many bytes were transferred; SSL_read_ex and SSL_write_ex put that
 * number where the fourth argument points.
 */
interface Way {
  readonly name: "SSL_read" | "SSL_write";
  readonly inner: string;
  readonly early: string;
}

const ways: readonly Way[] = [
  { name: "SSL_read", inner: "ssl_read_internal", early: "SSL_read_early_data" },
  { name: "SSL_write", inner: "ssl_write_internal", early: "SSL_write_early_data" },
];

/**
 * ssl/ssl_lib.c of OpenSSL 1.1.1 and later. SSL_read and SSL_read_ex call ssl_read_internal, which may be inlined. SSL_read refuses a
 * negative length, and hands on the address of a local variable for the number of bytes; SSL_read_ex hands on the address that it was
 * given, and never returns -1. SSL_write and SSL_write_ex are alike. SSL_do_handshake calls the connection's handshake_func, which it
 * tests before; it does not set it, as SSL_connect does.
 */
function read(subject: Subject, found: Witnesses): void {
  const named = namedFunctions(subject);
  for (const way of ways) {
    const inner = new Set(named(way.inner));
    const places = new Set<number>();
    for (const entry of named(way.name)) {
      const events = subject.events(entry);
      if (refuses(events, reasons.badLength)) found.say(way.name, entry, "refuses a bad length by its name");
      for (const call of callsIn(events)) {
        const place = call.arguments.findIndex(isLocal);
        if (!isInner(call, entry, inner) || !areWhole(call, 2) || place < 3) continue;
        found.say(way.name, entry, `has ${way.inner} do it`);
        if (inner.has(numberOf(call.target) ?? -1)) places.add(place);
      }
    }
    exact(subject, found, way, { inner, places, others: new Set([...named(way.name), ...named(way.early)]) });
  }
  for (const entry of named("SSL_do_handshake")) {
    const events = subject.events(entry);
    if (!callsTested(events)) continue;
    found.say("SSL_do_handshake", entry, "calls the function of the connection that it tested");
    if (refuses(events, reasons.noType))
      found.say("SSL_do_handshake", entry, "refuses a connection of no type by its name");
  }
}

/** Functions around the one that reads or writes. */
interface Around {
  readonly inner: ReadonlySet<number>;
  /** The indices of the argument that tells where the number of bytes is put. */
  readonly places: ReadonlySet<number>;
  /** Functions that are known to be others than those that are looked for. */
  readonly others: ReadonlySet<number>;
}

/** SSL_read_ex and SSL_write_ex: the latter since 3.3 by way of SSL_write_ex2, which takes flags besides. */
function exact(subject: Subject, found: Witnesses, { name, inner: called }: Way, around: Around): void {
  const { inner, places, others } = around;
  const calls = (entry: number): readonly CallEvent[] =>
    callsIn(subject.events(entry)).filter((call) => areWhole(call, 3));
  const isGiven = ({ arguments: passed }: CallEvent, place: number): boolean =>
    isWhole(passed[place], 3) && (place === 3 || numberOf(passed[3]) === 0);
  const callers = functionsCalling(subject, [...inner]);
  const flagged = new Set(
    callers.filter((entry) =>
      calls(entry).some(
        (call) => inner.has(numberOf(call.target) ?? -1) && places.has(4) && areWhole(call, 5),
      ),
    ),
  );
  const isExact = (call: CallEvent, entry: number): boolean => {
    const callee = numberOf(call.target) ?? -1;
    if (inner.has(callee)) return [...places].some((place) => isGiven(call, place));
    return flagged.has(callee) ? isGiven(call, 4) : isInner(call, entry, inner) && isGiven(call, 3);
  };
  for (const entry of new Set([...callers, ...inner, ...functionsCalling(subject, [...flagged])])) {
    const [call] = calls(entry).filter((one) => isExact(one, entry));
    if (call === undefined || others.has(entry)) continue;
    const callee = numberOf(call.target) ?? -1;
    // Where ssl_read_internal is inlined into a function, that does all the same but this.
    if (!neverFails(subject.events(flagged.has(callee) ? callee : entry))) continue;
    found.say(`${name}_ex`, entry, `has ${called} do it`);
    found.say(`${name}_ex`, entry, "returns no -1");
  }
}

/** Whether all that is known of what a function returns is that it is not -1. */
function neverFails(events: readonly Event[]): boolean {
  const returned = events.flatMap((event) => (event.kind === "return" ? [event.value] : []));
  return returned.length > 0 && returned.every((value) => numberOf(value) !== failure);
}

/** First addresses of the functions that an error names so. */
function namedFunctions(subject: Subject): (name: string) => readonly number[] {
  const byCode = new Map<number, Set<number>>();
  const isOld = ways.every(({ inner }) => subject.naming(inner).length === 0);
  for (const entry of isOld ? subject.naming("ssl_lib.c") : []) {
    for (const { arguments: passed } of callsIn(subject.events(entry))) {
      const code = numberOf(passed[1]);
      if (numberOf(passed[0]) !== library || code === null) continue;
      byCode.set(code, (byCode.get(code) ?? new Set()).add(entry));
    }
  }
  return (name) => (isOld ? [...(byCode.get(codes[name] ?? 0) ?? [])] : subject.naming(name));
}

const refuses = (events: readonly Event[], reason: number): boolean =>
  callsIn(events).some(
    ({ arguments: passed }) =>
      numberOf(passed[0]) === library && passed.slice(1, 3).some((one) => numberOf(one) === reason),
  );

/** Whether it is one of these functions that is called, or one of them is inlined here and calls the connection's method. */
function isInner({ target }: CallEvent, entry: number, inner: ReadonlySet<number>): boolean {
  const slot = memberOf(target);
  const [method] = slot?.from.loads ?? [];
  const isMethod = slot !== null && method !== undefined && isReached(slot.from, method.offset);
  return inner.has(numberOf(target) ?? -1) || (isMethod && inner.has(entry));
}

/** Whether the first arguments are those that the caller was given. */
const areWhole = ({ arguments: passed }: CallEvent, count: number): boolean =>
  Array.from({ length: count }, (_, index) => isWhole(passed[index], index)).every(Boolean);

/** Whether it calls, with the connection, a function that the connection has, which it compared with null before and does not set. */
function callsTested(events: readonly Event[]): boolean {
  const tested = new Set(
    events.flatMap((event) => {
      if (event.kind !== "compare") return [];
      const member = memberOf(event.left);
      return member?.width === 8 && member.from.loads.length === 0 && numberOf(event.right) === 0
        ? member.from.add
        : [];
    }),
  );
  return callsIn(events).some(({ target, arguments: passed }) => {
    const slot = memberOf(target);
    return (
      slot !== null &&
      slot.from.loads.length === 0 &&
      isWhole(passed[0], 0) &&
      tested.has(slot.from.add) &&
      !storesIn(events).some(({ to }) => to.loads.length === 0 && to.add === slot.from.add)
    );
  });
}
