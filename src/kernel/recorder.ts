import type { BpfLink, BpfObject, Libbpf, SharedArray } from "../../ffi/libbpf.ts";
import { setThreadName, TASK_COMM_LEN, threadName } from "../../ffi/libc.ts";
import type { Range } from "../offsets/observation.ts";

/** The layout of bpf/offsetof.h. */
const CHUNK_SIZE = 256;
const WINDOW_CHUNKS = 16;
const CONTROL = { armed: 16, next: 20, size: 32 } as const;
const SLOT = { instance: 0, from: 8, to: 12, chunks: 16, window: 24 } as const;

/** A place in the kernel where a struct passes by, and the program that copies it there. */
export interface Rung {
  readonly kind: "kprobe" | "raw_tp";
  readonly target: string;
  readonly program: string;
}

/** The ladder of struct sock, best first. */
export const sockLadder: readonly Rung[] = [
  { kind: "kprobe", target: "tcp_getsockopt", program: "kprobe_tcp_getsockopt" },
  { kind: "raw_tp", target: "inet_sock_set_state", program: "raw_tp_inet_sock_set_state" },
];

/** One struct instance that a program copied. */
export interface Hit {
  /** Kernel address of the instance; never printed. */
  readonly instance: bigint;
  /** Socket states of inet_sock_set_state; 0 for a kprobe. */
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly readable: readonly Range[];
}

/**
 * The eBPF side of the snapshot strategy: loads the object, attaches one rung, and hands out what it copied.
 *
 * Only this thread is recorded: it bears a random name meanwhile, which the program compares. A pid would not do,
 * because inside a pid namespace the kernel knows another one than this process does.
 */
export class Recorder implements Disposable {
  readonly #owned = new DisposableStack();
  readonly #controls: SharedArray;
  readonly #slots: SharedArray;
  readonly #name = randomThreadName();
  readonly attached: string;
  #events = 0;

  /**
   * @param mmapable whether the kernel has BPF_F_MMAPABLE (5.5 and newer)
   * @throws SystemError when the kernel refuses the program or the attachment
   */
  constructor(libbpf: Libbpf, bytes: Uint8Array, rung: Rung, mmapable: boolean) {
    using undo = new DisposableStack();
    const object: BpfObject = undo.use(libbpf.openObject(bytes, "socket_guess"));
    for (const { program } of sockLadder) object.program(program).setAutoload(program === rung.program);
    const maps = [object.map("controls"), object.map("slots")] as const;
    if (!mmapable) for (const map of maps) map.clearMmapable();
    object.load();
    this.#controls = undo.use(maps[0].share());
    this.#slots = undo.use(maps[1].share());
    const link: BpfLink = undo.use(attach(object, rung));
    this.attached = link.where;

    const before = threadName();
    undo.defer(() => setThreadName(before));
    setThreadName(this.#name);
    this.#owned = undo.move();
  }

  /** How many structs have been copied so far. */
  get events(): number {
    return this.#events;
  }

  /**
   * Runs `act` and returns what the rung copied meanwhile, in order.
   *
   * @param pointer byte offset of a pointer in the struct: copies what it leads to instead. A pointer that is not
   *   a canonical, aligned kernel address is not followed and gives no hit.
   */
  during(act: () => void, pointer?: number): Hit[] {
    this.#arm(true, pointer);
    let copied = 0;
    try {
      act();
    } finally {
      copied = new Uint32Array(this.#controls.read(0).buffer)[CONTROL.next / 4] ?? 0;
      this.#arm(false);
    }
    this.#events += copied;
    return Array.from({ length: copied }, (_, index) => decode(this.#slots.read(index)));
  }

  /** Writes struct control, with the first slot next. */
  #arm(armed: boolean, pointer?: number): void {
    const control = new Uint8Array(CONTROL.size);
    control.set(this.#name);
    new Uint32Array(control.buffer, CONTROL.armed).set([
      Number(armed),
      0,
      Number(pointer !== undefined),
      pointer ?? 0,
    ]);
    this.#controls.write(0, control);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** A thread name that nobody else bears: printable, and random enough not to be met by chance. */
function randomThreadName(): Uint8Array {
  const name = new Uint8Array(TASK_COMM_LEN);
  name.set(
    new TextEncoder().encode(`ofs-${crypto.randomUUID().replaceAll("-", "")}`.slice(0, TASK_COMM_LEN - 1)),
  );
  return name;
}

export function attach(object: BpfObject, { kind, target, program }: Rung): BpfLink {
  switch (kind) {
    case "kprobe":
      return object.program(program).attachKprobe(target);
    case "raw_tp":
      return object.program(program).attachRawTracepoint(target);
  }
}

/** Reads struct slot. */
function decode(slot: Uint8Array): Hit {
  const view = new DataView(slot.buffer, slot.byteOffset);
  const chunks = view.getUint32(SLOT.chunks, true);
  const readable: Range[] = [];
  for (let chunk = 0; chunk < WINDOW_CHUNKS; chunk++) {
    if ((chunks & (1 << chunk)) === 0) continue;
    const start = chunk * CHUNK_SIZE;
    const last = readable.at(-1);
    if (last?.end === start) readable[readable.length - 1] = { start: last.start, end: start + CHUNK_SIZE };
    else readable.push({ start, end: start + CHUNK_SIZE });
  }
  return {
    instance: view.getBigUint64(SLOT.instance, true),
    from: view.getUint32(SLOT.from, true),
    to: view.getUint32(SLOT.to, true),
    bytes: slot.subarray(SLOT.window),
    readable,
  };
}
