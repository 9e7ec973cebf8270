import { defineCommand } from "citty";
import { Libbpf } from "../../ffi/libbpf.ts";
import { assetBytes } from "../assets.ts";
import type { Subject } from "../bytecode/constants.ts";
import { registers } from "../kernel/synthetic/declarations.ts";
import { placeMembers, type Unplaced } from "../kernel/synthetic/place.ts";
import { btfTypes } from "../kernel/synthetic/types.ts";
import { isNumber } from "../offsets/truth.ts";
import { exitCodes, Failure } from "../output/failure.ts";
import { writeFileWhole } from "../output/file.ts";
import { log } from "../output/log.ts";
import { writeStdout } from "../output/stdout.ts";
import { constantsFor } from "./constants.ts";
import { btfFlags } from "./flags.ts";

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
    const { chosen, subject } = await constantsFor("kernel", args);
    const { bytes, unplaced } = makeBtf(subject, chosen.arch);
    if (file === "-") await writeStdout(bytes);
    else writeFileWhole(file, bytes);
    for (const line of reasons(unplaced)) log.warn(line);
    process.exitCode = unplaced.length === 0 ? exitCodes.known : exitCodes.incomplete;
  },
});

/** The BTF, and what is not in it. @throws Failure where nothing is known */
function makeBtf({ constants, fields }: Subject, arch: string) {
  const { structs, unplaced } = placeMembers((constant) => {
    const [value = null, field] = [constants[constant], fields[constant]];
    if (value !== null && field !== undefined && isNumber(field.status)) return { value };
    const doubt = field === undefined || value === null ? "not known" : field.status;
    return { why: field?.reason === undefined ? doubt : `${doubt}: ${field.reason}` };
  });
  if (structs.length === 0) {
    throw new Failure(
      "E_NO_CONSTANTS",
      `no constant is certain, so there is no BTF; ${reasons(unplaced)[0]}`,
      exitCodes.impossible,
    );
  }
  using btf = new Libbpf(assetBytes("libbpf.so")).newBtf();
  const own = arch === "arm64" ? registers.arm64 : registers.x64;
  for (const type of btfTypes([...structs, ...own])) btf.add(type);
  return { bytes: btf.bytes(), unplaced };
}

/** One line a reason, with the members that it keeps out. */
const reasons = (unplaced: readonly Unplaced[]): string[] =>
  [...Map.groupBy(unplaced, ({ why }) => why)].map(([why, rows]) => {
    return `not in the BTF: ${rows.map(({ member }) => member).join(", ")}: ${why}`;
  });
