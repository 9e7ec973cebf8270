import { defineCommand } from "citty";
import * as v from "valibot";
import { version } from "../../package.json";
import { target } from "../assets.ts";
import { pickTls } from "../bytecode/pick.ts";
import { type Config, configOf, loadConfig } from "../config.ts";
import { withinDeadline } from "../deadline.ts";
import { hostFiles } from "../host/files.ts";
import { missingHere } from "../host/missing.ts";
import { hostReport, probeHost } from "../host/report.ts";
import { kernelPlan } from "../kernel/plan.ts";
import { whyNoCtnetlink } from "../kernel/snapshot/tracking.ts";
import { symbolsHere } from "../kernel/symbols.ts";
import { toDetectTable } from "../output/detect.ts";
import { type DetectDocument, detectDocumentSchema, formatVersion } from "../output/document.ts";
import { exitCodes, failureText } from "../output/failure.ts";
import { toJson } from "../output/json.ts";
import { Meter } from "../output/meter.ts";
import { writeStdout } from "../output/stdout.ts";
import { tlsPlans } from "../tls/plan.ts";
import { flags } from "./flags.ts";
import { formatFor } from "./print.ts";
import { tlsPlaces } from "./run.ts";

export default defineCommand({
  meta: { name: "detect", description: "What it would do here, and what is missing; needs no privilege" },
  args: flags,
  run: async ({ args }) => {
    const config = configOf(loadConfig({ flags: args, env: process.env }));
    const format = formatFor(args.format);
    const document = await withinDeadline(
      config.deadline,
      (failure) => failureText(failure, format),
      () => detect(config),
    );
    const checked = v.parse(detectDocumentSchema, document);
    await writeStdout(format === "json" ? toJson(checked) : toDetectTable(checked));
    const isFailed = checked.diagnostics.some(({ code }) => code.startsWith("E_"));
    process.exitCode = isFailed ? exitCodes.incomplete : exitCodes.known;
  },
});

/** Looks at this machine. Nothing is loaded into the kernel, attached, executed or changed. */
async function detect(config: Config): Promise<DetectDocument> {
  const host = probeHost(hostFiles("/", config.proc_root));
  const { report, diagnostics } = hostReport(host);
  const withoutConntrack = whyNoCtnetlink();
  const { source: sources, strategy, bytecode } = config;
  const symbols = symbolsHere();
  const meter = new Meter();
  try {
    const tls = await tlsPlans(sources, {
      ...tlsPlaces(config),
      progress: (what, done, total) => meter.show(what, done, total),
    });
    return {
      format_version: formatVersion,
      tool: { name: "offsetof", version, ...target },
      host: report,
      detect: {
        kernel: kernelPlan({ host, sources, strategy, bytecode, symbols, withoutConntrack }),
        tls: tls.reports.map((library) => ({
          ...library,
          ...pickTls({ ...library, constants: {} }, host.kernel.version, bytecode),
        })),
        missing: [...missingHere(host, withoutConntrack)],
      },
      diagnostics: [...diagnostics, ...tls.diagnostics],
    };
  } finally {
    meter.clear();
  }
}
