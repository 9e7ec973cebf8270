/** Bytes of text that are kept of what the run is at. */
const room = 4096;
/** Words of 32 bits before the text: how often it was written (odd while it is), and its length in bytes. */
const [WRITES, LENGTH, HEADER] = [0, 1, 8];

/** Memory that holds what a run is at: one thread writes it, and another reads it though the first is blocked. */
export type Whereabouts = SharedArrayBuffer;

/** Some of a run. */
export interface Stage {
  readonly what: string;
  /** Milliseconds that it took, or has taken. */
  readonly milliseconds: number;
}

interface Written {
  readonly what: string;
  /** By {@link now}. */
  readonly since: number;
  /** The one that took longest of those that are over. */
  readonly longest: Stage;
}

/** Milliseconds of a clock that all threads share and nobody sets. */
export const now = (): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
};

let memory: Whereabouts | null = null;
let current: Omit<Written, "longest"> = { what: "the start", since: 0 };
let longest: Stage = { what: "the start", milliseconds: 0 };

/** From now on what this thread is at is written there. */
export function follow(): Whereabouts {
  memory = new SharedArrayBuffer(HEADER + room);
  longest = { what: "the start", milliseconds: 0 };
  current = { what: "the start", since: now() };
  write();
  return memory;
}

/**
 * Says what is done next that may take its time: a path, a process, a source. When that is disposed, what was done before
 * goes on. Costs next to nothing where nobody follows.
 */
export function during(what: string): Disposable {
  const outer = current.what;
  begin(what);
  return { [Symbol.dispose]: () => begin(outer) };
}

function begin(what: string): void {
  if (memory === null) return;
  const time = now();
  const milliseconds = time - current.since;
  if (milliseconds > longest.milliseconds) longest = { what: current.what, milliseconds };
  current = { what, since: time };
  write();
}

function write(): void {
  if (memory === null) return;
  const words = new Int32Array(memory, 0, HEADER / 4);
  const cut = ({ what }: { what: string }): string => what.slice(0, room / 16);
  const text = JSON.stringify({
    ...current,
    what: cut(current),
    longest: { ...longest, what: cut(longest) },
  } satisfies Written);
  Atomics.add(words, WRITES, 1);
  const { written } = new TextEncoder().encodeInto(text, new Uint8Array(memory, HEADER));
  Atomics.store(words, LENGTH, written);
  Atomics.add(words, WRITES, 1);
}

/** What the other thread is at, and before that what took it longest; null where that is being written all the time. */
export function readWhereabouts(memory: Whereabouts): { current: Stage; longest: Stage } | null {
  const words = new Int32Array(memory, 0, HEADER / 4);
  for (let tries = 0; tries < 1000; tries += 1) {
    const before = Atomics.load(words, WRITES);
    const text = new TextDecoder().decode(
      new Uint8Array(memory, HEADER).slice(0, Atomics.load(words, LENGTH)),
    );
    if (before % 2 !== 0 || Atomics.load(words, WRITES) !== before) continue;
    const { what, since, longest }: Written = JSON.parse(text);
    return { current: { what, milliseconds: now() - since }, longest };
  }
  return null;
}
