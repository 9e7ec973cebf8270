import { type ConversionConfig, toJsonSchema } from "@valibot/to-json-schema";
import type * as v from "valibot";
import { name } from "../../package.json";
import { placesSchema, relocationsSchema } from "../../src/output/btf-schema.ts";
import { bakedSchema, bytecodeListSchema } from "../../src/output/bytecode-schema.ts";
import { configDocumentSchema } from "../../src/output/config-schema.ts";
import { detectDocumentSchema } from "../../src/output/detect-schema.ts";
import { diffSchema } from "../../src/output/diff-schema.ts";
import { documentSchema } from "../../src/output/document.ts";
import { explainedSchema } from "../../src/output/explain-schema.ts";
import { failureSchema } from "../../src/output/failure.ts";
import { gatewayDocumentSchema, gatewayLineSchema } from "../../src/output/gateway-schema.ts";
import { mergeSchema } from "../../src/output/merge-schema.ts";
import { formatVersion } from "../../src/output/schema-parts.ts";
import { verifySchema } from "../../src/output/verify-schema.ts";
import { watchLineSchema } from "../../src/output/watch-schema.ts";

/** What offsetof writes as JSON: the file's name, what it is, and its schema in the code. */
const published: Readonly<Record<string, readonly [what: string, schema: v.GenericSchema]>> = {
  document: ["What run, kernel and tls print", documentSchema],
  detect: ["What detect prints", detectDocumentSchema],
  "tls-watch-line": ["A line of what tls --watch prints", watchLineSchema],
  gateway: ["What gateway prints of one lookup", gatewayDocumentSchema],
  "gateway-line": ["A line of what gateway --batch prints", gatewayLineSchema],
  "bytecode-list": ["What bytecode list prints", bytecodeListSchema],
  baked: ["What bytecode extract and edit print of the object that they wrote", bakedSchema],
  verify: ["What verify kernel and verify tls print", verifySchema],
  diff: ["What diff prints", diffSchema],
  explain: ["What explain prints", explainedSchema],
  merge: ["What merge prints, and what --constants takes", mergeSchema],
  "btf-for": ["What btf --for prints", relocationsSchema],
  "btf-install": ["What btf --install prints", placesSchema],
  config: ["What config prints", configDocumentSchema],
  error: ["The object on stderr where a run fails that would have printed JSON", failureSchema],
};

/** JSON Schemas (2020-12) by file name. */
export function jsonSchemas(): ReadonlyMap<string, string> {
  const files = Object.entries(published).map(([file, [description, schema]]) => {
    const { $schema, ...rest } = toJsonSchema(schema, { target: "draft-2020-12", overrideSchema });
    const title = `${name} ${file}, format ${formatVersion}`;
    return [
      `${file}.json`,
      `${JSON.stringify({ $schema, title, description, ...rest }, null, 2)}\n`,
    ] as const;
  });
  return new Map(files);
}

/** The converter refuses keys that are a picklist, though what it has made of them by then is right. */
const overrideSchema: NonNullable<ConversionConfig["overrideSchema"]> = ({ valibotSchema, jsonSchema }) =>
  valibotSchema.type === "record" ? jsonSchema : undefined;
