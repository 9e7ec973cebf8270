import type { SharedArray } from "../../../ffi/bpf-map.ts";
import type { BpfLink, BpfProgram } from "../../../ffi/bpf-program.ts";
import { SystemError } from "../../../ffi/error.ts";
import type { BpfObject, Libbpf } from "../../../ffi/libbpf.ts";
import { crop, extend, type Range } from "../../offsets/observation.ts";
import { ladder, type Offers, type Rung, structs, type WatchedStruct } from "../fields/ladder.ts";
import { splitNamesHere } from "../running/kallsyms.ts";
import { NamedThread } from "../running/named-thread.ts";

/** The layout of bpf/offsetof.h. */
export const WINDOW_SIZE = 4096;
const CHUNK_SIZE = 256;
export const SLOT_COUNT = 64;
export const CONTROL = { next: 16, pathLength: 20, path: 24, quota: 32, skip: 64, size: 72 } as const;
const SLOT = {
  instance: 0,
  kind: 8,
  chased: 12,
  from: 16,
  to: 20,
  chunks: 24,
  errors: 32,
  window: 96,
} as const;

/**
 * How many bytes of a copy may belong to the struct: no less than any kernel's struct, and not much more, because
 * what lies behind it (other stack variables, the next object of the slab) can hold the same values.
 */
const windows: Record<WatchedStruct, number> = {
  sock: 4096, // struct tcp6_sock, about 2500
  socket: 128, // struct socket, 88 to 128: up to its wait queue
  flowi4: 64, // struct flowi4, 56 to 64
  flowi6: 96, // struct flowi6, 80 to 96
  sk_buff: 256, // struct sk_buff, 224 to 256
  nf_conn: 320, // struct nf_conn, 248 to 320
};

/**
 * Copies of strangers that one of ours may come after: packets and timers of others that interrupt this thread run under
 * its name.
 */
export const INTERRUPTIONS = 3;

/** One struct instance that a program copied. */
export interface Hit {
  readonly struct: WatchedStruct;
  /** Kernel address of the instance; never printed. */
  readonly instance: bigint;
  /** Socket states of inet_sock_set_state; 0 elsewhere. */
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly readable: readonly Range[];
  /** A window of what the path from it led to, when a path was given and could be followed. */
  readonly target?: Pick<Hit, "bytes" | "readable">;
}

/** What a recording copies: at most so many instances of each struct. */
export type Quota = Partial<Record<WatchedStruct, number>>;

/**
 * The eBPF side of the snapshot strategy: loads the object once, attaches the best rung of every struct that holds
 * here, and hands out what the programs copied.
 *
 * Only this thread is recorded: it bears a random name meanwhile, which the programs compare. A pid would not do,
 * because inside a pid namespace the kernel knows another one than this process does.
 */
export class Recorder implements Disposable {
  readonly #owned: DisposableStack;
  readonly #controls: SharedArray;
  readonly #slots: SharedArray;
  readonly #name: Uint8Array;
  readonly #object: BpfObject;
  readonly #late: readonly Rung[];
  readonly #rungs = new Map<WatchedStruct, Rung>();
  readonly #attached = new Map<WatchedStruct, string>();
  readonly #refusals = new Map<WatchedStruct, { where: string; reason: string }[]>();
  #events = 0;

  /**
   * @param offers why the host has no rungs of a kind, or null where it has
   * @throws SystemError when the kernel refuses the programs
   */
  constructor(libbpf: Libbpf, bytes: Uint8Array, offers: Offers) {
    using undo = new DisposableStack();
    let rungs = ladder.filter((rung) => this.#isOffered(rung, offers));
    for (;;) {
      using attempt = new DisposableStack();
      this.#rungs.clear();
      this.#attached.clear();
      const best = structs.flatMap((struct) => rungs.find((rung) => rung.struct === struct) ?? []);
      const object = attempt.use(libbpf.openObject(bytes, "socket_guess"));
      for (const rung of ladder) object.program(rung.program).setAutoload(best.includes(rung));
      const maps = [object.map("controls"), object.map("slots")] as const;
      if (best.length > 0) object.load();
      this.#controls = attempt.use(maps[0].share());
      this.#slots = attempt.use(maps[1].share());
      const failed = best.filter(({ late }) => !late).filter((rung) => !this.#attach(object, rung, attempt));
      rungs = rungs.filter((rung) => !failed.includes(rung));
      // Programs are loaded for the best rungs alone; where one fails and another is left, all is loaded anew.
      if (failed.some(({ struct }) => rungs.some((rung) => rung.struct === struct))) continue;
      this.#late = best.filter(({ late }) => late);
      this.#object = object;
      undo.use(attempt.move());
      break;
    }
    this.#name = undo.use(new NamedThread()).name;
    this.#owned = undo.move();
  }

  /** Attaches the late rung of a struct, if there is one; returns whether the struct is copied from now on. */
  attachLate(struct: WatchedStruct): boolean {
    const rung = this.#late.find((each) => each.struct === struct);
    if (rung !== undefined && !this.#rungs.has(struct)) this.#attach(this.#object, rung, this.#owned);
    return this.#rungs.has(struct);
  }

  /** The rung that copies this struct; undefined where none of its ladder holds. */
  rung(struct: WatchedStruct): Rung | undefined {
    return this.#rungs.get(struct);
  }

  /** Why a struct has no rung, in words for a person. */
  refusal(struct: WatchedStruct): string {
    const said = this.#refusals.get(struct) ?? [];
    const reasons = [...new Set(said.map(({ reason }) => reason))].map((reason) => {
      const refused = said.filter((each) => each.reason === reason).map(({ where }) => where);
      return `${refused.join(", ")}: ${reason}`;
    });
    return reasons.join("; ") || "no kernel function or tracepoint is known for it";
  }

  /** `kind:target` of every rung in use, by the name it was attached under. */
  get attached(): string[] {
    return [...this.#attached.values()];
  }

  /** How many structs have been copied so far. */
  get events(): number {
    return this.#events;
  }

  /**
   * Runs `act` and returns what the rungs copied meanwhile, in order.
   *
   * @param path byte offsets of at most two pointers to follow, from the struct and from what the first leads to. A
   *   pointer that is not a canonical, aligned kernel address is not followed.
   * @param skip how many bytes of what the path leads to come before the window that is copied
   */
  during(act: () => void, quota: Quota, path: readonly number[] = [], skip = 0): Hit[] {
    this.#arm(quota, path, skip);
    let filled = 0;
    try {
      act();
    } finally {
      filled = Math.min(new Uint32Array(this.#controls.read(0).buffer)[CONTROL.next / 4] ?? 0, SLOT_COUNT);
      this.#arm({}, [], 0);
    }
    const hits: Hit[] = [];
    for (let index = 0; index < filled; index++) {
      const { chased, ...hit } = decode(this.#slots.read(index));
      const last = hits.at(-1);
      if (chased && last !== undefined) hits[hits.length - 1] = { ...last, target: hit };
      else hits.push(hit);
    }
    this.#events += hits.length;
    // Cut down to what may belong to the struct.
    return hits.map((hit) => crop(hit, windows[hit.struct]));
  }

  #isOffered(rung: Rung, offers: Offers): boolean {
    const reason = offers(rung);
    if (reason !== null) this.#refuse(rung, reason);
    return reason === null;
  }

  /** Attaches the program of a rung; returns whether the kernel let it. */
  #attach(object: BpfObject, rung: Rung, owner: DisposableStack): boolean {
    try {
      const { where } = owner.use(attach(object, rung));
      this.#rungs.set(rung.struct, rung);
      this.#attached.set(rung.struct, where);
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#refuse(rung, error.message);
      return false;
    }
  }

  #refuse({ struct, kind, target }: Rung, reason: string): void {
    const said = this.#refusals.get(struct) ?? [];
    this.#refusals.set(struct, [...said, { where: `${kind}:${target}`, reason }]);
  }

  /** Writes struct control, with the first slot next. */
  #arm(quota: Quota, path: readonly number[], skip: number): void {
    const control = new Uint8Array(CONTROL.size);
    control.set(this.#name);
    const words = new Uint32Array(control.buffer);
    words[CONTROL.pathLength / 4] = path.length;
    words.set(path, CONTROL.path / 4);
    words.set(
      structs.map((struct) => quota[struct] ?? 0),
      CONTROL.quota / 4,
    );
    words[CONTROL.skip / 4] = skip;
    this.#controls.write(0, control);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** Attaches the program of a rung to its function or tracepoint. */
export function attach(object: BpfObject, { kind, target, program }: Rung): BpfLink {
  switch (kind) {
    case "kprobe":
      return attachKprobe(object.program(program), target);
    case "raw_tp":
      return object.program(program).attachRawTracepoint(target);
  }
}

/** By its own name, or where the compiler left no function of that name, at a piece of it. */
function attachKprobe(program: BpfProgram, target: string): BpfLink {
  try {
    return program.attachKprobe(target);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== "ENOENT") throw error;
    for (const name of splitNamesHere(target)) {
      try {
        return program.attachKprobe(name);
      } catch {
        // The next piece may be one that can be probed; if none is, the function's own error tells most.
      }
    }
    throw error;
  }
}

/** Reads struct slot. */
function decode(slot: Uint8Array): Hit & { chased: boolean } {
  const view = new DataView(slot.buffer, slot.byteOffset);
  const chunks = view.getUint32(SLOT.chunks, true);
  const readable: Range[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    if (view.getInt32(SLOT.errors + 4 * chunk, true) !== 0) continue;
    const start = chunk * CHUNK_SIZE;
    extend(readable, { start, end: start + CHUNK_SIZE });
  }
  const struct = structs[view.getUint32(SLOT.kind, true)];
  if (struct === undefined)
    throw new Error("the eBPF object copies a struct that this program does not know");
  return {
    struct,
    instance: view.getBigUint64(SLOT.instance, true),
    chased: view.getUint32(SLOT.chased, true) === 1,
    from: view.getUint32(SLOT.from, true),
    to: view.getUint32(SLOT.to, true),
    bytes: slot.subarray(SLOT.window),
    readable,
  };
}
