import { existsSync } from "node:fs";
import { defineCommand } from "citty";
import * as v from "valibot";
import { diffOf, uncompared } from "../fleet/differences.ts";
import { piecesOf } from "../fleet/pieces.ts";
import { formatOf } from "../image/kernel-file.ts";
import { InputFile } from "../input/input.ts";
import { bytesOf, shownName } from "../input/name.ts";
import { toDiffTable } from "../output/diff.ts";
import { diffSchema } from "../output/diff-schema.ts";
import { type Earlier, earlierOf, readEarlier } from "../output/earlier.ts";
import { Failure, usage } from "../output/failure.ts";
import { type Diagnostic, formatVersion } from "../output/schema-parts.ts";
import type { Part } from "./choice.ts";
import { exitCodes } from "./exit.ts";
import { diffFlags, type Flags } from "./flags.ts";
import { collect } from "./look.ts";
import { printAs } from "./print.ts";

export default defineCommand({
  meta: {
    name: "diff",
    description:
      "Which constants differ between two documents or kernels' images, or between one and this machine",
  },
  args: diffFlags,
  run: async ({ args }) => {
    const [old, now, ...more] = args._;
    if (old === undefined || more.length > 0)
      throw usage("diff takes OLD, a document or a kernel's image, and perhaps NEW, another");
    if (old === "-" && now === "-")
      throw usage("standard input holds one document: name a file for the other");
    const before = await documentIn(old, args);
    const diagnostics: Diagnostic[] = [];
    const after = now === undefined ? await here(before, args, diagnostics) : await documentIn(now, args);
    const diff = diffOf(before, after);
    if (diff.kernel === undefined && diff.tls === undefined)
      throw new Failure(
        "E_DIFF",
        `${shownName(old)} and ${shownName(now ?? "this machine")} have no part in common`,
      );
    const one = uncompared(before, after).map((part) => ({
      code: "W_NOT_COMPARED",
      message: `${part}: only ${shownName(before[part] === undefined ? (now ?? "") : old)} has that part`,
    }));
    const document = v.parse(diffSchema, {
      format_version: formatVersion,
      diff,
      diagnostics: [...diagnostics, ...one],
    });
    await printAs(document, args.format, toDiffTable);
    process.exitCode = diff.same ? exitCodes.known : exitCodes.incomplete;
  },
});

/** The one document that an input holds, or that a kernel's image makes. @throws Failure that names it */
async function documentIn(input: string, args: Flags): Promise<Earlier> {
  if (isImage(input)) {
    const { imageDocumentFor } = await import("./kernel-image.ts");
    return earlierOf(await imageDocumentFor(input, args));
  }
  const name = input === "-" ? "standard input" : shownName(input);
  let document: Earlier | undefined;
  for await (const { text } of piecesOf(input)) {
    if (document !== undefined)
      throw new Failure(
        "E_DIFF",
        `${name}: one document is compared, and more are in it: offsetof merge takes many`,
      );
    if (text === undefined) throw new Failure("E_DIFF", `${name}: larger than any document`);
    document = readEarlier(text, name);
  }
  if (document === undefined) throw new Failure("E_DIFF", `${name}: empty: a document was expected`);
  return document;
}

/** Whether a file begins as one that a kernel can be in. */
function isImage(input: string): boolean {
  try {
    using file = InputFile.open(input, shownName(input), { follow: true });
    return formatOf(file) !== null;
  } catch {
    return false; // what is wrong with it is told where it is read as a document
  }
}

/** This machine, in the parts of the document; libraries that no search finds by the paths that it has of them. */
async function here(before: Earlier, args: Flags, diagnostics: Diagnostic[]): Promise<Earlier> {
  const parts = (["kernel", "tls"] as const satisfies readonly Part[]).filter(
    (part) => before[part] !== undefined,
  );
  const found = await collect(parts, args);
  diagnostics.push(...found.diagnostics);
  const known = new Set(found.tls?.map(({ path, root = "" }) => `${root}${path}`));
  const paths = (before.tls ?? []).flatMap(({ path, root, deleted }) =>
    path === null || root !== undefined || deleted || known.has(path) || !existsSync(bytesOf(path))
      ? []
      : [path],
  );
  const others = paths.length === 0 ? undefined : await collect(["tls"], args, { kind: "files", paths });
  return earlierOf({ ...found, ...(found.tls && { tls: [...found.tls, ...(others?.tls ?? [])] }) });
}
