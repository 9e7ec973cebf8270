import { defineCommand } from "citty";
import { LogLevels } from "consola/basic";
import { version } from "../../package.json";
import { assetBytes, target } from "../assets.ts";
import { hostReport, probeHost } from "../host/report.ts";
import { type Document, formatVersion, type Strategy } from "../output/document.ts";
import { log } from "../output/log.ts";
import { flags } from "./flags.ts";
import { print } from "./print.ts";

/** What a document can be asked to hold beside the host. */
export type Part = "kernel" | "tls";

/** Looks at this machine and puts the parts asked for into one document. */
export async function collect(
  parts: readonly Part[],
  { strategy }: { readonly strategy?: Strategy | undefined } = {},
): Promise<Document> {
  const host = probeHost();
  for (const part of ["btf", "kprobes", "rawTracepoints", "tracefs", "lockdown"] as const) {
    log.debug(`${part}: ${host[part].why}`);
  }
  const { report, diagnostics } = hostReport(host);
  // libbpf's messages cost a call back into this runtime each, so they are asked for only where they are shown.
  const trace = log.level >= LogLevels.debug ? (message: string) => log.debug(message) : undefined;
  const document: Document = {
    format_version: formatVersion,
    tool: { name: "offsetof", version, ...target },
    host: report,
    diagnostics,
  };
  if (parts.includes("kernel")) {
    const { kernelReport } = await import("../kernel/report.ts");
    const kernel = kernelReport({
      host,
      asset: assetBytes,
      ...(strategy && { strategy }),
      ...(trace && { trace }),
    });
    document.kernel = kernel.report;
    document.diagnostics.push(...kernel.diagnostics);
  }
  if (parts.includes("tls")) {
    const { tlsReports } = await import("../tls/report.ts");
    const tls = await tlsReports({ ...(trace && { trace }) });
    document.tls = tls.reports;
    document.diagnostics.push(...tls.diagnostics);
  }
  return document;
}

export default defineCommand({
  meta: { name: "run", description: "Everything for this machine: kernel and TLS libraries (the default)" },
  args: flags,
  run: async ({ args }) => print(await collect(["kernel", "tls"], args), args.format),
});
