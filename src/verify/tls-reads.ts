import * as v from "valibot";
import { RLIMIT_CORE, setLimit, setUndumpable } from "../../ffi/confinement.ts";
import type { Libbpf } from "../../ffi/libbpf.ts";
import type { FileDescriptor } from "../../ffi/libc.ts";
import { socketPair } from "../../ffi/socket-calls.ts";
import type { Elf } from "../elf/elf.ts";
import type { LibraryReport } from "../output/document.ts";
import { share } from "../self/whereabouts.ts";
import { runChild } from "../tls/child/child.ts";
import type { KnownLibrary } from "../tls/layouts/layouts.ts";
import type { Trust } from "../tls/probe/closure.ts";
import { filesToLoad, type LibraryFiles } from "../tls/probe/probe.ts";
import { sessionsSchema } from "../tls/probe/sessions.ts";
import { TlsCapture } from "./capture.ts";
import { type Compared, compareConnections, type Expected, surelyWatched } from "./compare.ts";
import { Connections, type ReadEnd } from "./connections.ts";
import type { KeyLog } from "./key-log-file.ts";

/**
 * Milliseconds between two looks at what was read, and at whether it is to go on. Who waits for events is woken for each, by the
 * process that is watched, which takes that longer than the program does.
 */
const pause = 5;
/** Milliseconds after a secret was logged, in which the library's next function is called. */
const aftermath = 300;

/** An object to verify a library with. */
export interface BakedObject {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly programs: readonly string[];
  /** The constants in it; null: absent. */
  readonly values: ReadonlyMap<string, bigint | null>;
  /** Where functions of the library begin; those that no symbol tells, too. */
  readonly functions: LibraryReport["functions"];
}

export interface TlsVerification extends Compared {
  /** Functions that were watched. */
  readonly attached: readonly string[];
  /** Connections that were compared. */
  readonly connections: number;
  readonly events: number;
  /** Events that found no room. */
  readonly lost: number;
}

/** The reason why nothing could be compared. */
export interface Unverified {
  readonly reason: string;
}

/**
 * Has a library make sessions with itself in a confined child while the object watches, and compares what was read with
 * what the child tells: descriptors, versions, ciphers, and of each secret in its key log the digest. No secret leaves
 * either process.
 *
 * @throws SystemError where the kernel lets no program in
 */
export async function verifySessions(
  libbpf: Libbpf,
  baked: BakedObject,
  library: KnownLibrary,
  { files, trust }: { readonly files: LibraryFiles; readonly trust: Trust },
): Promise<TlsVerification | Unverified> {
  const loadable = filesToLoad(files, trust);
  if ("reason" in loadable) {
    const advice = "a process that uses it can be watched: --pid PID --against KEYLOG";
    return { reason: `${loadable.reason}; ${advice}` };
  }
  using loaded = loadable;
  using watch = new Watch(libbpf, baked, files.ssl);
  if (watch.isBlind) return blind;
  using sockets = new DisposableStack();
  const pair = socketPair().map((socket): FileDescriptor => sockets.use(socket));
  const fds = [...loaded.fds, ...pair.map(({ fd }) => fd)];
  const options = { files: fds, milliseconds: share(), libc: loaded.libc };
  const outcome = await watch.takeDuring(runChild("sessions", { library, crypto: loaded.crypto }, options));
  if (outcome.state !== "answered") return { reason: outcome.reason };
  const sessions = v.safeParse(sessionsSchema, outcome.answer);
  if (!sessions.success) return { reason: "what it answered is no answer" };
  watch.stop();
  const made = sessions.output.map(
    ({ client_fd: client, server_fd: server, secrets, ...session }): Expected => ({
      ...session,
      fds: { client, server },
      ends: 2,
      secrets: new Map(Object.entries(secrets)),
    }),
  );
  return watch.compare(() => made);
}

export interface Watched {
  /** The one process to watch; without it, every one that uses the library. */
  readonly pid?: number;
  /** The key log that a process itself writes, from here on. */
  readonly keylog: () => KeyLog;
  /** Whether it is to go on. */
  readonly goesOn: () => boolean;
}

/**
 * Watches a library's connections for as long as it is to go on, and compares what was read of those that the key log got
 * in that time, see {@link surelyWatched}. Of one that both ends of were read, both are compared.
 *
 * @throws SystemError where the kernel lets no program in, InputError where the key log is none
 */
export async function verifyProcess(
  libbpf: Libbpf,
  baked: BakedObject,
  { ssl }: LibraryFiles,
  { pid, keylog, goesOn }: Watched,
): Promise<TlsVerification | Unverified> {
  using watch = new Watch(libbpf, baked, ssl, pid);
  if (watch.isBlind) return blind;
  // What goes on from here on is read: everything is attached. What is over by now may still be logged.
  const log = keylog();
  await watch.takeWhile(goesOn);
  using added = log.added();
  const end = performance.now() + aftermath;
  await watch.takeWhile(() => performance.now() < end);
  watch.stop();
  const logged = [...added.digests()].map(([random, secrets]): Expected => ({ random, ends: 1, secrets }));
  return watch.compare((read) => surelyWatched(logged, read));
}

/**
 * This process is about to hold secrets: from here on it leaves no core dump, and nobody but root may look into it. A
 * core_pattern with a pipe does not heed the limit, hence both.
 */
export function sealProcess(): void {
  setUndumpable();
  setLimit(RLIMIT_CORE, 0);
}

const blind: Unverified = {
  reason:
    "it has no symbol of a function to watch, and nothing else leads to one: a build that is not stripped of its public functions can be",
};

/** A library that is watched, and what was read of its connections. */
class Watch implements Disposable {
  readonly #values: BakedObject["values"];
  readonly #connections = new Connections();
  readonly #capture: TlsCapture;
  #lost = 0;

  constructor(libbpf: Libbpf, { values, ...object }: BakedObject, elf: Elf, pid?: number) {
    this.#values = values;
    this.#capture = new TlsCapture(libbpf, { ...object, elf, pid }, (event) => this.#connections.add(event));
  }

  /** Whether nothing could be attached. */
  get isBlind(): boolean {
    return this.#capture.attached.length === 0;
  }

  /** Takes events for as long as it is to go on. */
  async takeWhile(goesOn: () => boolean): Promise<void> {
    while (goesOn()) {
      this.#capture.take();
      await Bun.sleep(pause);
    }
  }

  /** Takes events meanwhile: where others use the library too, they would fill the buffer. */
  async takeDuring<Result>(pending: Promise<Result>): Promise<Result> {
    let isOver = false;
    const result = pending.finally(() => {
      isOver = true;
    });
    await this.takeWhile(() => !isOver);
    return result;
  }

  /** Takes what came last, and detaches: nobody takes events while the rest is done. */
  stop(): void {
    this.#capture.take();
    this.#lost = this.#capture.lost;
    this.#capture[Symbol.dispose]();
  }

  /** @param expect what is known of the connections, of which those were read */
  compare(expect: (read: readonly ReadEnd[]) => readonly Expected[]): TlsVerification {
    const { events, dropped } = this.#connections;
    const read = this.#connections.ends();
    const expected = expect(read);
    return {
      attached: this.#capture.attached,
      connections: expected.length,
      events,
      lost: this.#lost + dropped,
      ...compareConnections(expected, read, this.#values),
    };
  }

  [Symbol.dispose](): void {
    this.#capture[Symbol.dispose]();
    this.#connections[Symbol.dispose]();
  }
}
