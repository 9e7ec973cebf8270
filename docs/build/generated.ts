import { bashCompletion, zshCompletion } from "./completions.ts";
import { manualPage } from "./manual.ts";
import { jsonSchemas } from "./schema.ts";

/** Every document that follows from the code, by its path under docs/. */
export async function generated(): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ...[...jsonSchemas()].map(([file, text]) => [`schema/${file}`, text] as const),
    ["offsetof.1", await manualPage()],
    ["completions/offsetof.bash", await bashCompletion()],
    ["completions/_offsetof", await zshCompletion()],
  ]);
}
