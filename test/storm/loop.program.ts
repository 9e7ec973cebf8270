/**
 * Run in a guest by main.ts: STRATEGY TIMES. Asks for the kernel's constants as `offsetof kernel` does, over and over in
 * one process, each time with programs, sockets and namespaces of its own. Prints as `over` does.
 */
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { version } from "../../package.json";
import { configOf, loadConfig } from "../../src/commands/settings.ts";
import { hostReport, probeHost } from "../../src/host/host.ts";
import { kernelReport } from "../../src/kernel/kernel.ts";
import { type Document, strategies } from "../../src/output/document.ts";
import { formatVersion } from "../../src/output/schema-parts.ts";
import { type Kind, printed } from "./answers.ts";

const [strategy, times] = v.parse(
  v.tuple([v.picklist(strategies), v.pipe(v.string(), v.toNumber())]),
  process.argv.slice(2),
);
const config = configOf(loadConfig({ flags: {}, env: {} }));
const asset = (name: string) => readFileSync(`/opt/assets/${name}`);

const host = probeHost();
const { report, diagnostics } = hostReport(host);

async function ask(): Promise<Document> {
  const { collect_tcpv4: tcpv4, collect_tcpv6: tcpv6, collect_udpv4: udpv4, collect_udpv6: udpv6 } = config;
  const kernel = await kernelReport({
    host,
    asset,
    sources: config.source,
    strategy,
    bytecode: config.bytecode,
    threshold: config.threshold,
    retries: config.retries,
    families: { tcpv4, tcpv6, udpv4, udpv6 },
    stability: { window: config.stability_window, attempts: config.stability_attempts },
  });
  return {
    format_version: formatVersion,
    tool: { name: "offsetof", version, arch: process.arch === "arm64" ? "arm64" : "x64", libc: "glibc" },
    host: report,
    kernel: kernel.report,
    diagnostics: [...diagnostics, ...kernel.diagnostics],
  };
}

/** The constants and the document, or what was thrown. */
async function asked(): Promise<[constants: string, text: string]> {
  try {
    const document = await ask();
    return [JSON.stringify(document.kernel?.constants), JSON.stringify(document)];
  } catch (error) {
    return [String(error), Bun.inspect(error)];
  }
}

const kinds = new Map<string, Kind>();
for (let time = 0; time < times; time++) {
  const [constants, text] = await asked();
  const kind = kinds.get(constants);
  kinds.set(constants, { count: (kind?.count ?? 0) + 1, text: kind?.text ?? text });
}
process.stdout.write(printed([...kinds.values()]));
