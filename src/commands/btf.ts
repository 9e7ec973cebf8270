import { release as unameRelease } from "node:os";
import { defineCommand } from "citty";
import * as v from "valibot";
import { Btf } from "../btf/btf.ts";
import { btfOf } from "../btf/encode.ts";
import { minimalTypes } from "../btf/minimal.ts";
import { btfPlacesOf } from "../btf/places.ts";
import { EbpfObject } from "../bytecode/object.ts";
import { type AskedProgram, askedBy } from "../bytecode/relocations.ts";
import { largestObject } from "../elf/object-file.ts";
import { elfOf } from "../elf/write.ts";
import { shownName } from "../input/name.ts";
import { allWide, askedOf as memberOf } from "../kernel/asked.ts";
import { wideMembers } from "../kernel/members/all.ts";
import { type Traced, tracedHere } from "../kernel/running/tracefs.ts";
import { type MadeBtf, makeBtf } from "../kernel/synthetic/make.ts";
import type { KnownOffset, Unplaced } from "../kernel/synthetic/place.ts";
import { RECORD } from "../kernel/synthetic/tracepoints.ts";
import type { RegisterSet } from "../kernel/synthetic/uapi.ts";
import { isNumber } from "../offsets/truth.ts";
import { toPlacesTable, toRelocationsTable } from "../output/btf.ts";
import { placesSchema, relocationsSchema } from "../output/btf-schema.ts";
import { Failure, usage } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { writeStdout } from "../output/stdout.ts";
import { writeFileWhole } from "../output/whole-file.ts";
import { attempt, constantsFor, readWhole } from "./chosen.ts";
import { exitCodes } from "./exit.ts";
import { type BtfFlags, btfFlags, everyValue } from "./flags.ts";
import { printAs } from "./print.ts";

export default defineCommand({
  meta: {
    name: "btf",
    description: "BTF made of the kernel's constants, for CO-RE programs where it has none",
  },
  args: btfFlags,
  run: async ({ args, rawArgs }) => {
    const objects = checked(args, everyValue(rawArgs, btfFlags, "for"));
    if (args.install === true) return tellPlaces(args);
    const { machine, release, made, btf, isOwn, traced } = await (args.image === undefined
      ? madeHere(args)
      : ownOf(args.image, args));
    if (objects.length === 0) {
      await deliver(args, made.bytes, machine);
      for (const line of reasons(made.unplaced)) log.warn(line);
      process.exitCode = made.unplaced.length === 0 ? exitCodes.known : exitCodes.incomplete;
      return;
    }
    // BTF with fewer types numbers them otherwise than the kernel's own.
    const isMade = !isOwn || args.minimal === true;
    const asked = objects.map((path) => askedOf(path, { btf, isMade, isOwn, made, traced }));
    if (args.output === undefined) await tell(args, release, asked);
    else {
      const found = asked.flatMap((one) => one.found);
      await deliver(args, args.minimal === true ? btfOf(minimalTypes(btf, found)) : made.bytes, machine);
      for (const line of asked.flatMap(refusals)) log.warn(line);
    }
    const isWhole = asked.every(({ functions }) => functions.every(({ missing }) => missing.length === 0));
    process.exitCode = isWhole ? exitCodes.known : exitCodes.incomplete;
  },
});

/** BTF that is written, and that objects are held against. */
interface Written {
  readonly machine: RegisterSet;
  readonly release: string | null;
  readonly made: MadeBtf;
  /** The same BTF, parsed. */
  readonly btf: Btf;
  /** Whether it is a kernel's own BTF, and not made of constants. */
  readonly isOwn: boolean;
  readonly traced: Traced;
}

/** BTF that is made of this machine's constants, or of a document's. @throws Failure where nothing is known */
async function madeHere(args: BtfFlags): Promise<Written> {
  const { chosen, subject } = await constantsFor("kernel", args, allWide());
  const machine = chosen.arch === "arm64" ? "arm64" : "x64";
  const traced = args.constants === undefined ? tracedHere() : tracedElsewhere;
  const known = (constant: string): KnownOffset => {
    const [value = null, field] = [subject.constants[constant], subject.fields[constant]];
    if (value !== null && field !== undefined && isNumber(field.status)) return { value };
    const doubt = field === undefined || value === null ? "not known" : field.status;
    return { why: field?.reason === undefined ? doubt : `${doubt}: ${field.reason}` };
  };
  const wide = wideMembers.flatMap((row) => {
    const constant = memberOf(row.member)?.constant;
    return constant === undefined ? [] : [{ ...row, known: known(constant) }];
  });
  const made = madeOf(known, machine, chosen.host?.version ?? [], traced.structs, wide);
  const btf = new Btf(made.bytes, { path: "the BTF that was made" });
  return { machine, release: chosen.host?.release ?? null, made, btf, isOwn: false, traced };
}

/** The BTF that a kernel which does not run here has itself: nothing is missing in it. @throws Failure where it has none */
async function ownOf(image: string, args: BtfFlags): Promise<Written> {
  if ([args.constants, args.release, args["build-id"]].some((flag) => flag !== undefined))
    throw usage("--image and --constants are two sources: name one of them");
  const { imageTypesFor } = await import("./kernel-image.ts");
  const { arch, release, bytes, btf } = await imageTypesFor(image, args);
  if (arch === "unknown" && args.elf === true)
    throw new Failure("E_IMAGE", `${shownName(image)} does not tell its architecture, which ELF needs`);
  return {
    machine: arch === "arm64" ? "arm64" : "x64",
    release,
    made: { bytes, unplaced: [], unmeasured: [], partial: new Set() },
    btf,
    isOwn: true,
    traced: { structs: [], why: "", whyNoCalls: "" },
  };
}

/** The objects that are meant. @throws Failure of wrong usage where flags do not go together */
function checked(args: BtfFlags, first: readonly string[]): string[] {
  const objects = [...first, ...args._];
  if (args.install === true) {
    if (objects.length > 0 || args.output !== undefined || args.minimal === true || args.elf === true)
      throw usage("--install tells where loaders look, and makes nothing: it takes no other flag of btf");
    return objects;
  }
  if (args._.length > 0 && first.length === 0)
    throw usage(`unexpected argument "${args._[0]}"; eBPF objects are named by --for OBJECT.o...`);
  if (args.output === undefined && objects.length === 0)
    throw usage("btf needs -o FILE, where the BTF is written");
  if (args.minimal === true && (objects.length === 0 || args.output === undefined))
    throw usage("--minimal needs --for OBJECT.o, whose types are kept, and -o FILE");
  if (args.elf === true && args.output === undefined)
    throw usage("--elf needs -o FILE, where the ELF file is written");
  return objects;
}

/** @throws Failure where nothing is known */
function madeOf(...args: Parameters<typeof makeBtf>): MadeBtf {
  const made = makeBtf(...args);
  if (made.bytes !== null) return made;
  throw new Failure(
    "E_NO_CONSTANTS",
    `no constant is certain, so there is no BTF; ${reasons(made.unplaced)[0]}`,
    "impossible",
  );
}

async function deliver({ output, elf }: BtfFlags, btf: Uint8Array, machine: RegisterSet): Promise<void> {
  const bytes = elf === true ? elfOf(machine, ".BTF", btf) : btf;
  if (output === "-") await writeStdout(bytes);
  else if (output !== undefined) writeFileWhole(output, bytes);
}

interface AskedObject {
  readonly path: string;
  readonly functions: readonly AskedProgram[];
  readonly found: ReturnType<typeof askedBy>["found"];
}

/** What is known of the tracepoints of a document's kernel: nothing. */
const tracedElsewhere: Traced = {
  structs: [],
  why: "a document tells nothing of tracepoints: run offsetof btf on its machine",
  whyNoCalls: "a document tells nothing of tracepoints: run offsetof btf on its machine",
};

function askedOf(
  path: string,
  { btf, isMade, isOwn, made, traced }: Omit<Written, "machine" | "release"> & { readonly isMade: boolean },
): AskedObject {
  const { partial, unplaced, unmeasured } = made;
  const why = new Map([...unplaced, ...unmeasured].map((one) => [one.member as string, one.why]));
  const reason = (members: readonly string[]) => {
    const known = [...why].find(([member]) => members.some((one) => isWithin(one, member)));
    if (known !== undefined) return `${known[0]} is ${known[1]}`;
    if (members.some((one) => one.startsWith("syscall_trace_"))) return traced.whyNoCalls || undefined;
    return members.some((one) => one.startsWith(RECORD)) ? traced.why || undefined : undefined;
  };
  const shown = shownName(path);
  return attempt(() => {
    const object = new EbpfObject(readWhole(path, largestObject), shown);
    return { path: shown, ...askedBy(object, { btf, isMade, isWhole: isOwn, partial, reason }, shown) };
  });
}

/** Whether a way into a type leads to a member, or on from there. */
const isWithin = (way: string, member: string): boolean =>
  way === member || way.startsWith(`${member}.`) || way.startsWith(`${member}[`);

async function tell(args: BtfFlags, release: string | null, asked: readonly AskedObject[]): Promise<void> {
  const document = v.parse(relocationsSchema, {
    format_version: formatVersion,
    kernel: { release },
    objects: asked.map(({ path, functions }) => ({
      path,
      relocates: functions.every(({ missing }) => missing.length === 0),
      functions: functions.map(({ needsKernelBtf, ...one }) => ({
        ...one,
        relocates: one.missing.length === 0,
        needs_kernel_btf: needsKernelBtf,
        missing: [...one.missing],
        absent: [...one.absent],
      })),
    })),
    diagnostics: [],
  });
  await printAs(document, args.format, toRelocationsTable);
}

const refusals = ({ path, functions }: AskedObject): string[] =>
  functions.flatMap(({ name, missing }) =>
    missing.map(({ what, question, reason }) => `${path}: ${name} asks for ${what} (${question}): ${reason}`),
  );

/** What each loader looks for; nothing is measured, and nothing written. */
async function tellPlaces(args: BtfFlags): Promise<void> {
  const release = args.release ?? unameRelease();
  const document = v.parse(placesSchema, {
    format_version: formatVersion,
    release,
    places: btfPlacesOf(release).map((place) => ({
      ...place,
      command: `offsetof btf${place.format === "elf" ? " --elf" : ""} -o ${place.file ?? "FILE"}`,
    })),
    diagnostics: [],
  });
  await printAs(document, args.format, toPlacesTable);
}

/** One line a reason, with the members that it keeps out. */
const reasons = (unplaced: readonly Unplaced[]): string[] =>
  [...Map.groupBy(unplaced, ({ why }) => why)].map(([why, rows]) => {
    return `not in the BTF: ${rows.map(({ member }) => member).join(", ")}: ${why}`;
  });
