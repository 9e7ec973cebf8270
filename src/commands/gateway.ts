import { defineCommand } from "citty";
import * as v from "valibot";
import { answerBatch, isComplete } from "../gateway/batch.ts";
import { GatewayLookup } from "../gateway/lookup.ts";
import { MetadataService, standardService } from "../gateway/metadata.ts";
import { parseQuestion } from "../gateway/question.ts";
import { usage } from "../output/failure.ts";
import { gatewayDocumentSchema } from "../output/gateway-schema.ts";
import { toJsonLine } from "../output/json.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { writeStderr } from "../output/stderr.ts";
import { writeStdout } from "../output/stdout.ts";
import { toGatewayTable } from "../output/table.ts";
import { during } from "../self/whereabouts.ts";
import { withinDeadline } from "./deadline.ts";
import { exitCodes } from "./exit.ts";
import { type GatewayFlags, gatewayFlags } from "./flags.ts";
import { formatFor, printAs } from "./print.ts";
import { configOf, loadConfig } from "./settings.ts";

export default defineCommand({
  meta: { name: "gateway", description: "By which gateway and subnet a packet leaves a network namespace" },
  args: gatewayFlags,
  run: ({ args }) => (args.batch ? batch(args) : single(args)),
});

async function single(args: GatewayFlags): Promise<void> {
  const [source, destination, ...more] = args._;
  if (source === undefined || destination === undefined || more.length > 0)
    throw usage("gateway takes SRC and DST, or --batch and lines of them on stdin");
  const question = parseQuestion({ source, destination, translated: args.translated });
  const { proc_root, deadline: milliseconds } = configOf(loadConfig({ flags: args, env: process.env }));
  const cloud = cloudOf(args);
  const format = formatFor(args.format);
  const gateway = await withinDeadline({ milliseconds, format }, async () => {
    using _ = during(`the lookup${args.netns === undefined ? "" : ` in ${args.netns}`}`);
    using lookup = new GatewayLookup(proc_root, cloud);
    return await lookup.lookup(question, args.netns);
  });
  const document = v.parse(gatewayDocumentSchema, { format_version: formatVersion, gateway });
  await printAs(document, format, toGatewayTable);
  process.exitCode = isComplete(gateway) ? exitCodes.known : exitCodes.incomplete;
}

async function batch(args: GatewayFlags): Promise<void> {
  if (args._.length > 0) throw usage("gateway --batch reads its addresses from stdin, not from arguments");
  if (args.translated !== undefined)
    throw usage("--translated is for one lookup; in a batch write that address as DST");
  if (args.format === "table") throw usage("gateway --batch prints JSON alone");
  const { proc_root } = configOf(loadConfig({ flags: args, env: process.env }));
  using lookup = new GatewayLookup(proc_root, cloudOf(args));
  const result = await answerBatch(Bun.stdin.stream(), lookup, writeStdout, args.netns);
  if (!args.quiet) writeStderr(`${toJsonLine({ ...result, caches: lookup.statistics })}\n`);
  process.exitCode = result.errors + result.incomplete > 0 ? exitCodes.incomplete : exitCodes.known;
}

/** The metadata service to ask; undefined where none is asked for. @throws Failure where its URL is none */
function cloudOf({ cloud, imds }: GatewayFlags): MetadataService | undefined {
  if (cloud === undefined) {
    if (imds === undefined) return undefined;
    throw usage("--imds needs --cloud");
  }
  const url = URL.parse((imds ?? standardService).replace(/\/*$/, "/"));
  const isPlain =
    url !== null && /^https?:$/.test(url.protocol) && `${url.username}${url.search}${url.hash}` === "";
  if (!isPlain)
    throw usage(`--imds cannot be ${JSON.stringify(imds)}: an http or https URL such as ${standardService}`);
  return new MetadataService(url);
}
