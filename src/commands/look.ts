import { LogLevels } from "consola/core";
import { cLibrary } from "../../ffi/libc.ts";
import { version } from "../../package.json";
import { pickTls } from "../bytecode/pick.ts";
import { hostFiles } from "../host/files.ts";
import { hostReport, probeHost } from "../host/host.ts";
import type { Asked } from "../kernel/asked.ts";
import type { Families } from "../kernel/fields/options.ts";
import type { Allowance } from "../offsets/truth.ts";
import type { Document, LibraryReport } from "../output/document.ts";
import { Failure } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { Meter } from "../output/meter.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { arch, assetBytes } from "../self/assets.ts";
import { during } from "../self/whereabouts.ts";
import type { Scope } from "../tls/find/find.ts";
import type { TlsOptions } from "../tls/tls.ts";
import type { Choice, Part } from "./choice.ts";
import { type Tell, withinDeadline, withLate } from "./deadline.ts";
import type { DocumentFlags, Flags, RunFlags } from "./flags.ts";
import { failureFormat, styleOf } from "./print.ts";
import { type Config, configOf, loadConfig, settings } from "./settings.ts";

/** Which TLS libraries are meant: those in a scope, here or in a tree that does not run here, or none but a version. */
export type TlsQuestion =
  | Scope
  | { readonly kind: "image"; readonly root: string; readonly scope: Scope }
  | { readonly kind: "version"; readonly text: string };

/**
 * Looks at this machine and puts the parts asked for into one document, within the deadline.
 *
 * @param choice what is printed of it at the deadline, in the place of all. Default: then it failed
 * @param asked members of the kernel's types that are asked for besides
 * @param looks what does so, where more is done with what it finds
 */
export async function collect(
  parts: readonly Part[],
  args: Flags | DocumentFlags | RunFlags,
  question: TlsQuestion = { kind: "machine", deep: false },
  choice?: Choice,
  asked = choice?.asked,
  looks: typeof look = look,
): Promise<Document> {
  const config = configOf(loadConfig({ flags: args, env: process.env }));
  const { deadline: milliseconds } = config;
  const format = failureFormat(args);
  const partial = choice && {
    printing: { command: "document", choice, style: styleOf(args), verbosity: log.level } as const,
    late: withLate<Document>,
  };
  return withinDeadline({ milliseconds, format, ...partial }, (tell) =>
    looks(parts, config, question, {
      tell,
      ...(asked && { asked }),
      isOnlyAsked: isOnlyAsked(choice),
      isAll: choice?.isAll === true,
    }),
  );
}

/** Callbacks that hear of a document while it grows, and what is asked for besides the constants of ours. */
export interface Details {
  /** Members of the kernel's types, and whether they are all that is wanted of the kernel. */
  readonly asked?: readonly Asked[];
  readonly isOnlyAsked?: boolean;
  readonly isAll?: boolean;
  /** Called with each library while its files are open. */
  readonly each?: TlsOptions["each"];
  readonly isAttached?: TlsOptions["isAttached"];
  /** Called with each part of the document as soon as it is ready. */
  readonly tell?: Tell;
}

/**
 * Looks at this machine as {@link collect} does, without a deadline.
 * @throws Failure where the kernel alone is asked for and has neither eBPF nor BTF
 */
export async function look(
  parts: readonly Part[],
  config: Config,
  question: TlsQuestion,
  { each, isAttached = false, tell, asked, isOnlyAsked = false, isAll = false }: Details = {},
): Promise<Document> {
  const host = probeHost(hostFiles("/", config.proc_root));
  for (const part of ["btf", "kprobes", "rawTracepoints", "tracefs", "lockdown"] as const) {
    log.debug(`${part}: ${host[part].why}`);
  }
  if (parts.every((part) => part === "kernel") && host.ebpf.is === "no" && host.btf.is === "no")
    throw new Failure("E_NO_EBPF", `${host.ebpf.why}; ${host.btf.why}`, "impossible");
  const { report, diagnostics } = hostReport(host);
  // libbpf's messages cost a call back into this runtime each, so they are asked for only where they are shown.
  const trace = log.level >= LogLevels.debug ? traceLines : undefined;
  const document: Document = {
    format_version: formatVersion,
    tool: { name: "offsetof", version, arch, libc: cLibrary() },
    host: report,
    diagnostics,
  };
  tell?.(document);
  if (parts.includes("kernel")) {
    using _ = during("the kernel");
    const { kernelReport } = await import("../kernel/kernel.ts");
    const isGuessing = asked !== undefined && config.source.includes("guess");
    const { crawlFor } = isGuessing ? await import("../kernel/crawled.ts") : {};
    const crawl = crawlFor?.(asked ?? []);
    const kernel = await kernelReport({
      host,
      asset: assetBytes,
      sources: config.source,
      strategy: config.strategy,
      bytecode: config.bytecode,
      threshold: config.threshold,
      retries: config.retries,
      families: familiesOf(config),
      stability: { window: config.stability_window, attempts: config.stability_attempts },
      ...(trace && { trace }),
      ...(asked && { asked, isOnlyAsked, isAll }),
      ...(crawl && { crawl }),
    });
    document.kernel = kernel.report;
    document.diagnostics.push(...kernel.diagnostics);
    tell?.({ kernel: kernel.report, diagnostics: kernel.diagnostics });
  }
  if (parts.includes("tls")) {
    using _ = during("the search for TLS libraries");
    const picked = (report: LibraryReport) => ({
      ...report,
      ...pickTls(report, host.kernel.version, config.bytecode),
    });
    const tls = await tlsAnswers(question, config, {
      ...(trace && { trace }),
      ...(each && { each }),
      isAttached,
      tell: ({ reports, diagnostics }, rank) => tell?.({ tls: reports.map(picked), diagnostics }, rank),
    });
    document.tls = tls.reports.map(picked);
    document.diagnostics.push(...tls.diagnostics);
  }
  return document;
}

/** Whether no constant of ours is wanted besides members. */
export const isOnlyAsked = (choice: Pick<Choice, "names" | "asked"> | undefined): boolean =>
  choice?.names !== undefined && choice.names.length === choice.asked?.length;

/** Each line of what libbpf says is a message. */
function traceLines(text: string): void {
  for (const line of text.split("\n")) log.debug(line);
}

/** Where libraries are looked for, which may be executed, and how long a mount is waited for. */
export const tlsPlaces = (config: Config) => ({
  root: treeOf(config),
  proc: config.proc_root,
  trust: config.trust,
  patience: Math.min(1000, config.deadline / 4),
});

async function tlsAnswers(
  question: TlsQuestion,
  config: Config,
  listeners: Pick<TlsOptions, "trace" | "each" | "isAttached" | "tell">,
) {
  const { offlineReport, tlsReports } = await import("../tls/tls.ts");
  if (question.kind === "version") {
    const { identityNamed } = await import("../tls/identify/version-text.ts");
    return offlineReport(identityNamed(question.text), config.source);
  }
  const meter = new Meter();
  try {
    return await tlsReports({
      ...tlsPlaces(config),
      ...(question.kind === "image"
        ? { root: question.root, isImage: true, scope: question.scope }
        : { scope: question }),
      sources: config.source,
      allow: allowanceOf(config),
      progress: (what, done, total) => meter.show(what, done, total),
      ...listeners,
    });
  } finally {
    meter.clear();
  }
}

/** Which values are told though nothing vouches for them (--allow). */
export const allowanceOf = ({ allow }: Config): Allowance => ({ assumed: allow === "assumed" });

/** The kinds of sockets that a guess makes, as the settings say. */
export const familiesOf = (config: Config): Families => ({
  tcpv4: config.collect_tcpv4,
  tcpv6: config.collect_tcpv6,
  udpv4: config.collect_udpv4,
  udpv6: config.collect_udpv6,
});

/** The tree with the libraries: where the host's procfs is mounted aside, its first process's, not this container's. */
const treeOf = ({ proc_root }: Config): string =>
  proc_root === settings.proc_root.standard ? "/" : `${proc_root}/1/root`;
