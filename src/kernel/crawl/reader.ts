import type { SharedArray } from "../../../ffi/bpf-map.ts";
import type { BpfLink } from "../../../ffi/bpf-program.ts";
import { SystemError } from "../../../ffi/error.ts";
import type { BpfObject, Libbpf } from "../../../ffi/libbpf.ts";
import { FaultingPage, openPageFaults } from "../../../ffi/perf.ts";
import { GETPGID, getProcessGroup, sleep } from "../../../ffi/thread.ts";
import type { Range } from "../../offsets/observation.ts";
import { NamedThread } from "../running/named-thread.ts";
import { isForbiddenToRead } from "../running/variants.ts";
import type { Meets, Walker } from "../scene/scene.ts";

/** The layout of bpf/crawl.bpf.c. */
const STEPS = 8;
const ORDER = { except: 16, call: 24, walks: 28, size: 32 } as const;
const WALK = {
  length: 8,
  wanted: 12,
  path: 16,
  displacement: 48,
  task: 56,
  thread: 64,
  pointer: 72,
  address: 80,
  copied: 88,
  window: 96,
} as const;
const PIECE = 4096;
const ANY_CALL = 0xffffffff;

/** The most bytes that one walk copies. */
export const LARGEST = 16384;

/** A way through the kernel's memory, and how much is copied of what it leads to. */
export interface Walk {
  /** A pointer that an earlier walk gave; without it the walk begins at the task that makes it. */
  readonly root?: bigint;
  /** Byte offsets of at most eight pointers, each in the struct before it. */
  readonly path?: readonly number[];
  /** Where the copy begins, counted from what the last pointer leads to; a multiple of 8. */
  readonly displacement?: number;
  /** At most {@link LARGEST}. */
  readonly size: number;
}

/** What a walk led to. */
export interface Landing {
  /** Where the copy begins, without a tag; never printed. */
  readonly address: bigint;
  /** The last pointer as it stands. */
  readonly pointer: bigint;
  /** From `address` on, up to what could not be read: all of a struct is mapped. */
  readonly bytes: Uint8Array;
  /** All of `bytes`. */
  readonly readable: readonly Range[];
}

/** What a place is attached to by. */
export type RungKind = "raw_tp" | "tracepoint" | "kprobe" | "perf_event";
/** Why the host has no places of a kind; null where it has. */
export type RungOffers = (kind: RungKind) => string | null;

/** A place where the kernel meets a thread of ours, best first. */
const rungs: readonly {
  readonly kind: RungKind;
  readonly where: string;
  readonly program: string;
  readonly attach: (object: BpfObject, program: string) => BpfLink;
  /** Brings this thread there: a page fault, where it is not a call of getpgid(2). */
  readonly isFault?: true;
}[] = [
  {
    kind: "raw_tp",
    where: "raw_tp:sys_enter",
    program: "raw_tp_sys_enter",
    attach: (object, program) => object.program(program).attachRawTracepoint("sys_enter"),
  },
  {
    kind: "tracepoint",
    where: "tracepoint:syscalls/sys_enter_getpgid",
    program: "tracepoint_sys_enter_getpgid",
    attach: (object, program) => object.program(program).attachTracepoint("syscalls", "sys_enter_getpgid"),
  },
  ...["__x64_sys_getpgid", "__arm64_sys_getpgid", "sys_getpgid", "SyS_getpgid"].map((name) => ({
    kind: "kprobe" as const,
    where: `kprobe:${name}`,
    program: "kprobe_getpgid",
    attach: (object: BpfObject, program: string) => object.program(program).attachKprobe(name),
  })),
  {
    kind: "perf_event",
    where: "perf_event:page-faults",
    program: "perf_event_any",
    attach: (object, program) => {
      using event = openPageFaults();
      return object.program(program).attachPerfEvent(event, "page-faults");
    },
    isFault: true,
  },
];

/**
 * Reads structs at rest in the kernel: follows pointers from a thread of ours, or from where that led, in one event for
 * many walks, and copies what they lead to.
 *
 * Addresses are followed only when they can be objects of the kernel (bpf/offsetof.h). This thread bears a random name
 * meanwhile, by which the program knows it.
 */
export class Crawler implements Meets, Disposable {
  readonly #owned: DisposableStack;
  readonly #orders: SharedArray;
  readonly #walks: SharedArray;
  readonly #name: Uint8Array;
  /** Brings this thread to where the program is. */
  readonly #arrive: () => void;
  /** How many walks one event makes. */
  readonly #batch: number;
  /** How many bytes are written of a walk: where the map is not mapped, only all of it can be. */
  readonly #walkSize: number;
  /** `kind:target` of the rung in use. */
  readonly attached: string;
  /** This thread. */
  readonly self: Walker;
  #events = 0;

  /** @throws SystemError when the kernel refuses the program, or every place to attach it to */
  constructor(libbpf: Libbpf, bytecode: Uint8Array, name: string, offers: RungOffers) {
    using undo = new DisposableStack();
    const { object, link, isFault } = firstRung(libbpf, bytecode, name, offers, undo);
    this.attached = link.where;
    const page = isFault === true ? undo.use(new FaultingPage()) : null;
    this.#arrive = page === null ? getProcessGroup : () => page.touch();
    const [orders, walks] = [object.map("orders"), object.map("walks")];
    this.#batch = walks.maxEntries;
    this.#walkSize = walks.mmapable ? WALK.task : walks.valueSize;
    this.#orders = undo.use(orders.share());
    this.#walks = undo.use(walks.share());
    this.#name = undo.use(new NamedThread()).name;
    this.#ask([{ size: 0 }]);
    this.self = this.#walker();
    this.#owned = undo.move();
  }

  /** How often the program ran for us. */
  get events(): number {
    return this.#events;
  }

  /** What each walk leads to; null where it leads nowhere. */
  follow(walks: readonly Walk[]): (Landing | null)[] {
    const landings: (Landing | null)[] = [];
    for (let at = 0; at < walks.length; at += this.#batch) {
      const batch = walks.slice(at, at + this.#batch);
      this.#ask(batch);
      landings.push(
        ...batch.map(({ size }, index) =>
          landingOf((from, length) => this.#walks.read(index, length, from), size),
        ),
      );
    }
    return landings;
  }

  meet(name: Uint8Array, start: () => void, isChild: boolean, milliseconds: number): Walker | null {
    const until = performance.now() + milliseconds;
    const { tgid, tid } = this.self;
    const except = (BigInt(tgid) << 32n) | (isChild ? 0n : BigInt(tid));
    this.#order({ walks: 1, name, call: ANY_CALL, except }, [{ size: 0 }]);
    start();
    while (this.#left() > 0) {
      if (performance.now() > until) {
        this.#order({ walks: 0, name, call: ANY_CALL, except }, []);
        return null;
      }
      sleep(100);
    }
    this.#events += 1;
    return this.#walker();
  }

  #ask(walks: readonly Walk[]): void {
    this.#order({ walks: walks.length, name: this.#name, call: GETPGID, except: 0n }, walks);
    this.#arrive();
    if (this.#left() > 0) throw new Unmet(`${this.attached} is attached, but never ran for a call of ours`);
    this.#events += 1;
  }

  #order(
    order: {
      readonly walks: number;
      readonly name: Uint8Array;
      readonly call: number;
      readonly except: bigint;
    },
    walks: readonly Walk[],
  ): void {
    for (const [index, walk] of walks.entries()) this.#walks.write(index, encoded(walk, this.#walkSize));
    const bytes = new Uint8Array(ORDER.size);
    const view = new DataView(bytes.buffer);
    bytes.set(order.name);
    view.setBigUint64(ORDER.except, order.except, true);
    view.setUint32(ORDER.call, order.call, true);
    view.setUint32(ORDER.walks, order.walks, true);
    this.#orders.write(0, bytes);
  }

  /** How many walks of the batch the program has not made yet: 0 once its event has come. */
  #left(): number {
    return new DataView(this.#orders.read(0).buffer).getUint32(ORDER.walks, true);
  }

  #walker(): Walker {
    const view = viewOf(this.#walks.read(0));
    return {
      task: view.getBigUint64(WALK.task, true),
      tgid: view.getUint32(WALK.thread + 4, true),
      tid: view.getUint32(WALK.thread, true),
    };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** The program is attached, and yet did not run. */
export class Unmet extends Error {
  override readonly name = "Unmet";
}

/** The first rung that this kernel lets us have, of those that the host offers: nothing else is tried. */
function firstRung(
  libbpf: Libbpf,
  bytecode: Uint8Array,
  name: string,
  offers: RungOffers,
  owner: DisposableStack,
) {
  const refusals = new Set<string>();
  let unloaded: unknown;
  for (const { kind, where, program, attach, isFault } of rungs) {
    const refusal = offers(kind);
    if (refusal !== null) {
      refusals.add(`${kind}: ${refusal}`);
      continue;
    }
    using attempt = new DisposableStack();
    const object = attempt.use(libbpf.openObject(bytecode, name));
    for (const each of new Set(rungs.map((rung) => rung.program)))
      object.program(each).setAutoload(each === program);
    try {
      object.load();
    } catch (error) {
      // Another kind of program may be allowed, or known, where this one is not; but each may be a line in the kernel's log.
      if (!(error instanceof SystemError) || isForbiddenToRead(error)) throw error;
      unloaded ??= error;
      continue;
    }
    try {
      const link = attempt.use(attach(object, program));
      owner.use(attempt.move());
      return { object, link, isFault };
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      refusals.add(`${where}: ${error.message}`);
    }
  }
  throw unloaded ?? new Unmet([...refusals].join("; "));
}

const viewOf = ({ buffer, byteOffset }: Uint8Array): DataView => new DataView(buffer, byteOffset);

/** Struct walk, of which nothing counts behind what the program fills. */
function encoded({ root = 0n, path = [], displacement = 0, size }: Walk, length: number): Uint8Array {
  if (path.length > STEPS || size > LARGEST) throw new RangeError("a walk of more than the program follows");
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  view.setBigUint64(0, root, true);
  view.setUint32(WALK.length, path.length, true);
  for (const [step, offset] of path.entries()) view.setUint32(WALK.path + 4 * step, offset, true);
  view.setBigInt64(WALK.displacement, BigInt(displacement), true);
  // Behind pointers it is not known yet where in its first page the copy begins.
  const isKnown = root !== 0n && path.length === 0;
  const start = isKnown ? Number((root + BigInt(displacement)) & BigInt(PIECE - 1)) : PIECE - 8;
  view.setUint32(WALK.wanted, Math.ceil((start + size) / PIECE), true);
  return bytes;
}

/** Reads struct walk. @param read gives so many of its bytes */
function landingOf(read: (from: number, length: number) => Uint8Array, size: number): Landing | null {
  const view = viewOf(read(0, WALK.window));
  const address = view.getBigUint64(WALK.address, true);
  if (address === 0n) return null;
  const start = view.getUint32(WALK.address, true) % PIECE;
  const end = Math.min(start + size, view.getUint32(WALK.copied, true) * PIECE);
  const bytes = read(WALK.window + start, Math.max(0, end - start));
  return {
    address,
    pointer: view.getBigUint64(WALK.pointer, true),
    bytes,
    readable: bytes.length === 0 ? [] : [{ start: 0, end: bytes.length }],
  };
}
