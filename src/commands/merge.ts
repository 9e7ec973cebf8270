import { defineCommand } from "citty";
import * as v from "valibot";
import { type Input, inputsOf } from "../fleet/inputs.ts";
import { Merge } from "../fleet/merged.ts";
import { piecesOf } from "../fleet/pieces.ts";
import { shownName } from "../input/name.ts";
import { readQuickly } from "../output/earlier.ts";
import { asFailure, Failure, usage } from "../output/failure.ts";
import { toMergeTable } from "../output/merge.ts";
import { mergeSchema } from "../output/merge-schema.ts";
import { Meter } from "../output/meter.ts";
import { exitCodes } from "./exit.ts";
import { mergeFlags } from "./flags.ts";
import { printAs } from "./print.ts";

export default defineCommand({
  meta: {
    name: "merge",
    description: "Documents of many machines into one of layouts: which are equal, and which machine is odd",
  },
  args: mergeFlags,
  run: async ({ args }) => {
    if (args._.length === 0)
      throw usage("merge takes files and folders of documents, or - for standard input");
    const merge = new Merge();
    const meter = new Meter();
    try {
      for (const argument of args._)
        for (const input of inputsOf(argument))
          await addAll(merge, input, () => meter.show("documents", merge.documents));
    } finally {
      meter.clear();
    }
    const document = v.parse(mergeSchema, merge.result());
    const [failed] = document.failed;
    if (merge.documents === 0)
      throw new Failure("E_MERGE", failed?.message ?? `no document in ${args._.map(shownName).join(", ")}`);
    await printAs(document, args.format, toMergeTable);
    const isAgreed = document.odd.length === 0 && document.failed.length === 0;
    process.exitCode = isAgreed ? exitCodes.known : exitCodes.incomplete;
  },
});

/** Adds every document of an input. What is no document, or cannot be read, is listed among those that failed. */
async function addAll(merge: Merge, { path, name }: Input, progress: () => void): Promise<void> {
  const isSeries = path === "-" || /\.(ndjson|jsonl)$/.test(path);
  try {
    for await (const { number, text } of piecesOf(path)) {
      const machine = isSeries || number > 1 ? `${name}:${number}` : name;
      for (const [each, one] of documentsOf(text).entries())
        addOne(merge, each > 0 ? `${machine}:${each + 1}` : machine, one);
      progress();
    }
  } catch (error) {
    merge.fail(name, asFailure(error).message);
  }
}

function addOne(merge: Merge, machine: string, text: string | undefined): void {
  try {
    if (text === undefined) throw new Failure("E_MERGE", `${machine}: larger than any document`);
    merge.add(machine, readQuickly(text, machine));
  } catch (error) {
    merge.fail(machine, asFailure(error).message);
  }
}

/** The documents in a text: the elements of a JSON array, else the text itself. Undefined is one that is too long. */
function documentsOf(text: string | undefined): readonly (string | undefined)[] {
  if (!text?.startsWith("[")) return [text];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.map((one) => JSON.stringify(one)) : [text];
  } catch {
    return [text];
  }
}
