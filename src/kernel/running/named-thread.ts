import { setThreadName, TASK_COMM_LEN, threadName } from "../../../ffi/thread.ts";

/**
 * Gives this thread a name that nobody else bears, for eBPF programs to know it by. A pid would not do, because
 * inside a pid namespace the kernel knows another one than this process does.
 */
export class NamedThread implements Disposable {
  readonly #before = threadName();
  /** TASK_COMM_LEN bytes, zeros at the end. */
  readonly name = randomThreadName();

  constructor() {
    setThreadName(this.name);
  }

  [Symbol.dispose](): void {
    setThreadName(this.#before);
  }
}

/** A thread name that is printable, and random enough not to be met by chance. */
function randomThreadName(): Uint8Array {
  const name = new Uint8Array(TASK_COMM_LEN);
  const text = `ofs-${crypto.randomUUID().replaceAll("-", "")}`.slice(0, TASK_COMM_LEN - 1);
  name.set(new TextEncoder().encode(text));
  return name;
}
