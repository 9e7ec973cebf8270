import * as v from "valibot";
import { cLibrary } from "../../ffi/libc.ts";
import { version } from "../../package.json";
import { type KernelClass, pickTls } from "../bytecode/pick.ts";
import type { Chosen } from "../fleet/choose.ts";
import { shownName } from "../input/name.ts";
import { type Document, documentSchema, unknownHost } from "../output/document.ts";
import { type EarlierFields, unknownRelease } from "../output/earlier.ts";
import { Failure, usage } from "../output/failure.ts";
import { formatVersion } from "../output/schema-parts.ts";
import { choiceOf, type Part } from "./choice.ts";
import type { ConstantsFlags, DocumentFlags, KernelFlags } from "./flags.ts";
import { print, styleOf } from "./print.ts";
import { configOf, loadConfig } from "./settings.ts";

/**
 * Prints what a document of an earlier run, or of many machines, tells of one part, in any format.
 * @returns false where no document is named, and nothing was printed
 * @throws Failure for flags that contradict each other, and where the document lacks that part
 */
export async function answerFrom(
  part: Part,
  args: DocumentFlags & ConstantsFlags & Pick<Partial<KernelFlags>, "vocabulary">,
): Promise<boolean> {
  if ([args.constants, args.release, args["build-id"]].every((flag) => flag === undefined)) return false;
  if (args.vocabulary !== undefined)
    throw usage("--vocabulary is of the running kernel: it takes no --constants");
  const { chosenIn } = await import("./chosen.ts");
  const chosen = chosenIn(args, part);
  if (chosen === null) return false;
  if (chosen[part] === undefined)
    throw new Failure("E_CONSTANTS", `${shownName(args.constants ?? "")} has no ${part} part`);
  const choice = await choiceOf(args, [part]);
  const { bytecode } = configOf(loadConfig({ flags: args, env: process.env }));
  process.exitCode = await print(documentOf(chosen, part, bytecode), choice, styleOf(args));
  return true;
}

/** What was told, as a document of this run would have it; what it does not tell of its machine is unknown. */
function documentOf({ arch, host, kernel, tls = [] }: Chosen, part: Part, bytecode: KernelClass): Document {
  const release = host?.release ?? unknownRelease;
  const kernelVersion = host?.version ?? ([0, 0, 0] as const);
  const unknown = { distro: null, machine: arch === "x64" ? "x86_64" : "aarch64" };
  const told = kernel ?? { constants: {}, fields: {} };
  const libraries = tls.map(({ bytecode: _, ...one }) => {
    const pick =
      host === null
        ? { bytecode: null, bytecode_reason: "for which kernel? --release names one" }
        : pickTls(one, host.version, bytecode);
    const fields = fieldsOf(one.constants, one.fields);
    const functions = Object.fromEntries(
      Object.entries(one.functions).map(([name, told]) => [name, { ...told, evidence: {} }]),
    );
    return { version_from: null, used_by: [], ...one, ...pick, fields, functions };
  });
  return v.parse(documentSchema, {
    format_version: formatVersion,
    tool: { name: "offsetof", version, arch, libc: cLibrary() },
    host: { ...unknownHost, kernel: { release, version: kernelVersion, ...unknown } },
    ...(part === "kernel"
      ? {
          kernel: {
            bytecode: kernel?.bytecode ?? null,
            strategy: null,
            attached: [],
            events: 0,
            duration_ms: 0,
            constants: told.constants,
            fields: fieldsOf(told.constants, told.fields),
          },
        }
      : { tls: libraries }),
    diagnostics: [],
  });
}

/** The fields of an earlier document. One that was written by hand has no statuses: then its numbers count as certain. */
const fieldsOf = (constants: Readonly<Record<string, number | null>>, fields: EarlierFields) =>
  Object.fromEntries(
    Object.entries(constants).map(([name, value]) => {
      const { member = name, status = value === null ? "unresolved" : "single", reason } = fields[name] ?? {};
      return [name, { value, member, status, evidence: {}, ...(reason === undefined ? {} : { reason }) }];
    }),
  );
