import { defineCommand } from "citty";
import * as v from "valibot";
import { configDocumentSchema } from "../output/config-schema.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { toConfigTable } from "../output/table.ts";
import { flags } from "./flags.ts";
import { printAs } from "./print.ts";
import { loadConfig } from "./settings.ts";

export default defineCommand({
  meta: { name: "config", description: "The settings in force, and where each came from" },
  args: flags,
  run: async ({ args }) => {
    const config = loadConfig({ flags: args, env: process.env });
    const document = v.parse(configDocumentSchema, { format_version: formatVersion, config });
    await printAs(document, args.format, toConfigTable);
  },
});
