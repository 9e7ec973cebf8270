import { readFileSync } from "node:fs";
import * as v from "valibot";
import { isAbandoned } from "../../ffi/socket-calls.ts";
import { pickTls } from "../bytecode/pick.ts";
import { type WatchEvent, watch } from "../fleet/watcher.ts";
import { hostFiles } from "../host/files.ts";
import { probeHost } from "../host/host.ts";
import type { LibraryReport } from "../output/document.ts";
import { usage } from "../output/failure.ts";
import { toJsonLine } from "../output/json.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { writeStdout } from "../output/stdout.ts";
import { STDOUT } from "../output/terminal.ts";
import { watchLineSchema } from "../output/watch-schema.ts";
import { exitCodes } from "./exit.ts";
import type { TlsFlags } from "./flags.ts";
import { allowanceOf, tlsPlaces } from "./look.ts";
import { tellDiagnostics } from "./print.ts";
import { configOf, loadConfig } from "./settings.ts";

/** Flags that say which libraries are meant, or how one document is printed. */
const others = ["pid", "root", "version-text", "constants", "only", "get"] as const;

/** Signals that end a watch; one that was ignored when this process was started is meant for others. */
const signals = [
  ["SIGHUP", 1],
  ["SIGINT", 2],
  ["SIGTERM", 15],
] as const;

/** Prints a line for each change until a signal comes or nobody reads any more. @throws Failure of wrong usage */
export async function watchTls(args: TlsFlags): Promise<void> {
  const other = others.find((flag) => args[flag] !== undefined);
  if (args._.length > 0 || args.all === true || other !== undefined)
    throw usage(
      `tls --watch is of all that processes use: it takes no ${other ? `--${other}` : "PATH or --all"}`,
    );
  if (args.format !== undefined && args.format !== "json")
    throw usage("tls --watch prints lines of JSON alone");
  const config = configOf(loadConfig({ flags: args, env: process.env }));
  const { version } = probeHost(hostFiles("/", config.proc_root)).kernel;
  const picked = (report: LibraryReport) => ({ ...report, ...pickTls(report, version, config.bytecode) });
  let isOver = false;
  const ignored = ignoredSignals();
  for (const [name, number] of signals)
    if (((ignored >> BigInt(number - 1)) & 1n) === 0n) process.on(name, () => (isOver = true));
  const tell = async (event: WatchEvent): Promise<void> => {
    const line = v.parse(watchLineSchema, {
      format_version: formatVersion,
      time: new Date().toISOString(),
      ...event,
      ...("library" in event && { library: event.library && picked(event.library) }),
    });
    if (!isOver && !(await writeStdout(`${toJsonLine(line)}\n`))) isOver = true;
  };
  await watch({
    tls: { ...tlsPlaces(config), sources: config.source, allow: allowanceOf(config) },
    tell,
    complain: tellDiagnostics,
    isOver: () => isOver || isAbandoned(STDOUT),
  });
  process.exitCode = exitCodes.known;
}

/** The signals that this process was started to ignore (SigIgn of proc_pid_status(5)), as a mask: bit 0 is signal 1. */
function ignoredSignals(): bigint {
  try {
    const text = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
    return BigInt(`0x${text ?? "0"}`);
  } catch {
    return 0n;
  }
}
