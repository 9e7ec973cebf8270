import type { Libbpf } from "../../ffi/libbpf.ts";
import { type BakeSubject, chooseValues, type Latitude } from "../bytecode/constants.ts";
import { bakeEmbedded, embeddedObject } from "../bytecode/objects.ts";
import { type KernelClass, pickSocketReader, pickTls } from "../bytecode/pick.ts";
import type { Answer } from "../host/answer.ts";
import type { LibraryReport } from "../output/document.ts";
import type { VerifiedKernel, VerifiedTls } from "../output/verify-schema.ts";
import { isKnownLibrary } from "../tls/layouts/layouts.ts";
import type { OpenLibrary } from "../tls/tls.ts";
import { type KernelVerification, type Unseen, verifyKernel } from "./kernel-reads.ts";
import {
  type BakedObject,
  type TlsVerification,
  verifyProcess,
  verifySessions,
  type Watched,
} from "./tls-reads.ts";

/** How many sockets of each kind are looked at. */
const ROUNDS = 8;

/**
 * Programs that are left out: OpenSSL itself calls these functions some 20 times a handshake at each end, and the next function that the
 * application calls tells the same.
 */
const chatty: ReadonlySet<string> = new Set(["uprobe_SSL_in_init", "uprobe_SSL_in_before"]);

/**
 * What the objects take only where something else could not be read. They are left absent: a descriptor that SSL_ST_WBIO led
 * to would hide that SSL_ST_RBIO is wrong.
 */
const isFallback = (constant: string): boolean => /_ST_WBIO$|^SSL_SESSION_ST_CIPHER_ID$/.test(constant);

/** Numbers are verified as they were told, and what was not told is left out. */
const asTold: Latitude = { missing: true, assumed: true };

/** The kernel on which it is verified, and which objects may be loaded. */
export interface Where {
  readonly version: readonly [number, number, number];
  readonly choice: KernelClass;
  /** Whether kprobes may be attached. */
  readonly kprobes: Answer;
}

/** Proves the kernel's constants on fresh sockets. @throws SystemError where the kernel lets no program in */
export function verifiedKernel(
  libbpf: Libbpf,
  subject: BakeSubject,
  { version, choice, kprobes }: Where,
  trace: (message: string) => void,
): VerifiedKernel {
  const { bytecode: name, bytecode_reason: why } = pickSocketReader(version, choice);
  if (name === null) throw new Error(why);
  const names = embeddedObject(name).constants.map((constant) => constant.name);
  const { values } = chooseValues(names, subject, asTold);
  const bake = (filter: ReadonlyMap<string, bigint>) => bakeEmbedded(name, new Map([...values, ...filter]));
  const result = verifyKernel(libbpf, { bake, name, rounds: ROUNDS, kprobes });
  for (const refused of result.refused) trace(refused);
  return {
    bytecode: name,
    attached: [...result.attached],
    ...byConstant(result, values),
    not_seen: byKind(result.unseen),
  };
}

/** Counts the sockets that were not seen, with the reason of the first. */
const byKind = (unseen: readonly Unseen[]): VerifiedKernel["not_seen"] =>
  Object.fromEntries(
    [...Map.groupBy(unseen, ({ socket }) => socket)].map(([socket, own]) => [
      socket,
      { sockets: own.length, reason: own[0]?.reason ?? "" },
    ]),
  );

/** Counts what held of each constant. A comparison that rests on a constant that is absent says nothing. */
function byConstant(
  { comparisons }: KernelVerification,
  values: ReadonlyMap<string, bigint | null>,
): Pick<VerifiedKernel, "constants" | "not_compared"> {
  const known = [...values].flatMap(([name, value]) => (value === null ? [] : [name]));
  const told = comparisons.filter((one) => one.constants.every((name) => known.includes(name)));
  const constants: VerifiedKernel["constants"] = {};
  for (const name of known) {
    const own = told.filter((one) => one.constants.includes(name));
    if (own.length === 0) continue;
    const wrong = own.filter(({ expected, got }) => expected !== got);
    const [first] = wrong;
    constants[name] = {
      compared: own.length,
      held: own.length - wrong.length,
      ...(first && { mismatch: { socket: first.socket, expected: first.expected, got: first.got } }),
    };
  }
  return { constants, not_compared: [...values.keys()].filter((name) => !Object.hasOwn(constants, name)) };
}

/** What of a library is verified: sessions that it makes with itself, or those of a process. */
export interface VerifiedLibrary {
  readonly path: string;
  readonly root?: string | undefined;
  readonly subject: BakeSubject;
  /** Where the library's functions begin, as far as that is known. */
  readonly functions: LibraryReport["functions"];
  readonly open: OpenLibrary;
  readonly watched?: Watched;
}

/** Proves a library's constants on live sessions. @throws SystemError where the kernel lets no program in */
export async function verifiedTls(
  libbpf: Libbpf,
  { path, root, subject, functions, open, watched }: VerifiedLibrary,
  { version, choice }: Where,
): Promise<VerifiedTls> {
  const { constants, library } = subject;
  const named = { path, ...(root === undefined ? {} : { root }) };
  const nothing = {
    attached: [],
    connections: 0,
    ends: 0,
    missed: 0,
    events: 0,
    lost: 0,
    items: {},
    not_compared: [],
    not_known: [],
  };
  if (library === null) throw new Error(`${path} is no library`);
  const { bytecode: name, bytecode_reason: why } = pickTls({ ...library, constants }, version, choice);
  const kind = library.library;
  if (name === null || !isKnownLibrary(kind)) return { ...named, ...nothing, bytecode: null, reason: why };
  const object = embeddedObject(name);
  const names = object.constants.map((constant) => constant.name);
  const { values: chosen, missing } = chooseValues(names, subject, asTold);
  const values = new Map([...chosen].map(([one, value]) => [one, isFallback(one) ? null : value]));
  const not_known = missing.filter((one) => !isFallback(one));
  const baked: BakedObject = {
    name,
    bytes: bakeEmbedded(name, values),
    programs: object.programs.map((program) => program.name).filter((program) => !chatty.has(program)),
    values,
    functions,
  };
  const result = await (watched === undefined
    ? verifySessions(libbpf, baked, kind, open)
    : verifyProcess(libbpf, baked, open.files, watched));
  if ("reason" in result) return { ...named, ...nothing, bytecode: name, not_known, reason: result.reason };
  return { ...named, bytecode: name, ...byItem(result, values), not_known };
}

/** Counts what held of each item of a connection. */
function byItem(
  { attached, comparisons, ...counts }: TlsVerification,
  values: ReadonlyMap<string, bigint | null>,
): Omit<VerifiedTls, "path" | "root" | "bytecode" | "not_known"> {
  const items = Object.fromEntries(
    [...Map.groupBy(comparisons, ({ item }) => item)].map(([item, own]) => [
      item,
      {
        compared: own.length,
        held: own.filter(({ held }) => held).length,
        constants: [...(own[0]?.constants ?? [])],
      },
    ]),
  );
  const compared = new Set(comparisons.flatMap(({ constants }) => constants));
  return {
    attached: [...attached],
    ...counts,
    items,
    not_compared: [...values.keys()].filter((name) => !compared.has(name)),
    ...(counts.connections === 0 ? { reason: "the key log got no connection in that time" } : {}),
  };
}
