import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import Ajv2020 from "ajv/dist/2020.js";

const folder = join(import.meta.dir, "../docs/schema");
const ajv = new Ajv2020({ strict: true, allErrors: true });
const validators = new Map(
  readdirSync(folder).map((file) => [
    basename(file, ".json"),
    ajv.compile(JSON.parse(readFileSync(join(folder, file), "utf8"))),
  ]),
);

/** JSON that is as the committed schema of this name has it, by a validator that is not ours. @throws Error with all that is wrong */
export function jsonOf(name: string, text: string): unknown {
  const json: unknown = JSON.parse(text);
  const isValid = validators.get(name);
  if (isValid === undefined) throw new Error(`docs/schema/${name}.json is not there: run "bun run docs"`);
  if (!isValid(json))
    throw new Error(`not as docs/schema/${name}.json has it: ${ajv.errorsText(isValid.errors)}`);
  return json;
}
