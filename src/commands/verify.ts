import { readFileSync } from "node:fs";
import { defineCommand } from "citty";
import * as v from "valibot";
import { SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { type BakeSubject, subjectIn } from "../bytecode/constants.ts";
import type { Chosen } from "../fleet/choose.ts";
import { hostFiles } from "../host/files.ts";
import { probeHost } from "../host/host.ts";
import type { Document, LibraryReport } from "../output/document.ts";
import { earlierOf } from "../output/earlier.ts";
import { Failure, usage } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { Meter } from "../output/meter.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { toVerifyTable } from "../output/table.ts";
import { type Verified, type VerifiedTls, verifySchema } from "../output/verify-schema.ts";
import { assetBytes } from "../self/assets.ts";
import type { Scope } from "../tls/find/find.ts";
import type { OpenLibrary } from "../tls/tls.ts";
import { hasHeld } from "../verify/held.ts";
import { KeyLog } from "../verify/key-log-file.ts";
import { sealProcess, type Watched } from "../verify/tls-reads.ts";
import { type VerifiedLibrary, verifiedKernel, verifiedTls, type Where } from "../verify/verify.ts";
import { chosenIn, constantsFor } from "./chosen.ts";
import { withinDeadline } from "./deadline.ts";
import { exitCodes } from "./exit.ts";
import { type Flags, type VerifyTlsFlags, verifyFlags, verifyTlsFlags } from "./flags.ts";
import { type Details, look } from "./look.ts";
import { formatFor, printAs, tellDiagnostics } from "./print.ts";
import { type Config, configOf, loadConfig } from "./settings.ts";

const kernel = defineCommand({
  meta: {
    name: "kernel",
    description: "Reads fresh sockets with the kernel's constants and compares with what it says",
  },
  args: verifyFlags,
  run: async ({ args }) => {
    const { subject } = await constantsFor("kernel", args);
    const config = configOf(loadConfig({ flags: args, env: process.env }));
    const where = whereOf(config);
    await print(args, config.deadline, async () => ({
      kernel: verifiedKernel(libbpf(), subject, where, (refused) => log.debug(refused)),
    }));
  },
});

const tls = defineCommand({
  meta: {
    name: "tls",
    description:
      "Reads live sessions with a library's constants and compares: sessions that it makes with itself, or a process's with its own key log",
  },
  args: verifyTlsFlags,
  run: async ({ args }) => {
    const config = configOf(loadConfig({ flags: args, env: process.env }));
    const watch = watchOf(args);
    const source = chosenIn(args, "tls");
    const allowed = config.deadline + (watch?.milliseconds ?? 0);
    await print(args, allowed, () => verifyLibraries(args, config, { source, watch }));
  },
});

export default defineCommand({
  meta: { name: "verify", description: "Prove the constants on this machine: kernel, tls" },
  subCommands: { kernel, tls },
});

let loaded: Libbpf | undefined;
/** The libbpf that verifies all libraries, loaded once: each loading would stay in memory to the end. */
const libbpf = (): Libbpf => {
  loaded ??= new Libbpf(assetBytes("libbpf.so"));
  return loaded;
};

/**
 * A failure where the kernel has no eBPF, or lockdown forbids what a verification does: each try would be a line in the
 * kernel's log (lockdown_is_locked_down).
 */
function attemptWhere({ proc_root: proc, bytecode: choice }: Config): Where | Failure {
  const { kernel, lockdown, kprobes, ebpf } = probeHost(hostFiles("/", proc));
  const why = ebpf.is === "no" ? ebpf.why : lockdown.level === "confidentiality" ? lockdown.why : null;
  return why === null
    ? { version: kernel.version, choice, kprobes }
    : new Failure("E_VERIFY", `nothing can be verified here: ${why}`, "impossible");
}

/** @throws Failure where nothing can be verified */
function whereOf(config: Config): Where {
  const where = attemptWhere(config);
  if (where instanceof Failure) throw where;
  return where;
}

/** Verifies within the deadline and prints what came of it; the exit code is 3 where something did not hold. */
async function print(args: Flags, milliseconds: number, verify: () => Promise<Verified>): Promise<void> {
  const format = formatFor(args.format);
  const verified = await withinDeadline({ milliseconds, format }, () => permitted(verify));
  const document = v.parse(verifySchema, { format_version: formatVersion, verify: verified });
  await printAs(document, format, toVerifyTable);
  process.exitCode = hasHeld(verified) ? exitCodes.known : exitCodes.incomplete;
}

const refusal = ({ message }: SystemError): string => `nothing can be verified here: ${message}`;

/** Runs `act`; a refusal of the system is told as a Failure that nothing can be verified. */
async function permitted<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Failure("E_VERIFY", refusal(error), "impossible");
  }
}

/** A document of this machine with these parts, and what came of verifying them; what cannot be is a diagnostic. */
export const lookAndVerify: typeof look = async (parts, config, question, { tell } = {}) => {
  const details: Details = { ...(tell && { tell }) };
  const where = attemptWhere(config);
  if (where instanceof Failure) {
    const document = await look(parts, config, question, details);
    const diagnostics = [...document.diagnostics, { code: where.code, message: where.message }];
    return { ...document, diagnostics };
  }
  if (parts.includes("tls")) sealProcess();
  const tls: VerifiedTls[] = [];
  const failures: unknown[] = [];
  const attempt = async (act: () => Promise<void> | void): Promise<void> => {
    try {
      await act();
    } catch (error) {
      failures.push(error);
    }
  };
  const each: Details["each"] = (report, open) =>
    attempt(async () => {
      const library = libraryOf(report, open, null);
      if (library !== null) tls.push(await verifiedTls(libbpf(), library, where));
    });
  const document = await look(parts, config, question, { ...details, each });
  const verify: Verified = parts.includes("tls") ? { tls: inOrder(tls, document) } : {};
  await attempt(() => {
    if (document.kernel === undefined) return;
    const subject = subjectIn(earlierOf(document), "kernel");
    verify.kernel = verifiedKernel(libbpf(), subject, where, (refused) => log.debug(refused));
  });
  for (const error of failures) if (!(error instanceof SystemError)) throw error;
  const messages = new Set(failures.map((error) => (error instanceof SystemError ? refusal(error) : "")));
  const diagnostics = [...messages].map((message) => ({ code: "E_VERIFY", message }));
  return { ...document, verify, diagnostics: [...document.diagnostics, ...diagnostics] };
};

/** What is verified of a report; null where it has no constants. Out of a document, where one is given. */
function libraryOf(report: LibraryReport, open: OpenLibrary, source: Chosen | null): VerifiedLibrary | null {
  const { path, root, library, version, match, constants, fields, functions } = report;
  if (path === null || Object.keys(constants).length === 0) return null;
  const subject: BakeSubject =
    source === null
      ? { name: path, constants, fields, library: { library, version, match } }
      : subjectIn(source, path, open.name);
  return { path, root, subject, functions, open };
}

/** Connections that are watched for some time, and the key log that they are compared with. */
interface Watch {
  /** The process whose connections are watched; null: every process that uses the library. */
  readonly pid: number | null;
  readonly keylog: string;
  readonly milliseconds: number;
}

/** @throws Failure of wrong usage where the flags do not go together */
function watchOf({ path, pid, against, seconds }: VerifyTlsFlags): Watch | null {
  if (against === undefined) {
    if (pid !== undefined) throw usage("--pid needs --against FILE, the key log that the process writes");
    if (seconds !== undefined) throw usage("--seconds needs --against FILE");
    return null;
  }
  if (pid === undefined && path === undefined)
    throw usage(
      "--against needs --pid PID, or the PATH of a library, whose connections are all watched then",
    );
  if (pid !== undefined && !/^[1-9]\d{0,9}$/.test(pid))
    throw usage(`--pid cannot be ${JSON.stringify(pid)}: a process's number`);
  if (seconds !== undefined && !/^[1-9]\d{0,3}$/.test(seconds))
    throw usage(`--seconds cannot be ${JSON.stringify(seconds)}: 1 to 9999`);
  return {
    pid: pid === undefined ? null : Number(pid),
    keylog: against,
    milliseconds: Number(seconds ?? 10) * 1000,
  };
}

/** Verifies each library in scope while its files are open. */
async function verifyLibraries(
  args: VerifyTlsFlags,
  config: Config,
  { source, watch }: { source: Chosen | null; watch: Watch | null },
): Promise<Verified> {
  const where = whereOf(config);
  sealProcess();
  const watched = watch === null ? undefined : watchedOf(watch);
  const found: VerifiedTls[] = [];
  const failures: unknown[] = [];
  // Where the constants come from elsewhere nothing is measured.
  const measured: Config = source === null ? config : { ...config, source: ["table"] };
  const each: Details["each"] = async (report, open) => {
    try {
      const library = libraryOf(report, open, source);
      if (library === null) return;
      if (watched !== undefined && found.length > 0)
        return log.warn(`${library.path} is not watched: one library is at a time, name it to watch it`);
      found.push(await verifiedTls(libbpf(), { ...library, ...(watched && { watched }) }, where));
    } catch (error) {
      failures.push(error);
    }
  };
  const document = await look(["tls"], measured, scopeOf(args, watch), { each, isAttached: true });
  for (const error of failures) throw error;
  tellDiagnostics(document.diagnostics);
  if (found.length === 0) throw new Failure("E_VERIFY", noneFound(args));
  return { tls: inOrder(found, document) };
}

/** What was verified, in the document's order. It was verified in another: libraries that only other users have are looked at last. */
function inOrder(verified: readonly VerifiedTls[], { tls = [] }: Document): VerifiedTls[] {
  const place = ({ root, path }: VerifiedTls): number =>
    tls.findIndex((one) => one.path === path && one.root === root);
  return verified.toSorted((one, other) => place(one) - place(other));
}

function scopeOf({ path }: VerifyTlsFlags, watch: Watch | null): Scope {
  if (path !== undefined) return { kind: "files", paths: [path] };
  if (watch !== null && watch.pid !== null) return { kind: "process", pid: watch.pid };
  return { kind: "machine", deep: false };
}

function noneFound({ path, pid }: VerifyTlsFlags): string {
  if (path !== undefined) return `${path} is no TLS library that is known, and has or uses none`;
  if (pid !== undefined)
    return `process ${pid} uses no TLS library that is known; one that it has not loaded yet can be named by its PATH`;
  return "no TLS library was found; name one by its PATH";
}

/** What ends a watch: the process's end, the end of the time, or SIGINT and SIGTERM. */
function watchedOf({ pid, keylog: path, milliseconds }: Watch): Watched {
  const keylog = (): KeyLog => readable(path);
  keylog(); // what is wrong with it is told before anything is done
  const meter = new Meter();
  let isInterrupted = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => (isInterrupted = true));
  let start: number | null = null;
  return {
    ...(pid === null ? {} : { pid }),
    keylog,
    goesOn: () => {
      const now = performance.now();
      if (start === null) log.debug(`${path}: what is logged from here on is compared`);
      start ??= now;
      const isGoingOn = !isInterrupted && now - start < milliseconds && (pid === null || isAlive(pid));
      if (isGoingOn) meter.show("seconds watched", Math.floor((now - start) / 1000), milliseconds / 1000);
      else meter.clear();
      return isGoingOn;
    },
  };
}

/** @throws Failure that names the key log and says what to do */
function readable(path: string): KeyLog {
  try {
    return new KeyLog(path);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const why = "code" in error ? `${path} cannot be read: ${error.code}` : error.message;
    const advice = "it is the file that the process was told to write by SSLKEYLOGFILE or --tls-keylog";
    throw new Failure("E_KEYLOG", `${why}; ${advice}`);
  }
}

/** Whether a process runs; one that nobody has waited for yet does not. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
