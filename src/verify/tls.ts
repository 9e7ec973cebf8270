import * as v from "valibot";
import type { Libbpf } from "../../ffi/libbpf.ts";
import { type FileDescriptor, socketPair } from "../../ffi/libc.ts";
import { runChild } from "../tls/child/run.ts";
import { filesToLoad, type LibraryFiles, type Trust } from "../tls/probe/evidence.ts";
import { parseKeylog } from "../tls/probe/keylog.ts";
import { digestOf, sessionsSchema } from "../tls/probe/sessions.ts";
import { type CaptureOptions, TlsCapture } from "./capture.ts";
import { type Comparison, compareConnections, type Expected } from "./compare.ts";

/** Milliseconds for the child; a real library takes 100. */
const longestSessions = 5000;
/** Milliseconds between two looks at whether it is to go on. */
const pause = 50;

/** An object to verify a library with. */
export interface Baked {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly programs: readonly string[];
  /** The constants in it; null: absent. */
  readonly values: ReadonlyMap<string, bigint | null>;
}

export interface TlsVerification {
  /** Functions that were watched. */
  readonly attached: readonly string[];
  /** Connections that were compared, of both ends. */
  readonly connections: number;
  readonly events: number;
  /** Events that found no room. */
  readonly lost: number;
  readonly comparisons: readonly Comparison[];
}

/** Nothing could be compared, and why. */
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
  baked: Baked,
  files: LibraryFiles,
  trust: Trust,
): Promise<TlsVerification | Unverified> {
  const loadable = filesToLoad(files, trust);
  if ("reason" in loadable) return loadable;
  using capture = captureOf(libbpf, baked, { elf: files.ssl });
  if (capture.attached.length === 0) return { reason: "it has no symbol of a function to watch" };
  using sockets = new DisposableStack();
  const pair = socketPair().map((socket): FileDescriptor => sockets.use(socket));
  const outcome = await runChild("sessions", null, {
    files: [...loadable.fds, ...pair.map(({ fd }) => fd)],
    milliseconds: longestSessions,
  });
  if (outcome.state !== "answered") return { reason: outcome.reason };
  const sessions = v.safeParse(sessionsSchema, outcome.answer);
  if (!sessions.success) return { reason: "what it answered is no answer" };
  const expected = sessions.output.map(
    ({ random, version, cipher_id, client_fd: client, server_fd: server, secrets }): Expected => ({
      random,
      version,
      cipher_id,
      fds: { client, server },
      secrets: new Map(Object.entries(secrets)),
    }),
  );
  return result(capture, baked, expected, 2);
}

export interface Watched {
  readonly pid: number;
  /** The key log that the process itself writes, as it stands when asked for. */
  readonly keylog: () => string;
  /** Whether it is to go on. */
  readonly goesOn: () => boolean;
}

/**
 * Watches a process for as long as it is to go on, and compares what was read of its connections with what its own key log
 * got in that time. Secrets are compared as digests, and wiped.
 *
 * @throws SystemError where the kernel lets no program in
 */
export async function verifyProcess(
  libbpf: Libbpf,
  baked: Baked,
  { ssl }: LibraryFiles,
  { pid, keylog, goesOn }: Watched,
): Promise<TlsVerification | Unverified> {
  const before = new Set(parseKeylog(keylog()).keys());
  using capture = captureOf(libbpf, baked, { elf: ssl, pid });
  if (capture.attached.length === 0) return { reason: "it has no symbol of a function to watch" };
  while (goesOn()) {
    capture.poll(pause);
    await new Promise(setImmediate); // for the signals that end this
  }
  const logged = [...parseKeylog(keylog())].filter(([random]) => !before.has(random));
  // A secret is logged a moment before the library's next function is called.
  capture.poll(pause);
  const expected = logged.map(
    ([random, secrets]): Expected => ({
      random,
      secrets: new Map([...secrets].map(([label, secret]) => [label, digestOf(secret)])),
    }),
  );
  return result(capture, baked, expected, 1);
}

const captureOf = (
  libbpf: Libbpf,
  { name, bytes, programs }: Baked,
  where: Pick<CaptureOptions, "elf" | "pid">,
) => new TlsCapture(libbpf, { name, bytes, programs, ...where });

function result(
  capture: TlsCapture,
  { values }: Baked,
  expected: readonly Expected[],
  ends: number,
): TlsVerification {
  capture.poll(0);
  const { attached, events, lost, connections } = capture;
  const comparisons = compareConnections(expected, connections, values, ends);
  return { attached, connections: expected.length, events, lost, comparisons };
}
