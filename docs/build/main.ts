/**
 * bun run docs: writes what follows from the code: the JSON Schemas, the manual page, the completions of bash and zsh. The same code
 * gives the same bytes.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { optionsOf } from "../../assets/build/options.ts";
import { generated } from "./generated.ts";

optionsOf({});
const folder = dirname(import.meta.dir);
for (const [path, text] of await generated()) {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await Bun.write(join(folder, path), text);
}
