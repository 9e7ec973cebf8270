import { defineCommand } from "citty";
import * as v from "valibot";
import { SystemError } from "../../ffi/error.ts";
import { Libbpf } from "../../ffi/libbpf.ts";
import { assetBytes } from "../assets.ts";
import { type Source, type Subject, subjectIn } from "../bytecode/constants.ts";
import { type Config, configOf, loadConfig } from "../config.ts";
import { withinDeadline } from "../deadline.ts";
import { hostFiles } from "../host/files.ts";
import { probeHost } from "../host/report.ts";
import { formatVersion, type Verified, type VerifiedTls, verifySchema } from "../output/document.ts";
import { exitCodes, Failure, failureText } from "../output/failure.ts";
import { toJson } from "../output/json.ts";
import { log } from "../output/log.ts";
import { Meter } from "../output/meter.ts";
import { writeStdout } from "../output/stdout.ts";
import { toVerifyTable } from "../output/table.ts";
import type { Scope } from "../tls/scan.ts";
import { hasHeld, verifiedKernel, verifiedTls, type Where } from "../verify/report.ts";
import type { Watched } from "../verify/tls.ts";
import { constantsFor, readDocument, readWhole } from "./constants.ts";
import { type Flags, usage, type VerifyTlsFlags, verifyFlags, verifyTlsFlags } from "./flags.ts";
import { formatFor, tellDiagnostics } from "./print.ts";
import { look } from "./run.ts";

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
    const source = args.constants === undefined ? null : readDocument(args.constants);
    const allowed = config.deadline + (watch?.milliseconds ?? 0);
    await print(args, allowed, () => verifyLibraries(args, config, { source, watch }));
  },
});

export default defineCommand({
  meta: { name: "verify", description: "Prove the constants on this machine: kernel, tls" },
  subCommands: { kernel, tls },
});

const libbpf = (): Libbpf => new Libbpf(assetBytes("libbpf.so"));

export const whereOf = ({ proc_root: proc, bytecode: choice }: Config): Where => ({
  version: probeHost(hostFiles("/", proc)).kernel.version,
  choice,
});

/** Does it within the time and prints what came of it; 3 where something did not hold. */
async function print(args: Flags, milliseconds: number, verify: () => Promise<Verified>): Promise<void> {
  const asFormat = formatFor(args.format);
  const asText = (failure: Failure): string => failureText(failure, asFormat);
  const verified = await withinDeadline(milliseconds, asText, () => permitted(verify));
  const document = v.parse(verifySchema, { format_version: formatVersion, verify: verified });
  await writeStdout(asFormat === "json" ? toJson(document) : toVerifyTable(document));
  process.exitCode = hasHeld(verified) ? exitCodes.known : exitCodes.incomplete;
}

/** Where the kernel lets no program in, nothing can be verified. */
async function permitted<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Failure("E_VERIFY", `nothing can be verified here: ${error.message}`, exitCodes.impossible);
  }
}

/** Bytes of a key log that are read. */
const largestKeylog = 64 << 20;

/** A process that is watched for some time, and its key log. */
interface Watch {
  readonly pid: number;
  readonly keylog: string;
  readonly milliseconds: number;
}

/** @throws Failure with exit code 2 where the flags do not go together */
function watchOf({ pid, against, seconds }: VerifyTlsFlags): Watch | null {
  if (pid === undefined) {
    if (against !== undefined || seconds !== undefined) throw usage("--against and --seconds need --pid");
    return null;
  }
  if (against === undefined) throw usage("--pid needs --against FILE, the key log that the process writes");
  if (!/^[1-9]\d{0,9}$/.test(pid)) throw usage(`--pid cannot be ${JSON.stringify(pid)}: a process's number`);
  if (seconds !== undefined && !/^[1-9]\d{0,3}$/.test(seconds))
    throw usage(`--seconds cannot be ${JSON.stringify(seconds)}: 1 to 9999`);
  return { pid: Number(pid), keylog: against, milliseconds: Number(seconds ?? 10) * 1000 };
}

/** Verifies each library in scope while its files are open. */
async function verifyLibraries(
  args: VerifyTlsFlags,
  config: Config,
  { source, watch }: { source: Source | null; watch: Watch | null },
): Promise<Verified> {
  const where = whereOf(config);
  const watched = watch === null ? undefined : watchedOf(watch);
  const found: VerifiedTls[] = [];
  const scope: Scope =
    args.path !== undefined
      ? { kind: "files", paths: [args.path] }
      : watch === null
        ? { kind: "machine", deep: false }
        : { kind: "process", pid: watch.pid };
  // Where the constants come from elsewhere nothing is measured.
  const measured: Config = source === null ? config : { ...config, source: ["table"] };
  const document = await look(["tls"], measured, scope, async (report, open) => {
    const { path, root, library, version, constants, fields } = report;
    if (path === null || Object.keys(constants).length === 0) return;
    const subject: Subject =
      source === null
        ? { name: path, constants, fields, library: { library, version } }
        : subjectIn(source, path);
    found.push(
      await verifiedTls(libbpf(), { path, root, subject, open, ...(watched && { watched }) }, where),
    );
  });
  tellDiagnostics(document.diagnostics);
  if (found.length === 0) throw new Failure("E_VERIFY", "no TLS library was found that could be verified");
  return { tls: found };
}

/** The process ends, the time is over, or somebody has seen enough. */
function watchedOf({ pid, keylog, milliseconds }: Watch): Watched {
  const end = performance.now() + milliseconds;
  const meter = new Meter();
  let isInterrupted = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => (isInterrupted = true));
  const isThere = (): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  return {
    pid,
    keylog: () => new TextDecoder().decode(readWhole(keylog, largestKeylog)),
    goesOn: () => {
      const left = end - performance.now();
      const isGoingOn = !isInterrupted && left > 0 && isThere();
      if (isGoingOn)
        meter.show("seconds watched", Math.floor((milliseconds - left) / 1000), milliseconds / 1000);
      else meter.clear();
      return isGoingOn;
    },
  };
}
