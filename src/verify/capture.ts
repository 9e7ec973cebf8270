import type { BpfObject, EventReader, Libbpf } from "../../ffi/libbpf.ts";
import { readTlsEvent, type TlsEvent } from "../bytecode/events.ts";
import { type Elf, segment } from "../elf/elf.ts";
import { findFunctions } from "../elf/symbols.ts";

/** More connections than these are not kept; each has less than a kilobyte. */
const MOST_CONNECTIONS = 100_000;
/** What a program for a function is called: see PROBE in bpf/tls.h. */
const PREFIX = "uprobe_";

export interface CaptureOptions {
  /** Bytes of the object with the constants in it, and its programs by their names. */
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly programs: readonly string[];
  /** The library, or the program with one inside. */
  readonly elf: Elf;
  /** The one process to watch; every one without it. */
  readonly pid?: number;
}

/** Reads connections of a library for as long as it lives. What it read is wiped with it. */
export class TlsCapture implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #object: BpfObject;
  readonly #reader: EventReader;
  readonly #connections = new Map<string, TlsEvent>();
  #events = 0;
  #dropped = 0;
  /** The functions that are watched. */
  readonly attached: readonly string[];

  /** @throws SystemError where the kernel lets no program in */
  constructor(libbpf: Libbpf, { bytes, name, programs, elf, pid }: CaptureOptions) {
    using stack = new DisposableStack();
    this.#object = stack.use(libbpf.openObject(bytes, name));
    this.#object.load();
    this.#reader = stack.use(this.#object.map("events").events((record) => this.#take(record)));
    const functions = programs.map((program) => program.slice(PREFIX.length));
    const places = functionPlaces(elf, functions);
    for (const [function_, offset] of places) {
      // The very file, whatever lies at its path by now.
      const program = this.#object.program(`${PREFIX}${function_}`);
      stack.use(program.attachUprobe(`/proc/self/fd/${elf.fd}`, offset, pid));
    }
    this.attached = [...places.keys()];
    this.#stack = stack.move();
  }

  /** Waits until there are events, at most so many milliseconds, and takes those that are there. */
  poll(milliseconds: number): void {
    this.#reader.poll(milliseconds);
  }

  /** Everything that was read, joined: one for each connection at each end. */
  get connections(): readonly TlsEvent[] {
    return [...this.#connections.values()];
  }

  get events(): number {
    return this.#events;
  }

  /** Events that found no room. */
  get lost(): number {
    const counted = this.#object.map("lost").lookup(0);
    return Number(new DataView(counted.buffer).getBigUint64(0, true)) + this.#reader.lost + this.#dropped;
  }

  #take(record: Uint8Array): void {
    const event = readTlsEvent(record);
    record.fill(0);
    this.#events += 1;
    if (event.client_random === null) return;
    const key = `${event.tgid} ${event.ssl} ${Buffer.from(event.client_random).toString("hex")}`;
    const before = this.#connections.get(key);
    if (before === undefined && this.#connections.size >= MOST_CONNECTIONS) {
      this.#dropped += 1;
      wipe(event);
      return;
    }
    this.#connections.set(key, before === undefined ? event : joined(before, event));
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections.values()) wipe(connection);
    this.#connections.clear();
    this.#stack.dispose();
  }
}

/** What two events tell of one connection: the later one goes first. What it replaces is wiped. */
function joined(before: TlsEvent, after: TlsEvent): TlsEvent {
  const known = Object.entries(after).filter(([, value]) => value !== null);
  for (const [name, value] of Object.entries(before)) {
    if (value instanceof Uint8Array && known.some(([one]) => one === name)) value.fill(0);
  }
  return { ...before, ...Object.fromEntries(known) };
}

function wipe(event: TlsEvent): void {
  for (const value of Object.values(event)) if (value instanceof Uint8Array) value.fill(0);
}

/** Where those of the functions that a file has begin in it, in bytes. @throws InputError */
function functionPlaces(elf: Elf, names: readonly string[]): ReadonlyMap<string, number> {
  const loads = elf.programHeaders.filter(({ type }) => type === segment.load);
  return new Map(
    [...findFunctions(elf, names)].flatMap(([name, [found, ...others]]) => {
      if (found === undefined || others.length > 0) return [];
      const { address } = found;
      const within = loads.find(({ vaddr, filesz }) => address >= vaddr && address < vaddr + filesz);
      return within === undefined ? [] : [[name, within.offset + address - within.vaddr] as const];
    }),
  );
}
