import type { BpfObject, EventReader, Libbpf } from "../../ffi/libbpf.ts";
import type { Elf } from "../elf/elf.ts";
import { findFunctions } from "../elf/symbols.ts";
import { readTlsEvent, type TlsEvent } from "./events.ts";
import { EbpfObject } from "./object.ts";

/** Programs of the TLS objects are named so, with the function that they are for. */
const PROGRAM_PREFIX = "uprobe_";

export interface CaptureOptions {
  /** A baked object for TLS connections, and its name for messages. */
  readonly bytecode: Uint8Array;
  readonly name: string;
  /** The library, or the program with one inside; `path` leads to it on this host. */
  readonly elf: Elf;
  readonly path: string;
  /** The one process to watch, by its number in this process's pid namespace; every process without it. */
  readonly pid?: number;
  /** Is given each event: the secrets in it are the receiver's to wipe. */
  readonly take: (event: TlsEvent) => void;
}

/** Watches the connections of a TLS library, until it is disposed of. */
export class TlsCapture implements Disposable {
  readonly #owned: DisposableStack;
  readonly #object: BpfObject;
  readonly #reader: EventReader;
  /** `uprobe:PATH+OFFSET` of every function that is watched. */
  readonly attached: readonly string[];

  /**
   * Attaches to every function of the library that the object has a program for; from then on no connection is missed
   * that calls one of them.
   * @throws SystemError when the kernel refuses, Error when the library has none of the functions
   */
  constructor(libbpf: Libbpf, { bytecode, name, elf, path, pid, take }: CaptureOptions) {
    using undo = new DisposableStack();
    this.#object = undo.use(libbpf.openObject(bytecode, name));
    this.#object.load();
    this.#reader = undo.use(this.#object.map("events").events((record) => take(readTlsEvent(record))));
    const functions = new EbpfObject(bytecode, name).programs.map((program) =>
      program.name.slice(PROGRAM_PREFIX.length),
    );
    const found = findFunctions(elf, functions);
    this.attached = functions.flatMap((each) => {
      // Of a name that stands for several functions it is not known which one is called.
      const [place, another] = found.get(each) ?? [];
      if (place === undefined || another !== undefined) return [];
      const program = this.#object.program(`${PROGRAM_PREFIX}${each}`);
      return undo.use(program.attachUprobe(path, elf.fileOffset(place.address), pid)).where;
    });
    if (this.attached.length === 0) throw new Error(`${path} has none of ${functions.join(", ")}`);
    this.#owned = undo.move();
  }

  /** Hands on the events that are there, without waiting. */
  poll(): void {
    this.#reader.consume();
  }

  /** Events that found no room: what the programs and the buffer counted so far. */
  get lost(): number {
    const counted = this.#object.map("lost").lookup(0);
    return this.#reader.lost + Number(new DataView(counted.buffer).getBigUint64(0, true));
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
