import { Btf } from "../btf/btf.ts";
import { type Relocation, relocationsIn } from "../btf/core.ts";
import type { CoreQuestion } from "../btf/core-question.ts";
import { essential, type FoundAccess, Kernel, type WantedAccess, wantedOf } from "../btf/relocate.ts";
import { InputError } from "../input/input.ts";
import type { EbpfFunction, EbpfObject } from "./object.ts";
import { reached } from "./reach.ts";

/** What a function asks for and a kernel's BTF does not have. */
export interface MissingAccess {
  /** As C would say it, with the program's own names: `task_struct___x.__state`. */
  readonly what: string;
  readonly question: CoreQuestion;
  readonly reason: string;
}

/** A program, or a function in .text that programs call. */
export interface AskedProgram {
  readonly name: string;
  readonly section: string;
  /** How many CO-RE relocations it has. */
  readonly relocations: number;
  /** Whether the kernel checks it against its own BTF as well, which no file can stand in for. */
  readonly needsKernelBtf: boolean;
  /** What it would use without asking first, so that the kernel's verifier refuses it. */
  readonly missing: readonly MissingAccess[];
  /** What it can do without, since it asks first whether that is there. */
  readonly absent: readonly MissingAccess[];
}

/** BTF that objects are held against. */
export interface Against {
  readonly btf: Btf;
  /** Whether it was made, so that the kernel numbers its types otherwise. */
  readonly isMade: boolean;
  /** Whether it has all types that the kernel has. */
  readonly isWhole?: boolean;
  /** Types in it whose true size is not known. */
  readonly partial: ReadonlySet<string>;
  /** Why a member is not in it, by `type.member`; undefined where nothing is known of that. */
  readonly reason: (members: readonly string[]) => string | undefined;
}

/** One relocation with what it comes to. */
interface Answer {
  readonly relocation: Relocation;
  readonly wanted: WantedAccess;
  readonly found: FoundAccess | string;
}

/** Questions that have an answer, 0, where what they ask for is not there. */
const mayBeAbsent: readonly CoreQuestion[] = ["exists", "type exists", "value exists", "type matches"];
const attachedByBtf =
  /^\??(?:fentry|fexit|fmod_ret|fsession|tp_btf|lsm|lsm_cgroup|iter|struct_ops)(?:\.s)?(?:$|\/)/;

/**
 * Whether the functions of an object would relocate against a kernel's BTF.
 * @returns also every type that was found, for a BTF of those alone
 * @throws InputError where the object is not sound
 */
export function askedBy(
  object: EbpfObject,
  against: Against,
  path: string,
): { functions: readonly AskedProgram[]; found: readonly { question: CoreQuestion; found: FoundAccess }[] } {
  const [types, ext] = [object.section(".BTF"), object.section(".BTF.ext")];
  if (!object.isLittle) throw new InputError(path, 5, "an object of a big-endian machine");
  const answers = types === null || ext === null ? [] : answersOf(types, ext, against, path);
  const bySection = Map.groupBy(answers, ({ relocation }) => relocation.section);
  const all = object.functions;
  const verdicts = new Map<EbpfFunction, AskedProgram>();
  for (const [section, own] of Map.groupBy(all, (one) => one.section)) {
    const code = object.section(section)?.bytes ?? new Uint8Array();
    for (const [one, part] of partsOf(own, bySection.get(section) ?? []))
      verdicts.set(one, verdictOf(one, part, code, path));
  }
  const functions = all.flatMap((one) => verdicts.get(one) ?? []);
  const found = answers.flatMap(({ relocation: { question }, found: one }) =>
    typeof one === "string" ? [] : [{ question, found: one }],
  );
  return { functions, found };
}

type Section = NonNullable<ReturnType<EbpfObject["section"]>>;

function answersOf(types: Section, ext: Section, against: Against, path: string): Answer[] {
  const local = new Btf(types.bytes, { path, at: types.at });
  const kernel = new Kernel(against.btf, local);
  const known = new Map<string, Omit<Answer, "relocation">>();
  return relocationsIn(ext.bytes, local, path, ext.at).map((relocation) => {
    const key = `${relocation.type} ${relocation.access} ${relocation.question}`;
    const answer = known.get(key) ?? answerTo(relocation, kernel, local, against, path);
    known.set(key, answer);
    return { relocation, ...answer };
  });
}

function answerTo(
  relocation: Relocation,
  kernel: Kernel,
  local: Btf,
  { btf, isMade, isWhole = false, partial, reason }: Against,
  path: string,
): Omit<Answer, "relocation"> {
  const wanted = wantedOf(local, relocation, path);
  const found = kernel.find(relocation, wanted);
  if (isMade && relocation.question === "type id")
    return { wanted, found: "only the kernel's own BTF has the number that the kernel knows a type by" };
  if (typeof found !== "string") {
    const unsized = sizesOf(relocation.question, wanted, found).find((type) =>
      partial.has(btf.name(btf.resolve(type))),
    );
    if (unsized === undefined) return { wanted, found };
    return { wanted, found: `the size of ${btf.name(btf.resolve(unsized))} is not known` };
  }
  const told = reason(namesOf(local, wanted));
  return { wanted, found: told ?? (isWhole ? found : `${found}; it is none of what offsetof tells`) };
}

/** Types whose true size the answer depends on. */
function sizesOf(question: CoreQuestion, { first, steps }: WantedAccess, found: FoundAccess): number[] {
  if (question === "type size") return [found.root];
  const elements = steps.filter(({ name }) => name === null);
  return [
    ...(question === "size" ? [found.type] : []),
    ...(first > 0 ? [found.root] : []),
    ...found.elements.filter((_, index) => (elements[index]?.index ?? 0) > 0),
  ];
}

/** Ways to say what is wanted as `type.member`, from each named type on the way: `sock.__sk_common.skc_num`, `sock_common.skc_num`. */
function namesOf(local: Btf, { root, steps }: WantedAccess): string[] {
  const rest = (from: number) =>
    steps
      .slice(from)
      .map(({ name, index }) => (name === null ? `[${index}]` : `.${name}`))
      .join("");
  return [
    `${essential(local.name(root))}${rest(0)}`,
    ...steps.flatMap(({ type, name }, at) =>
      name === null || local.name(type) === "" ? [] : [`${essential(local.name(type))}${rest(at)}`],
    ),
  ];
}

/** A function's own relocations, and where it ends: before the next one of its section. */
interface Part {
  readonly end: number;
  readonly answers: readonly Answer[];
}

function partsOf(functions: readonly EbpfFunction[], answers: readonly Answer[]): Map<EbpfFunction, Part> {
  const sorted = [...functions].sort((a, b) => a.start - b.start);
  const rest = [...answers].sort((a, b) => a.relocation.instruction - b.relocation.instruction);
  let next = 0;
  return new Map(
    sorted.map((one, index) => {
      const end = Math.min(one.start + one.size, sorted[index + 1]?.start ?? Number.POSITIVE_INFINITY);
      while ((rest[next]?.relocation.instruction ?? end) < one.start) next++;
      const first = next;
      while ((rest[next]?.relocation.instruction ?? end) < end) next++;
      return [one, { end, answers: rest.slice(first, next) }] as const;
    }),
  );
}

/** No kernel loads a program of more (BPF_COMPLEXITY_LIMIT_INSNS); bytes. */
const largestFunction = 1_000_000 * 8;

function verdictOf(
  { name, section, start }: EbpfFunction,
  { end, answers }: Part,
  code: Uint8Array,
  path: string,
): AskedProgram {
  const unfound = answers.filter(
    ({ relocation, found }) => typeof found === "string" && !mayBeAbsent.includes(relocation.question),
  );
  if (unfound.length > 0 && end - start > largestFunction)
    throw new InputError(path, 0, `${name} has more instructions than a kernel loads`);
  const written = new Map(
    answers.map(({ relocation, found }) => [relocation.instruction - start, numberOf(relocation, found)]),
  );
  const places = unfound.length === 0 ? new Set<number>() : reached(code.subarray(start, end), written);
  const isMet = ({ relocation }: Answer) => places.has(relocation.instruction - start);
  const isMissing = new Set(unfound.filter(isMet));
  return {
    name,
    section,
    relocations: answers.length,
    needsKernelBtf: attachedByBtf.test(section),
    missing: told([...isMissing]),
    absent: told(answers.filter((one) => typeof one.found === "string" && !isMissing.has(one))),
  };
}

/** What is missing according to these answers, each thing once. */
function told(answers: readonly Answer[]): MissingAccess[] {
  const rows = answers.map(({ relocation: { question }, wanted: { text: what }, found }) => ({
    what,
    question,
    reason: typeof found === "string" ? found : "",
  }));
  return [...new Map(rows.map((one) => [`${one.what} ${one.question}`, one])).values()];
}

/** What a loader writes into the instruction, where a program decides by it. */
function numberOf({ question }: Relocation, found: FoundAccess | string): bigint | null {
  if (question === "type matches" && typeof found !== "string") return null;
  if (mayBeAbsent.includes(question)) return typeof found === "string" ? 0n : 1n;
  return question === "value" && typeof found !== "string" ? (found.value ?? null) : null;
}
