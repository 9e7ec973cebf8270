import { defineCommand } from "citty";
import * as v from "valibot";
import { isNumber } from "../offsets/truth.ts";
import type { Document } from "../output/document.ts";
import { explanations, toExplanation } from "../output/explain.ts";
import { explainedSchema } from "../output/explain-schema.ts";
import { usage } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { choiceOfOne } from "./choice.ts";
import { exitCodes } from "./exit.ts";
import { explainFlags } from "./flags.ts";
import { collect } from "./look.ts";
import { printAs, tellDiagnostics } from "./print.ts";

export default defineCommand({
  meta: {
    name: "explain",
    description: "Where a number comes from, witness by witness, or why there is none",
  },
  args: explainFlags,
  run: async ({ args }) => {
    const [name, ...paths] = args._;
    if (name === undefined || name === "")
      throw usage("explain takes the NAME of a constant, a function or a member");
    const choice = await choiceOfOne(name, ["kernel", "tls"]);
    if (paths.length > 0 && !choice.parts.includes("tls"))
      throw usage(`${name} is the kernel's: it takes no PATH`);
    const [constant = name] = choice.names ?? [];
    const document = await collect(
      choice.parts,
      args,
      paths.length > 0 ? { kind: "files", paths, folders: true } : undefined,
      undefined,
      choice.asked,
    );
    tellDiagnostics(document.diagnostics);
    const explain = explanations(document, constant);
    if (explain.length === 0) log.error(`${constant}: ${unheard(document)}`);
    await printAs(
      v.parse(explainedSchema, { format_version: formatVersion, explain }),
      args.format,
      toExplanation,
    );
    const isSettled = explain.every(({ status }) => isNumber(status) || status === "absent");
    process.exitCode = explain.length > 0 && isSettled ? exitCodes.known : exitCodes.incomplete;
  },
});

const unheard = ({ tls = [] }: Document): string =>
  tls.length === 0 ? "no TLS library was found" : "no library that was found has it";
