import { defineCommand } from "citty";
import * as v from "valibot";
import { readSettings } from "../bytecode/assignments.ts";
import { type BakedValues, type BakeSubject, chooseValues, withUntold } from "../bytecode/constants.ts";
import { EbpfObject } from "../bytecode/object.ts";
import { bakeEmbedded, embeddedObject } from "../bytecode/objects.ts";
import { bakedObjects, misfitOf, type Pick, pickSocketReader, pickTls, subjectOf } from "../bytecode/pick.ts";
import { largestObject } from "../elf/object-file.ts";
import type { Chosen } from "../fleet/choose.ts";
import { shownName } from "../input/name.ts";
import { type Baked, bakedSchema, bytecodeListSchema } from "../output/bytecode-schema.ts";
import { Failure, usage } from "../output/failure.ts";
import { log } from "../output/log.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { writeStdout } from "../output/stdout.ts";
import { didYouMean } from "../output/suggest.ts";
import { toBakedTable, toBytecodeTable } from "../output/table.ts";
import { isTerminal, STDOUT } from "../output/terminal.ts";
import { writeFileWhole } from "../output/whole-file.ts";
import { arch } from "../self/assets.ts";
import { constantsOf } from "./choice.ts";
import { attempt, constantsFor, readWhole } from "./chosen.ts";
import { exitCodes } from "./exit.ts";
import { type BakeFlags, editFlags, everyValue, extractFlags, flags } from "./flags.ts";
import { allowanceOf } from "./look.ts";
import { printAs } from "./print.ts";
import { configOf, loadConfig } from "./settings.ts";

const list = defineCommand({
  meta: { name: "list", description: "The eBPF objects that constants can be written into" },
  args: flags,
  run: async ({ args }) => {
    const document = v.parse(bytecodeListSchema, {
      format_version: formatVersion,
      bytecode: bakedObjects.map((name) => {
        const object = embeddedObject(name);
        const constants = object.constants.map((constant) => constant.name);
        const { programs, size } = object;
        return { name, for: subjectOf(name), size, programs: [...programs], constants };
      }),
    });
    await printAs(document, args.format, toBytecodeTable);
  },
});

const extract = defineCommand({
  meta: {
    name: "extract",
    description: "Writes an embedded eBPF object with the constants in it, ready to load",
  },
  args: extractFlags,
  run: async ({ args, rawArgs }) => {
    const settings = readSettings(everyValue(rawArgs, extractFlags, "set"));
    const [name, ...more] = args._;
    if (more.length > 0) throw usage(`extract takes one NAME, not ${args._.length}`);
    const wanted =
      args.for ??
      args["build-id"] ??
      (args.release !== undefined ||
      args.image !== undefined ||
      (name !== undefined && isObject(name) && subjectOf(name) === "kernel")
        ? "kernel"
        : undefined);
    if (name !== undefined) checkName(name);
    if (wanted === undefined) {
      throw usage("extract needs --for kernel or --for PATH of a library, to know whose constants to write");
    }
    const output = outputOf(args.output);
    const { chosen: from, subject } = await constantsFor(wanted, args);
    if (from.arch !== arch) {
      throw new Failure(
        "E_BYTECODE",
        `the constants are of ${from.arch}, the objects in this executable of ${arch}`,
      );
    }
    const pick =
      name === undefined ? pickFor(from, subject, args) : { bytecode: name, bytecode_reason: "asked for" };
    if (pick.bytecode === null) throw new Failure("E_BYTECODE", `${wanted}: ${pick.bytecode_reason}`);
    const { bytecode } = pick;
    const { library, constants } = subject;
    const misfit = library === null ? null : misfitOf(bytecode, { ...library, constants });
    if (misfit !== null) throw new Failure("E_BYTECODE", `${wanted}: ${misfit}`);
    const choice = await chosen(embeddedObject(bytecode), subject, settings, args, bytecode);
    const bytes = attempt(() => bakeEmbedded(bytecode, choice.values));
    await deliver(output, bytes, choice, { ...pick, for: subject.name }, args);
  },
});

const edit = defineCommand({
  meta: { name: "edit", description: "Writes the constants into an eBPF object of your own" },
  args: editFlags,
  run: async ({ args, rawArgs }) => {
    const settings = readSettings(everyValue(rawArgs, editFlags, "set"));
    const [input, ...more] = args._;
    if (input === undefined || more.length > 0) throw usage("edit takes one object: edit IN.o -o OUT.o");
    const output = outputOf(args.output);
    const object = new EbpfObject(readWhole(input, largestObject), input);
    const { subject } = await constantsFor(args.for ?? args["build-id"] ?? "kernel", args);
    const choice = await chosen(object, subject, settings, args, input);
    const left = leftUndefined(object, choice, subject, args, input);
    const bytes = attempt(() => object.bake(choice.values));
    const what = { bytecode: null, bytecode_reason: `${shownName(input)} was given`, for: subject.name };
    await deliver(output, bytes, { ...choice, missing: [...choice.missing, ...left] }, what, args);
    if (left.length > 0) log.warn(`left undefined: ${left.join(", ")}; another edit has to define them`);
  },
});

export default defineCommand({
  meta: { name: "bytecode", description: "eBPF objects with the constants in them: list, extract, edit" },
  subCommands: { list, extract, edit },
});

const isObject = (name: string): boolean => bakedObjects.includes(name);

function checkName(name: string): void {
  if (isObject(name)) return;
  const hint = didYouMean(name, bakedObjects);
  throw usage(`no object is named "${name}"${hint}; see offsetof bytecode list`);
}

/** Where the object goes: a path, or `-`. */
function outputOf(output: string | undefined): string {
  if (output === undefined || output === "") throw usage("-o FILE is needed, or -o - for standard output");
  if (output === "-" && isTerminal(STDOUT))
    throw usage("-o - would write an object to the terminal: name a file");
  return output;
}

/** The object for the kernel that the constants come from. */
function pickFor({ host }: Chosen, { library, constants }: BakeSubject, args: BakeFlags): Pick {
  if (host === null)
    return { bytecode: null, bytecode_reason: "for which kernel? --release names one, or NAME the object" };
  const { bytecode: choice } = configOf(loadConfig({ flags: args, env: process.env }));
  return library === null
    ? pickSocketReader(host.version, choice)
    : pickTls({ ...library, constants }, host.version, choice);
}

/** @throws Failure where the object has no such name, or a constant that it has is not known */
async function chosen(
  object: EbpfObject,
  subject: BakeSubject,
  settings: ReadonlyMap<string, bigint>,
  args: BakeFlags,
  path: string,
): Promise<BakedValues> {
  const names = object.constants.map((constant) => constant.name);
  for (const name of settings.keys()) {
    if (names.includes(name)) continue;
    const what = `${path} has no constant ${name} that could be set${didYouMean(name, names)}`;
    throw new Failure("E_BYTECODE", what);
  }
  const config = configOf(loadConfig({ flags: args, env: process.env }));
  const missing = args["allow-missing"] === true;
  const whole = withUntold(subject, await kindOf(subject, names));
  const choice = chooseValues(names, whole, { missing, ...allowanceOf(config) }, settings);
  if (choice.values.size > 0) return choice;
  throw new Failure(
    "E_BYTECODE",
    `${path} has none of the constants of ${subject.name}: names must be exactly the same, and be const volatile variables; --for says whose`,
  );
}

/** The constants that every subject of this kind has. What a library's document does not tell, the object's names do. */
async function kindOf(
  { library, constants }: BakeSubject,
  names: readonly string[],
): Promise<readonly string[]> {
  if (library === null) return constantsOf.kernel();
  const [{ loadLayouts }, { commonConstants }] = await Promise.all([
    import("../tls/layouts/layouts.ts"),
    import("../tls/layouts/describe.ts"),
  ]);
  const layouts = await loadLayouts(library.library);
  return layouts === null ? [] : commonConstants(layouts, [...Object.keys(constants), ...names]);
}

/**
 * Symbols that nothing gives a value to, which keep the object from loading until another edit does.
 * @throws Failure that names them, where they are not let through
 */
function leftUndefined(
  object: EbpfObject,
  { values }: BakedValues,
  { name: of }: BakeSubject,
  args: BakeFlags,
  path: string,
): readonly string[] {
  const missing = attempt(() => object.unresolved).filter((name) => !values.has(name));
  if (missing.length === 0 || args["allow-missing"] === true) return missing;
  throw new Failure(
    "E_BYTECODE",
    `${path} needs values that are no constants of ${of}: ${missing.join(", ")}; --set NAME=VALUE gives one, --allow-missing leaves them to another edit`,
  );
}

/** Writes the object, and says on stdout what is in it. */
async function deliver(
  output: string,
  bytes: Uint8Array,
  { values, assumed, missing, set }: BakedValues,
  what: Pick & { readonly for: string },
  args: BakeFlags,
): Promise<void> {
  if (output === "-") await writeStdout(bytes);
  else {
    writeFileWhole(output, bytes);
    const given = [...values].filter(([name]) => set.includes(name));
    const baked: Baked = v.parse(bakedSchema, {
      format_version: formatVersion,
      output: shownName(output),
      ...what,
      constants: Object.fromEntries(
        [...values].flatMap(([name, value]) =>
          set.includes(name) ? [] : [[name, value === null ? null : Number(value)]],
        ),
      ),
      ...(given.length > 0 && {
        set: Object.fromEntries(given.map(([name, value]) => [name, String(value)])),
      }),
    });
    await printAs(baked, args.format, toBakedTable);
  }
  if (assumed.length > 0) log.warn(`only assumed, by a table of another version: ${assumed.join(", ")}`);
  process.exitCode = assumed.length + missing.length > 0 ? exitCodes.incomplete : exitCodes.known;
}
