import { checkSystemCallFilter } from "../../ffi/confinement.ts";
import { SystemError } from "../../ffi/error.ts";
import type { Elf } from "../elf/elf.ts";
import { segment, segmentFlag } from "../elf/records.ts";
import { findFunctions } from "../elf/symbols.ts";
import { InputError } from "../input/input.ts";
import { type Source, unchosen } from "../offsets/evidence.ts";
import type { TlsPlan } from "../output/detect-schema.ts";
import type { Diagnostic } from "../output/schema-parts.ts";
import { functionNames } from "./code/accessors.ts";
import { chooseLayout } from "./layouts/describe.ts";
import { isKnownLibrary, type KnownLibrary, loadLayouts } from "./layouts/layouts.ts";
import { filesToLoad, type LibraryFiles } from "./probe/probe.ts";
import { type Looked, type SurveyOptions, survey } from "./tls.ts";

/** What would be done, whatever the kernel. */
export type LibraryPlan = Omit<TlsPlan, "bytecode" | "bytecode_reason">;

type Plan = TlsPlan["sources"]["probe"];
const would = (reason: string): Plan => ({ would: true, reason });
const wouldNot = (reason: string): Plan => ({ would: false, reason });

/**
 * The TLS libraries in scope, and which sources would speak of each. They are read, but neither executed nor taken
 * apart. @throws Failure where the one process asked for cannot be read
 */
export const tlsPlans = (
  sources: readonly Source[],
  options: SurveyOptions<LibraryPlan>,
): Promise<{ reports: LibraryPlan[]; diagnostics: Diagnostic[] }> =>
  survey(options, (one) => planOf(one, sources));

async function planOf(
  { identity, library: open, file }: Looked,
  sources: readonly Source[],
): Promise<LibraryPlan> {
  const { library, version, versionFrom } = identity;
  const { files } = open;
  const measured = (source: Source, plan: (known: KnownLibrary) => Plan): Plan => {
    if (!sources.includes(source)) return wouldNot(unchosen);
    return isKnownLibrary(library)
      ? plan(library)
      : wouldNot(`nothing is known of how to measure library ${library}`);
  };
  const { described, match, plan } = await tablePlan(identity);
  return {
    ...file,
    library,
    version,
    version_from: versionFrom,
    described,
    match,
    sources: {
      probe: measured("probe", () => probePlan(open)),
      code: measured("code", (known) => codePlan(known, files)),
      references: measured("references", () => referencePlan(files)),
      table: sources.includes("table") ? plan : wouldNot(unchosen),
    },
  };
}

/** Whether the child may load the library, and could be confined. */
function probePlan({ files, trust }: Looked["library"]): Plan {
  const loadable = filesToLoad(files, trust);
  if ("reason" in loadable) return wouldNot(loadable.reason);
  loadable[Symbol.dispose]();
  try {
    checkSystemCallFilter();
  } catch (error) {
    if (error instanceof SystemError) return wouldNot(`the child could not be confined: ${error.message}`);
    throw error;
  }
  return would("no other user can have written it or what it needs, and it can be loaded here");
}

async function tablePlan({
  library,
  version,
  reason,
}: Looked["identity"]): Promise<Pick<TlsPlan, "described" | "match"> & { plan: Plan }> {
  const layouts = await loadLayouts(library);
  const none = (why: string) => ({ described: null, match: null, plan: wouldNot(why) });
  if (layouts === null) return none(`no layout is published for library ${library}`);
  if (version === null) return none(reason ?? "no version");
  const choice = chooseLayout(layouts, version);
  if (choice.layout === null) return none(choice.reason);
  const { layout: described, match } = choice;
  return { described, match, plan: would(choice.reason ?? `${version} is published`) };
}

/** Whether the accessor functions are there to be read. */
function codePlan(library: KnownLibrary, { ssl, cryptos }: LibraryFiles): Plan {
  const asked = functionNames[library];
  try {
    const found = [
      ...functionsIn(ssl, asked.ssl),
      ...cryptos.flatMap((crypto) => functionsIn(crypto, asked.crypto)),
    ];
    const names = new Set(found);
    const all = asked.ssl.length + asked.crypto.length;
    return names.size === 0
      ? wouldNot("it has no symbols of accessor functions")
      : would(`${names.size} of ${all} accessor functions are found`);
  } catch (error) {
    if (error instanceof InputError) return wouldNot(error.message);
    throw error;
  }
}

/** Whether there is code to look for references in. */
const referencePlan = ({ ssl }: LibraryFiles): Plan =>
  ssl.programHeaders.some(({ type, flags }) => type === segment.load && (flags & segmentFlag.execute) !== 0)
    ? would("strings and tables lead to what the probe leaves open")
    : wouldNot("it has no code");

const functionsIn = (elf: Elf, names: readonly string[]): string[] => [...findFunctions(elf, names).keys()];
