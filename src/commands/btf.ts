import { writeFileSync } from "node:fs";
import { defineCommand } from "citty";
import { Libbpf } from "../../ffi/libbpf.ts";
import { assetBytes, target } from "../assets.ts";
import { registers } from "../kernel/synthetic/declarations.ts";
import { placeMembers, type Unplaced } from "../kernel/synthetic/place.ts";
import { btfTypes } from "../kernel/synthetic/types.ts";
import type { Document } from "../output/document.ts";
import { exitCodes, Failure } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { printable } from "../output/printable.ts";
import { singleOf } from "../output/selection.ts";
import { btfFlags } from "./flags.ts";
import { tellDiagnostics } from "./print.ts";
import { collect } from "./run.ts";

export default defineCommand({
  meta: {
    name: "btf",
    description: "BTF made of the kernel's constants, for CO-RE programs where it has none",
  },
  args: btfFlags,
  run: async ({ args }) => {
    const file = args.output;
    if (file === undefined) {
      throw new Failure("E_USAGE", "btf needs -o FILE, where the BTF is written", exitCodes.usage);
    }
    const document = await collect(["kernel"], args);
    tellDiagnostics(document.diagnostics);
    const unplaced = writeBtf(file, document);
    for (const line of reasons(unplaced)) log.warn(printable(line));
    process.exitCode = unplaced.length === 0 ? exitCodes.known : exitCodes.incomplete;
  },
});

/** Writes the file and returns what is not in it. @throws Failure where nothing is known or the file cannot be written */
function writeBtf(file: string, document: Document): readonly Unplaced[] {
  const { structs, unplaced } = placeMembers((constant) => {
    const { value, why } = singleOf(document, constant);
    return why === null && value !== null ? { value } : { why: why ?? "it has no value" };
  });
  if (structs.length === 0) {
    throw new Failure(
      "E_NO_CONSTANTS",
      `no constant is certain, so there is no BTF; ${reasons(unplaced)[0]}`,
      exitCodes.impossible,
    );
  }
  using btf = new Libbpf(assetBytes("libbpf.so")).newBtf();
  for (const type of btfTypes([...structs, ...registers[target.arch]])) btf.add(type);
  try {
    writeFileSync(file, btf.bytes());
  } catch (error) {
    throw new Failure(
      "E_OUTPUT",
      `${file} cannot be written: ${error instanceof Error ? error.message : error}`,
    );
  }
  return unplaced;
}

/** One line a reason, with the members that it keeps out. */
const reasons = (unplaced: readonly Unplaced[]): string[] =>
  [...Map.groupBy(unplaced, ({ why }) => why)].map(([why, rows]) => {
    return `not in the BTF: ${rows.map(({ member }) => member).join(", ")}: ${why}`;
  });
