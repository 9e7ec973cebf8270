import { defineCommand } from "citty";
import { version } from "../../package.json";
import { target } from "../assets.ts";
import { hostReport, probeHost } from "../host/report.ts";
import { type Document, formatVersion } from "../output/document.ts";
import { log } from "../output/log.ts";
import { flags } from "./flags.ts";
import { print } from "./print.ts";

/** What a document can be asked to hold beside the host. */
export type Part = "kernel" | "tls";

/** Looks at this machine and puts the parts asked for into one document. */
export async function collect(_parts: readonly Part[]): Promise<Document> {
  const probed = probeHost();
  const host = hostReport(probed);
  for (const part of ["btf", "kprobes", "rawTracepoints", "tracefs", "lockdown"] as const) {
    log.debug(`${part}: ${probed[part].why}`);
  }
  return {
    format_version: formatVersion,
    tool: { name: "offsetof", version, ...target },
    host: host.report,
    diagnostics: host.diagnostics,
  };
}

export default defineCommand({
  meta: { name: "run", description: "Everything for this machine: kernel and TLS libraries (the default)" },
  args: flags,
  run: async ({ args }) => print(await collect(["kernel", "tls"]), args.format),
});
