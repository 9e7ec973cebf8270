/** Bytes of text that are kept of what the run is at. */
const room = 4096;
/** Words of 32 bits before the text: how often it was written (odd while it is), and its length in bytes. */
const [WRITES, LENGTH, HEADER] = [0, 1, 8];

/** The name of what a run is at before it says anything. */
export const START = "the start";

/** Memory that holds what a run is at: one thread writes it, and another reads it though the first is blocked. */
export type Whereabouts = SharedArrayBuffer;

/** A part of a run. */
export interface Stage {
  readonly what: string;
  /** Milliseconds that it took, or has taken. */
  readonly milliseconds: number;
}

interface Written {
  readonly what: string;
  /** When it began, by {@link now}. */
  readonly since: number;
  /** The one that took longest of those that are over. */
  readonly longest: Stage;
}

/** Milliseconds of a clock that all threads share and nobody sets. */
export const now = (): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
};

/** A part of a run that goes on. */
interface Open {
  readonly what: string;
  /** How many were begun before it. */
  readonly number: number;
  /** When it was begun, or gone on with. */
  since: number;
}

let memory: Whereabouts | null = null;
let end = Number.POSITIVE_INFINITY;
let begun = 0;
/** What this thread is at: each stage is inside of the one before it. */
const stages: Open[] = [];
/** What goes on beside this thread, such as a child's work. */
const waits = new Set<Open>();
let longest: Stage = { what: START, milliseconds: 0 };

const open = (what: string): Open => ({ what, number: begun++, since: now() });

/** From now on what this thread is at is written there. @param until when the run has to be done, by {@link now} */
export function follow(until = Number.POSITIVE_INFINITY): Whereabouts {
  memory = new SharedArrayBuffer(HEADER + room);
  end = until;
  longest = { what: START, milliseconds: 0 };
  stages.splice(0, stages.length, open(START));
  waits.clear();
  write();
  return memory;
}

/**
 * Milliseconds that one thing which may never come may be waited for: a share of what is left of the run, so that however many
 * take all of theirs, something is left for the rest.
 */
export const share = (): number =>
  end === Number.POSITIVE_INFINITY ? 5000 : Math.max(1000, Math.round((end - now()) / 6));

/** Milliseconds that are left of the run; endless where it has no end. */
export const left = (): number => end - now();

/**
 * Says what is done next that may take its time: a path, a process, a source. When that is disposed, what was done before
 * goes on. Costs next to nothing where nobody follows.
 */
export function during(what: string): Disposable {
  if (memory === null) return nothing;
  pause();
  const stage = open(what);
  stages.push(stage);
  write();
  return {
    [Symbol.dispose]: () => {
      if (stage === stages.at(-1)) pause();
      stages.splice(stages.indexOf(stage), 1);
      const outer = stages.at(-1);
      if (outer !== undefined) outer.since = now();
      write();
    },
  };
}

/** Says what is waited for that goes on beside what this thread does, and beside other waits. */
export async function awaiting<Value>(what: string, value: Promise<Value>): Promise<Value> {
  const wait = open(what);
  waits.add(wait);
  write();
  try {
    return await value;
  } finally {
    over(wait);
    waits.delete(wait);
    write();
  }
}

const nothing: Disposable = { [Symbol.dispose]() {} };

/** Stops the clock of the innermost stage. */
function pause(): void {
  const stage = stages.at(-1);
  if (stage !== undefined) over(stage);
}

function over({ what, since }: Open): void {
  const milliseconds = now() - since;
  if (milliseconds > longest.milliseconds) longest = { what, milliseconds };
}

/** What the run is at: what this thread began beside what it waits for, or else what it has waited for longest. */
function current(): Open {
  const stage = stages.at(-1) ?? open(START);
  const [wait] = waits;
  return wait === undefined || stage.number > wait.number ? stage : wait;
}

function write(): void {
  if (memory === null) return;
  const words = new Int32Array(memory, 0, HEADER / 4);
  const cut = ({ what }: { what: string }): string => what.slice(0, room / 16);
  const at = current();
  const text = JSON.stringify({
    what: cut(at),
    since: at.since,
    longest: { ...longest, what: cut(longest) },
  } satisfies Written);
  Atomics.add(words, WRITES, 1);
  const { written } = new TextEncoder().encodeInto(text, new Uint8Array(memory, HEADER));
  Atomics.store(words, LENGTH, written);
  Atomics.add(words, WRITES, 1);
}

/**
 * What the other thread is at, and before that what took it longest; null where that is being written all the time.
 * @param at when it was, by that thread's {@link now}: the clock of another process began at another time
 */
export function readWhereabouts(memory: Whereabouts, at = now()): { current: Stage; longest: Stage } | null {
  const words = new Int32Array(memory, 0, HEADER / 4);
  for (let tries = 0; tries < 1000; tries += 1) {
    const before = Atomics.load(words, WRITES);
    const text = new TextDecoder().decode(
      new Uint8Array(memory, HEADER).slice(0, Atomics.load(words, LENGTH)),
    );
    if (before % 2 !== 0 || Atomics.load(words, WRITES) !== before) continue;
    const { what, since, longest }: Written = JSON.parse(text);
    return { current: { what, milliseconds: at - since }, longest };
  }
  return null;
}
