/** Writes the documents that follow from the code: bun run docs. The same code gives the same bytes. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { generated } from "./generated.ts";

const folder = dirname(import.meta.dir);
for (const [path, text] of await generated()) {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await Bun.write(join(folder, path), text);
}
