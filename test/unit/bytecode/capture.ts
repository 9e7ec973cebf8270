import { expect } from "bun:test";
import { realpathSync } from "node:fs";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { type BakeSubject, chooseValues } from "../../../src/bytecode/constants.ts";
import { type KeyLogLabel, secretsOf } from "../../../src/bytecode/event-secrets.ts";
import type { TlsEvent } from "../../../src/bytecode/events.ts";
import { bakeEmbedded, embeddedObject } from "../../../src/bytecode/objects.ts";
import { pickTls } from "../../../src/bytecode/pick.ts";
import { Elf } from "../../../src/elf/elf.ts";
import { assetBytes } from "../../../src/self/assets.ts";
import { tlsReports } from "../../../src/tls/tls.ts";
import { TlsCapture } from "../../../src/verify/capture.ts";

const KERNEL = [6, 18, 0] as const;
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The constants of a library as `offsetof tls` tells them, and the object that serves it. */
async function subjectOf(
  path: string,
  choice: "current" | "old",
): Promise<{ subject: BakeSubject; name: string }> {
  const { reports } = await tlsReports({ scope: { kind: "files", paths: [path] } });
  const [report] = reports;
  if (report === undefined) throw new Error(`${path}: no report`);
  const { constants, fields, library, version, match } = report;
  const { bytecode } = pickTls(report, KERNEL, choice);
  if (bytecode === null) throw new Error(`${path}: no object`);
  return { subject: { name: path, constants, fields, library: { library, version, match } }, name: bytecode };
}

export interface CaptureOptions {
  /** Changes the constants before they are written. */
  readonly change?: (values: Map<string, bigint | null>) => void;
  readonly allowMissing?: boolean;
}

/** Runs sessions with an object attached to every function of the library that it has a program for. */
export async function capture<Session>(
  path: string,
  choice: "current" | "old",
  sessions: (poll: () => void) => Promise<Session>,
  { change, allowMissing = false }: CaptureOptions = {},
): Promise<{ events: TlsEvent[]; session: Session; name: string }> {
  const { subject, name } = await subjectOf(path, choice);
  const embedded = embeddedObject(name);
  const names = embedded.constants.map((constant) => constant.name);
  const values = new Map(chooseValues(names, subject, { missing: allowMissing, assumed: false }).values);
  change?.(values);
  const events: TlsEvent[] = [];
  using elf = Elf.open(realpathSync(path));
  const bytes = bakeEmbedded(name, values);
  const programs = embedded.programs.map((program) => program.name);
  using watched = new TlsCapture(
    new Libbpf(assetBytes("libbpf.so")),
    { bytes, name, programs, elf, functions: {} },
    (event) => events.push(event),
  );
  const session = await sessions(() => watched.take());
  watched.take();
  expect(watched.lost).toBe(0);
  return { events, session, name };
}

/** What events tell of the secrets of one connection, in hex; later ones tell more. */
export const keyLogIn = (events: readonly TlsEvent[]): ReadonlyMap<KeyLogLabel, string> =>
  new Map(
    events.flatMap((event) => [...secretsOf(event)].map(([label, value]) => [label, hex(value)] as const)),
  );

/** Those of the connection with this random of the client's, in hex. */
export const eventsOf = (events: readonly TlsEvent[], random: string): TlsEvent[] =>
  events.filter((event) => event.client_random !== null && hex(event.client_random) === random);
