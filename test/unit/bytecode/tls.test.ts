import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { Libbpf } from "../../../ffi/libbpf.ts";
import { assetBytes } from "../../../src/assets.ts";
import { chooseValues, type Subject } from "../../../src/bytecode/constants.ts";
import { readTlsEvent, type TlsEvent } from "../../../src/bytecode/events.ts";
import { keyLogOf } from "../../../src/bytecode/keylog.ts";
import { bakeEmbedded, embeddedObject } from "../../../src/bytecode/objects.ts";
import { pickTls } from "../../../src/bytecode/pick.ts";
import { Elf, segment } from "../../../src/elf/elf.ts";
import { findFunctions } from "../../../src/elf/symbols.ts";
import { tlsReports } from "../../../src/tls/report.ts";
import { debianPackage, fetchTimeout, loadSamples } from "../tls/debian.ts";
import { OpenSsl, type Session } from "./live.ts";

const KERNEL = [6, 18, 0] as const;
const LIB = "usr/lib/x86_64-linux-gnu";
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Where a function of a library begins in its file. */
function placeOf(path: string, name: string): number | null {
  using elf = Elf.open(realpathSync(path));
  const address = findFunctions(elf, [name]).get(name)?.[0]?.address;
  const within = elf.programHeaders.find(
    ({ type, vaddr, filesz }) =>
      type === segment.load && address !== undefined && address >= vaddr && address < vaddr + filesz,
  );
  return address === undefined || within === undefined ? null : within.offset + address - within.vaddr;
}

/** The constants of a library as `offsetof tls` tells them, and the object that serves it. */
async function subjectOf(
  path: string,
  choice: "current" | "old",
): Promise<{ subject: Subject; name: string }> {
  const { reports } = await tlsReports({ scope: { kind: "files", paths: [path] } });
  const [report] = reports;
  if (report === undefined) throw new Error(`${path}: no report`);
  const { constants, fields, library, version } = report;
  const { bytecode } = pickTls(report, KERNEL, choice);
  if (bytecode === null) throw new Error(`${path}: no object`);
  return { subject: { name: path, constants, fields, library: { library, version } }, name: bytecode };
}

/** Runs sessions with an object attached to every function of the library that it has a program for. */
async function capture(
  path: string,
  choice: "current" | "old",
  sessions: (poll: () => void) => Promise<Session>,
  change: (values: Map<string, bigint | null>) => void = () => {},
): Promise<{ events: TlsEvent[]; session: Session; name: string }> {
  const { subject, name } = await subjectOf(path, choice);
  const embedded = embeddedObject(name);
  const names = embedded.constants.map((constant) => constant.name);
  const values = new Map(chooseValues(names, subject, false).values);
  change(values);
  using object = new Libbpf(assetBytes("libbpf.so")).openObject(bakeEmbedded(name, values), name);
  object.load();
  const events: TlsEvent[] = [];
  using reader = object.map("events").events((record) => events.push(readTlsEvent(record)));
  using stack = new DisposableStack();
  for (const program of embedded.programs) {
    const offset = placeOf(path, program.name.replace("uprobe_", ""));
    if (offset !== null) stack.use(object.program(program.name).attachUprobe(realpathSync(path), offset));
  }
  const session = await sessions(() => reader.consume());
  reader.consume();
  expect(reader.lost).toBe(0);
  return { events, session, name };
}

beforeAll(loadSamples, fetchTimeout);

const libraries = [
  {
    name: "the system's",
    program: "openssl",
    folder: () => `/${LIB}`,
    file: "libssl.so.3",
    object: "tls_openssl_3_0",
  },
  {
    name: "Debian 11's 1.1.1",
    program: () => join(debianPackage("bullseye", "amd64", "openssl").root, "usr/bin/openssl"),
    folder: () => join(debianPackage("bullseye", "amd64", "libssl1.1").root, LIB),
    file: "libssl.so.1.1",
    object: "tls_openssl_1_1",
  },
] as const;

describe.each(libraries)("$name libssl", ({ program, folder, file, object }) => {
  let openssl: OpenSsl;
  beforeAll(async () => {
    openssl = new OpenSsl(typeof program === "string" ? program : program(), folder());
    await openssl.certify();
  });
  afterAll(() => openssl[Symbol.dispose]());

  describe.each(["current", "old"] as const)("the %s object", (choice) => {
    test.each(["tls1_2", "tls1_3"] as const)(
      "%s: the key log's secrets, the descriptor, the role",
      async (version) => {
        const path = join(folder(), file);
        const { events, session, name } = await capture(path, choice, (poll) =>
          openssl.session(version, poll),
        );
        expect(name).toBe(choice === "old" ? `${object}_old` : object);
        for (const [random, expected] of session.keyLog) {
          for (const [side, pid] of Object.entries({
            client: session.client.pid,
            server: session.server.pid,
          })) {
            const own = events.filter(
              ({ tgid, client_random }) =>
                tgid === pid && client_random !== null && hex(client_random) === random,
            );
            const captured = new Map(
              own.flatMap((event) => [...keyLogOf(event)].map(([label, value]) => [label, hex(value)])),
            );
            expect([side, Object.fromEntries(captured)]).toEqual([side, Object.fromEntries(expected)]);
            const last = own.at(-1);
            expect(last?.server).toBe(side === "server");
            expect(last?.version).toBe(version === "tls1_2" ? 0x0303 : 0x0304);
            if (side === "client") expect(session.client.sockets).toContain(last?.fd ?? -1);
          }
        }
        expect(session.keyLog.size).toBe(1);
      },
      30_000,
    );
  });

  test("a constant that is off by 8 shows, one that is absent is left out", async () => {
    const path = join(folder(), file);
    const { events, session } = await capture(
      path,
      "current",
      (poll) => openssl.session("tls1_3", poll),
      (values) => {
        for (const [name, value] of values) {
          if (name.endsWith("_HANDSHAKE_SECRET")) values.set(name, (value ?? 0n) + 8n);
          if (name.endsWith("_EXPORTER_MASTER_SECRET") || name.endsWith("_RBIO") || name.endsWith("_WBIO"))
            values.set(name, null);
        }
      },
    );
    const [expected] = session.keyLog.values();
    const own = events.filter(({ tgid }) => tgid === session.client.pid);
    const captured = new Map(
      own.flatMap((event) => [...keyLogOf(event)].map(([label, value]) => [label, hex(value)])),
    );
    expect(captured.get("CLIENT_HANDSHAKE_TRAFFIC_SECRET")).not.toBe(
      expected?.get("CLIENT_HANDSHAKE_TRAFFIC_SECRET"),
    );
    expect(captured.get("CLIENT_TRAFFIC_SECRET_0")).toBe(expected?.get("CLIENT_TRAFFIC_SECRET_0"));
    expect(captured.has("EXPORTER_SECRET")).toBe(false);
    expect(own.map(({ fd }) => fd)).toEqual(own.map(() => null));
  }, 30_000);
});
