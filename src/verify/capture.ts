import type { EventReader } from "../../ffi/bpf-map.ts";
import type { BpfObject, Libbpf } from "../../ffi/libbpf.ts";
import { readTlsEvent, type TlsEvent } from "../bytecode/events.ts";
import type { Elf } from "../elf/elf.ts";
import { findFunctions } from "../elf/symbols.ts";
import type { LibraryReport } from "../output/document.ts";
import { offsetOf } from "../tls/attach-points.ts";
import { emulatedPlace, LOOKED_AT } from "./emulated.ts";

/** What a program for a function is called: see PROBE in bpf/tls.h. */
const PREFIX = "uprobe_";

/** Bytes of the buffer of events, of which one has 704: what a busy server makes while this thread does not run for a second. */
const BUFFER_SIZE = 4 << 20;

export interface CaptureOptions {
  /** Bytes of the object with the constants in it, and its programs by their names. */
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly programs: readonly string[];
  /** The library, or the program with one inside. */
  readonly elf: Elf;
  /** Where its functions begin, as far as that was told. */
  readonly functions: LibraryReport["functions"];
  /** The one process to watch; every one without it. */
  readonly pid?: number | undefined;
}

/** An object for TLS libraries, attached to every function of a library that it has a program for, while it lives. */
export class TlsCapture implements Disposable {
  readonly #stack: DisposableStack;
  readonly #object: BpfObject;
  readonly #reader: EventReader;
  /** The functions that are watched. */
  readonly attached: readonly string[];

  /** @param take is given each event that `take` finds @throws SystemError where the kernel lets no program in */
  constructor(
    libbpf: Libbpf,
    { bytes, name, programs, elf, functions, pid }: CaptureOptions,
    take: (event: TlsEvent) => void,
  ) {
    using stack = new DisposableStack();
    this.#object = stack.use(libbpf.openObject(bytes, name));
    this.#object.map("events").enlarge(BUFFER_SIZE);
    this.#object.load();
    const read = (record: Uint8Array): void => {
      const event = readTlsEvent(record);
      record.fill(0);
      take(event);
    };
    this.#reader = stack.use(this.#object.map("events").events(read));
    const names = programs.map((program) => program.slice(PREFIX.length));
    const places = functionPlaces(elf, names, functions);
    for (const [name, offset] of places) {
      // The very file, whatever lies at its path by now.
      const program = this.#object.program(`${PREFIX}${name}`);
      stack.use(program.attachUprobe(`/proc/self/fd/${elf.fd}`, offset, pid));
    }
    this.attached = [...places.keys()];
    this.#stack = stack.move();
  }

  /** Takes the events that are there. */
  take(): void {
    this.#reader.consume();
  }

  /** How many events found no room. */
  get lost(): number {
    const counted = this.#object.map("lost").lookup(0);
    return Number(new DataView(counted.buffer).getBigUint64(0, true)) + this.#reader.lost;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/**
 * Where in the file, in bytes, programs for those of the functions stand that it has: at the beginning, which was told or else has a
 * symbol, or soon behind it, see {@link emulatedPlace}. @throws InputError
 */
function functionPlaces(
  elf: Elf,
  names: readonly string[],
  told: LibraryReport["functions"],
): ReadonlyMap<string, number> {
  const untold = names.filter((name) => told[name] === undefined);
  const symbols = findFunctions(elf, untold);
  return new Map(
    names.flatMap((name) => {
      const [symbol, ...others] = symbols.get(name) ?? [];
      const address = symbol === undefined || others.length > 0 ? told[name]?.address : symbol.address;
      if (address === undefined || address === null) return [];
      const behind = elf.machine === "x86_64" ? emulatedPlace(elf.loaded(address, LOOKED_AT)) : 0;
      const offset = offsetOf(elf, address + behind);
      return offset === null ? [] : [[name, offset] as const];
    }),
  );
}
