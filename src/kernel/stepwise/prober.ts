import type { SharedArray } from "../../../ffi/bpf-map.ts";
import type { Libbpf } from "../../../ffi/libbpf.ts";
import { type Rung, stepwiseLadder } from "../fields/ladder.ts";
import { NamedThread } from "../running/named-thread.ts";
import { attach } from "../snapshot/recorder.ts";
import type { ReadQuestion, Reply } from "./steps.ts";

/** The layout of struct step in bpf/socket_stepwise.bpf.c, in bytes, and its enums. */
const STEP = { state: 16, outcome: 32, value: 40, size: 56 } as const;
const STATE_READY = 0;
const STATE_CHECKING = 1;
const STATE_CHECKED = 2;
const WHAT_U32_BEHIND = 32;
const OUTCOME_READ = 0;
const OUTCOME_UNKNOWN = 3;

/** A probe misses an event when it interrupts another one, which is rare. */
const MOST_MISSES = 5;

/** The eBPF side of the stepwise strategy: loads the object, attaches one rung, and reads one candidate an event. */
export class Prober implements Disposable {
  readonly #owned: DisposableStack;
  readonly #steps: SharedArray;
  readonly #name: Uint8Array;
  readonly attached: string;
  #events = 0;

  /** @throws SystemError when the kernel refuses the program or the attachment */
  constructor(libbpf: Libbpf, bytes: Uint8Array, rung: Rung) {
    using undo = new DisposableStack();
    const object = undo.use(libbpf.openObject(bytes, "socket_stepwise"));
    for (const { program } of stepwiseLadder) object.program(program).setAutoload(program === rung.program);
    const map = object.map("steps");
    object.load();
    this.#steps = undo.use(map.share());
    this.attached = undo.use(attach(object, rung)).where;
    this.#name = undo.use(new NamedThread()).name;
    this.#owned = undo.move();
  }

  /** How many candidates have been read so far. */
  get events(): number {
    return this.#events;
  }

  /**
   * Reads one candidate.
   *
   * @param act makes the rung pass over the socket, once
   * @throws when the rung never does
   */
  ask(question: ReadQuestion, act: () => void): Reply {
    for (let miss = 0; miss < MOST_MISSES; miss++) {
      this.#write(STATE_CHECKING, question);
      act();
      const step = this.#steps.read(0);
      const view = new DataView(step.buffer, step.byteOffset);
      if (view.getUint32(STEP.state, true) !== STATE_CHECKED) continue;
      this.#events++;
      const outcome = view.getUint32(STEP.outcome, true);
      if (outcome === OUTCOME_UNKNOWN)
        throw new TypeError(`the eBPF object reads no values of ${question.width} bytes`);
      return outcome === OUTCOME_READ ? step.subarray(STEP.value, STEP.value + question.width) : null;
    }
    throw new Error(`${this.attached} did not fire for our own sockets`);
  }

  /** Takes back the last question: the program does nothing until the next one. */
  reset(): void {
    this.#write(STATE_READY);
  }

  #write(state: number, question?: ReadQuestion): void {
    const step = new Uint8Array(STEP.size);
    step.set(this.#name);
    const what = question?.behind === undefined ? question?.width : WHAT_U32_BEHIND;
    new Uint32Array(step.buffer, STEP.state, 4).set([
      state,
      what ?? 0,
      question?.offset ?? 0,
      question?.behind ?? 0,
    ]);
    this.#steps.write(0, step);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
