import { defineCommand } from "citty";
import { cLibrary } from "../../ffi/libc.ts";
import { version } from "../../package.json";
import { pickTls } from "../bytecode/pick.ts";
import { hostFiles } from "../host/files.ts";
import { hostReport, probeHost } from "../host/host.ts";
import { missingHere } from "../host/missing.ts";
import { kernelPlan } from "../kernel/kernel-plan.ts";
import { symbolsHere } from "../kernel/running/kallsyms.ts";
import { whyNoCtnetlink } from "../kernel/snapshot/tracking.ts";
import type { DetectDocument } from "../output/detect-schema.ts";
import { log } from "../output/log.ts";
import { Meter } from "../output/meter.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { arch } from "../self/assets.ts";
import { type LibraryPlan, tlsPlans } from "../tls/tls-plan.ts";
import { type Tell, withinDeadline, withLate } from "./deadline.ts";
import { flags } from "./flags.ts";
import { tlsPlaces } from "./look.ts";
import { printDetect, styleOf } from "./print.ts";
import { type Config, configOf, loadConfig } from "./settings.ts";

export default defineCommand({
  meta: { name: "detect", description: "What it would do here, and what is missing; needs no privilege" },
  args: flags,
  run: async ({ args }) => {
    const config = configOf(loadConfig({ flags: args, env: process.env }));
    const style = styleOf(args);
    const printing = { command: "detect", choice: { parts: [] }, style, verbosity: log.level } as const;
    const { deadline: milliseconds } = config;
    const { format } = style;
    const document = await withinDeadline(
      { milliseconds, format, printing, late: withLate<DetectDocument> },
      (tell) => detect(config, tell),
    );
    process.exitCode = await printDetect(document, style);
  },
});

/** Looks at this machine. Nothing is loaded into the kernel, attached, executed or changed. */
async function detect(config: Config, tell: Tell): Promise<DetectDocument> {
  const host = probeHost(hostFiles("/", config.proc_root));
  const { report, diagnostics } = hostReport(host);
  const symbols = symbolsHere();
  const withoutConntrack = whyNoCtnetlink(symbols);
  const { source: sources, strategy, bytecode } = config;
  const document: DetectDocument = {
    format_version: formatVersion,
    tool: { name: "offsetof", version, arch, libc: cLibrary() },
    host: report,
    detect: {
      kernel: kernelPlan({ host, sources, strategy, bytecode, symbols, withoutConntrack }),
      tls: [],
      missing: [...missingHere(host, withoutConntrack)],
    },
    diagnostics,
  };
  tell(document);
  const picked = (library: LibraryPlan) => ({
    ...library,
    ...pickTls({ ...library, constants: {} }, host.kernel.version, bytecode),
  });
  const meter = new Meter();
  try {
    const tls = await tlsPlans(sources, {
      ...tlsPlaces(config),
      progress: (what, done, total) => meter.show(what, done, total),
      tell: ({ reports, diagnostics }, rank) =>
        tell({ detect: { tls: reports.map(picked) }, diagnostics }, rank),
    });
    document.detect.tls = tls.reports.map(picked);
    document.diagnostics.push(...tls.diagnostics);
    return document;
  } finally {
    meter.clear();
  }
}
