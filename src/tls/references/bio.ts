import type { Value } from "../machine/value.ts";
import type { Subject } from "./subject.ts";
import { callsIn, hex, isReached, isWhole, memberOf, numberOf, storesIn } from "./value-paths.ts";
import type { Witnesses } from "./witnesses.ts";

/**
 * BIO_TYPE_SOCKET and BIO_TYPE_MEM of bio.h, with the names that follow them in a method. BoringSSL has none there since 2026; of a
 * memory buffer's functions the one that writes names its source file, as it refuses what may only be read.
 */
const kinds = [
  { type: 0x505, name: "socket", file: null },
  { type: 0x401, name: "memory buffer", file: "bio_mem.cc" },
] as const;
type Kind = (typeof kinds)[number];

/** Source files by which such a method is told. */
export const methodFiles: readonly string[] = kinds.flatMap(({ file }) => file ?? []);
/** Bytes: where in a method the name is, and where its functions are. */
const method = { name: 8, rest: 32, last: 72, size: 96 };

/** Where a method has the functions that transfer bytes. */
export interface Slots {
  readonly write: number;
  readonly read: number;
}
const boringsslSlots: Slots = { write: 16, read: 24 };

/** How a function uses a BIO's method: where the BIO has it, and which of its functions it calls. */
export interface MethodUse {
  readonly method: number;
  readonly slot: "read" | "write";
}

export interface Methods {
  /** BIO_read and BIO_write call the method of their first argument. */
  readonly use: (entry: number) => MethodUse | null;
  /** Where they are inlined: a call to where the method of the BIO at an offset of the connection leads. */
  readonly inlined: (target: Value, bio: number) => MethodUse | null;
}

/**
 * The static methods of crypto/bio: type, name, functions. The socket's hand the BIO's number, the buffer and the length to read(2) or
 * write(2).
 */
export function bioMethods(subject: Subject, found: Witnesses, at: Slots = boringsslSlots): Methods {
  const { image } = subject;
  const types = new Map<Buffer, Kind>(kinds.map((kind) => [typeBytes(kind.type), kind]));
  const isOf = (table: number, { name, file }: Kind): boolean => {
    const named = image.pointer(table + method.name);
    if (named !== 0) return image.text(named) === name;
    const write = image.pointer(table + at.write);
    return file !== null && image.isCode(write) && subject.isNaming(write, file);
  };
  // Where addresses are in the file itself, its own data is full of such numbers.
  const places = [
    ...image.data([...types.keys()], (table, type) => {
      const kind = types.get(type);
      return kind !== undefined && (image.isMovable || isOf(table, kind));
    }),
  ].flatMap(([type, some]) => {
    const kind = types.get(type);
    return kind === undefined ? [] : some.map((table) => ({ table, kind }));
  });
  image.relocate(places.map(({ table }) => ({ from: table, size: method.size })));
  const tables = places.filter(({ table, kind }) => isOf(table, kind));
  for (const { table, kind } of tables)
    found.table("BIO_METHOD_ST_TYPE", 0, `the method ${kind.name} at ${hex(table)}`);
  for (const { table, kind } of tables) {
    if (kind.name === "socket") transfers(subject, found, table, at);
    else endOfFile(subject, found, table, at);
  }
  const slots = new Map([
    [at.write, "write"],
    [at.read, "read"],
  ] as const);
  return {
    inlined: (target, bio) => {
      const slot = memberOf(target);
      const [, of] = slot?.from.loads ?? [];
      const kind = slots.get(slot?.from.add ?? -1);
      return slot !== null && of !== undefined && kind !== undefined && isReached(slot.from, bio, of.offset)
        ? { method: of.offset, slot: kind }
        : null;
    },
    use: (entry) => {
      const uses = callsIn(subject.events(entry, { steps: 4000 })).flatMap(({ target }) => {
        const slot = memberOf(target);
        if (slot === null || slot.from.loads.length !== 1) return [];
        const [of] = slot.from.loads;
        const kind = slots.get(slot.from.add);
        return of !== undefined && kind !== undefined && isReached(slot.from, of.offset)
          ? [{ method: of.offset, slot: kind }]
          : [];
      });
      const [use, ...others] = uses;
      return use !== undefined && others.every((one) => one.method === use.method && one.slot === use.slot)
        ? use
        : null;
    },
  };
}

/** The type as it stands in a table, with the padding behind it. */
function typeBytes(type: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(type);
  return bytes;
}

/** The socket's functions that hand (bio->num, buffer, length) on. */
function transfers(subject: Subject, found: Witnesses, table: number, at: Slots): void {
  for (const slot of [at.write, at.read]) {
    const entry = subject.image.pointer(table + slot);
    if (!subject.image.isCode(entry)) continue;
    for (const { arguments: passed } of callsIn(subject.events(entry, { steps: 2000 }))) {
      const number = memberOf(passed[0]);
      const isHandedOn = isWhole(passed[1], 1);
      if (number?.width !== 4 || !isReached(number.from) || !isHandedOn) continue;
      found.say("BIO_ST_NUM", number.from.add, `the socket's function in slot ${slot}`);
    }
  }
}

/**
 * A memory buffer's number is what a read returns at its end: told by that, set by a control (BIO_set_mem_eof_return) to its third
 * argument, and -1 at first.
 */
function endOfFile(subject: Subject, found: Witnesses, table: number, at: Slots): void {
  const eventsOf = (slot: number) => {
    const entry = subject.image.pointer(table + slot);
    return subject.image.isCode(entry) ? subject.events(entry, { steps: 4000 }) : [];
  };
  const returned = eventsOf(at.read).flatMap((event) => {
    const member = event.kind === "return" ? memberOf(event.value) : null;
    return member?.width === 4 && isReached(member.from) ? member.from.add : [];
  });
  for (const offset of returned) found.say("BIO_ST_NUM", offset, `returned by the read of ${hex(table)}`);
  for (let slot = method.rest; slot <= method.last && found.known("BIO_ST_NUM") === null; slot += 8) {
    for (const { to, width, value } of storesIn(eventsOf(slot))) {
      const isSet = isWhole(value, 2) || numberOf(value) === minusOne;
      if (width === 4 && isReached(to) && isSet && returned.includes(to.add))
        found.say("BIO_ST_NUM", to.add, `set by slot ${slot} of ${hex(table)}`);
    }
  }
}

/** As a 32-bit number. */
const minusOne = 0xffff_ffff;
