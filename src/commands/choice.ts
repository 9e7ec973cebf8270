import type { Asked } from "../kernel/asked.ts";
import { usage } from "../output/failure.ts";
import { didYouMean } from "../output/suggest.ts";
import type { DocumentFlags, KernelFlags } from "./flags.ts";

/** What a document can be asked to hold beside the host. */
export type Part = "kernel" | "tls";

/** Which constants are asked for. */
export interface Choice {
  /** The parts that can hold them. */
  readonly parts: readonly Part[];
  /** By their published names; undefined: all. */
  readonly names?: readonly string[];
  /** Members of the kernel's types that are asked for besides. */
  readonly asked?: readonly Asked[];
  /** Whether they are measured wherever they can be, and not only where BTF is silent. */
  readonly isAll?: boolean;
}

/** The constants and functions that a part can hold. Loaded on demand: without --only and --get nobody needs them. */
export const constantsOf: Readonly<Record<Part, () => Promise<readonly string[]>>> = {
  kernel: async () => {
    const [{ kernelFields }, { kernelSwitches: kernelFlags }] = await Promise.all([
      import("../kernel/fields/fields.ts"),
      import("../kernel/fields/switches.ts"),
    ]);
    return [...kernelFields, ...kernelFlags].map(({ constant }) => constant);
  },
  tls: async () => {
    const [{ tlsConstants }, { functionNames }] = await Promise.all([
      import("../tls/layouts/layouts.ts"),
      import("../tls/layouts/attachable.ts"),
    ]);
    return [...(await tlsConstants()), ...functionNames];
  },
};

/**
 * The constants that --only or --get name, and the parts that need to be looked at for them.
 * @throws Failure of wrong usage where flags contradict each other, or a name is none of the parts' constants
 */
export async function choiceOf(
  args: DocumentFlags & Pick<Partial<KernelFlags>, "member" | "vocabulary" | "all">,
  parts: readonly Part[],
): Promise<Choice> {
  const { get, only, format, member, vocabulary } = args;
  if (args.all === true && parts.length === 1 && parts[0] === "kernel") {
    if ([get, only, member, vocabulary].some((flag) => flag !== undefined))
      throw usage("--all is of all members, and takes no --get, --only, --member or --vocabulary");
    const { allWide } = await import("../kernel/asked.ts");
    return { parts, asked: allWide(), isAll: true };
  }
  if (get !== undefined && (only !== undefined || format !== undefined)) {
    throw usage("--get prints one bare number and takes neither --only nor --format");
  }
  if (args.export === true && format !== "env") throw usage("--export is for --format env");
  if (vocabulary !== undefined) {
    if ([get, only, member].some((flag) => flag !== undefined))
      throw usage("--vocabulary chooses the constants itself: it takes no --only, --get or --member");
    const { termsOf } = await import("../kernel/vocabulary.ts");
    return { parts: ["kernel"], ...termsOf(vocabulary) };
  }
  if (get === undefined && only === undefined && member === undefined) return { parts };
  if (get !== undefined && member !== undefined)
    throw usage("--get prints one bare number and takes no --member");
  if (get !== undefined) return choiceOfOne(get, parts, "--get: ");
  const members = await membersOf(member, parts);
  return only === undefined ? ofMembers(members) : ofNames(only.split(","), parts, "--only: ", members);
}

/**
 * The constant, function or member of a name, and the part that has it.
 *
 * @param from what says where the name was given, for people
 * @throws Failure of wrong usage where it names nothing
 */
export async function choiceOfOne(name: string, parts: readonly Part[], from = ""): Promise<Choice> {
  return /[.:]/.test(name) ? ofMembers(await membersOf(name, parts)) : ofNames([name], parts, from);
}

const ofMembers = (members: readonly Asked[]): Choice => ({
  parts: ["kernel"],
  names: members.map(({ constant }) => constant),
  asked: members,
});

async function ofNames(
  asked: readonly string[],
  parts: readonly Part[],
  from: string,
  members: readonly Asked[] = [],
): Promise<Choice> {
  const known = await Promise.all(parts.map(async (part) => [part, await constantsOf[part]()] as const));
  const all = known.flatMap(([, names]) => names);
  const names = asked.map((name) => published(name, all, from));
  return {
    names: [...names, ...members.map(({ constant }) => constant)],
    ...(members.length > 0 && { asked: members }),
    parts: known.filter(([, each]) => names.some((name) => each.includes(name))).map(([part]) => part),
  };
}

/** @throws Failure of wrong usage where one is no member, or two would have one name */
export async function membersOf(list: string | undefined, parts: readonly Part[]): Promise<readonly Asked[]> {
  if (list === undefined) return [];
  if (!parts.includes("kernel")) throw usage("members are of the kernel's types");
  const { askedOf } = await import("../kernel/asked.ts");
  const asked = [...new Set(list.split(","))].map((text) => {
    const one = askedOf(text);
    if (one !== null) return one;
    throw usage(`"${text}" is no member: TYPE.MEMBER, TYPE.ARRAY[1].MEMBER, sizeof:TYPE and enum:NAME are`);
  });
  const published = await constantsOf.kernel();
  const taken = asked.find(({ constant }) => published.includes(constant));
  if (taken !== undefined)
    throw usage(`"${taken.text}" would be ${taken.constant}, which is a constant of another meaning`);
  const [twice] = [...Map.groupBy(asked, ({ constant }) => constant).values()].filter(
    ({ length }) => length > 1,
  );
  if (twice === undefined) return asked;
  throw usage(
    `${twice.map(({ text }) => text).join(" and ")} would both be ${twice[0]?.constant}: ask for one at a time`,
  );
}

/** A constant by its name in any case: --format env and header write those of the kernel in capitals. */
function published(name: string, known: readonly string[], from: string): string {
  const found = known.find((each) => each.toLowerCase() === name.toLowerCase());
  if (found !== undefined) return found;
  throw usage(`${from}no constant is named "${name}"${didYouMean(name, known)}`);
}
